"""The report of experiments.embeddings: agreement, size and speed, and what the seeds show."""

import pathlib
from collections.abc import Mapping

import numpy as np

import jaxkd
from experiments.common.costs import SIZE_COLUMNS, size_cells, speed_columns, timing_caption
from experiments.common.report import Row, save
from experiments.embeddings.config import ARMS, UNTRAINED, student_of
from experiments.embeddings.run import EmbeddingResults
from jaxkd.compression import count_parameters
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Report,
    Section,
    Table,
    compare,
    learning_curves,
    size_accuracy_scatter,
)
from jaxkd.study._wording import counted, spread_over

SPEARMAN_GOAL, SPEED_GOAL = 0.8, 5.0
"""Spearman that a student is to reach, and its throughput relative to the teacher's."""


def write(out: EmbeddingResults, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, the table as CSV and the figures; returns the report."""
    report = Report(
        title="Sentence embeddings from a published teacher",
        summary=_summary(out),
        sections=[_agreement(out), _curves(out)],
        headline=_headline(out),
    )
    return save(report, workdir, rule="The conclusion says which students reach the goal.")


def _headline(out: EmbeddingResults) -> str:
    """Which students reach the goal; there is no student of labels to compare with."""
    reached = [ARMS[arm] for arm in out.results if arm in ARMS and _reaches_goal(out, arm)]
    goal = f"Spearman {SPEARMAN_GOAL} at {SPEED_GOAL:g} times the teacher's throughput"
    if not reached:
        return f"No student reaches {goal}."
    return f"Use {' or '.join(reached)}: {goal} is reached."


def _reaches_goal(out: EmbeddingResults, arm: str) -> bool:
    spearman = Spread.of(out.results[arm].validation["spearman"])
    return spearman.mean >= SPEARMAN_GOAL and out.speeds[ARMS[arm]].ratio >= SPEED_GOAL


def _agreement(out: EmbeddingResults) -> Section:
    text = f"""The teacher embedded {len(out.train):,} sentences once (cached in
        {out.cache.bytes / 1e6:.1f} MB). Students learned from these embeddings, without any label.
        Cosine is that of the two embeddings of a sentence; Spearman is the rank correlation of the
        similarities that student and teacher find between the sentences of a pair; the last column
        of agreement shows how often the teacher's nearest sentence is among the student's ten
        nearest."""
    return Section("Agreement and cost", text, _findings(out), [_table(out)], _scatters(out))


def _table(out: EmbeddingResults) -> Table:
    config, teacher = out.config, out.teacher.name
    sizes = {name: size_cells(network) for name, network in out.networks.items()}
    speeds = {name: speed.cells() for name, speed in out.speeds.items()}
    rows: list[Row] = [[teacher, *[""] * 4, *sizes[teacher], *speeds[teacher]]]

    def row(name: str, network: str, values: Mapping[str, np.ndarray]) -> Row:
        spreads = [Spread.of(values[key]) for key in ("spearman", "near", "nearest", "cosine")]
        return [name, *spreads, *sizes[network], *speeds[network]]

    rows += [
        row(ARMS[arm], ARMS[arm], result.arrays["test"]) for arm, result in out.results.items()
    ]
    if out.untrained:
        # Of the same size and speed as a trained one.
        trained = next(ARMS[arm] for arm in out.results if student_of(arm) == "static")
        rows.append(row(UNTRAINED, trained, out.untrained))
    columns: list[Column | str] = [
        "Network",
        Column("Spearman, random pairs", "decimal"),
        Column("Spearman, near pairs", "decimal"),
        Column("Nearest among ten", "percent"),
        Column("Cosine", "decimal"),
        *SIZE_COLUMNS,
        *speed_columns("Sentences"),
    ]
    batch = f"{min(config.speed_batch, len(out.test))} sentences"
    caption = f"""{len(out.test):,} held-out sentences of at most {config.length} tokens,
        {config.pairs:,} random pairs; near pairs are each sentence and its four nearest neighbors
        for the teacher. {spread_over(config.seeds)}.
        {timing_caption(batch, config.speed_rounds)}"""
    return Table("Agreement and cost", columns, rows, " ".join(caption.split()))


def _scatters(out: EmbeddingResults) -> list[Figure]:
    spearman = {ARMS[arm]: Spread.of(r.validation["spearman"]) for arm, r in out.results.items()}
    speeds = {name: (out.speeds[name].per_second, spread) for name, spread in spearman.items()}
    parameters = {name: count_parameters(out.networks[name].params) for name in spearman}
    sizes = {name: (float(parameters[name]), spread) for name, spread in spearman.items()}
    return [
        size_accuracy_scatter(
            values,
            x_label=label,
            y_label="Spearman",
            percent=False,
            caption=f"Agreement with the teacher on random pairs against {quantity}.",
        )
        for values, label, quantity in (
            (speeds, "Sentences a second", "throughput"),
            (sizes, "Parameters", "size"),
        )
    ]


def _findings(out: EmbeddingResults) -> list[Finding]:
    """Returns whether each arm reaches the goal, and the effect of similarities in the batch."""
    findings = []
    for arm, result in out.results.items():
        name, values = ARMS[arm], result.arrays["test"]
        speed, spearman = out.speeds[name], Spread.of(values["spearman"])
        reached = _reaches_goal(out, arm)
        findings.append(
            Finding(
                "gain" if reached else "none",
                f"{name}: Spearman {spearman:.3f} at {speed.ratio:.1f} times the teacher's "
                f"throughput; the goal of {SPEARMAN_GOAL} at {SPEED_GOAL:g} times is "
                f"{'reached' if reached else 'not reached'}.",
                label="Goal reached" if reached else "Goal not reached",
            )
        )
        if (without := out.results.get(f"{arm}_cosine")) is not None:
            findings += [
                compare(
                    f"{name}: the similarities in the batch, on {which} pairs,",
                    values[key],
                    without.arrays["test"][key],
                    format="difference",
                )
                for key, which in (("spearman", "random"), ("near", "near"))
            ]
    return findings


def _curves(out: EmbeddingResults) -> Section:
    figure = learning_curves(
        {ARMS[arm]: (result.curve_steps, result.curve) for arm, result in out.results.items()},
        y_label="Spearman",
        percent=False,
        caption="Agreement on random held-out pairs during training.",
    )
    return Section("Learning", figures=[figure])


def _summary(out: EmbeddingResults) -> str:
    lines = [
        f"{ARMS[arm]} {Spread.of(result.validation['spearman']):.3f} at "
        f"{out.speeds[ARMS[arm]].ratio:.1f} ×"
        for arm, result in out.results.items()
    ]
    return (
        f"Spearman agreement with {out.teacher.name} on held-out pairs, and throughput relative to "
        f"the teacher's: {'; '.join(lines)}.\n\njaxkd {jaxkd.__version__}, "
        f"{counted(out.config.seeds, 'seed')}."
    )
