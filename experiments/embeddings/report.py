"""The report of experiments.embeddings: agreement, size and speed, and what the seeds show."""

import pathlib

import jaxkd
from experiments.common import comparison_report
from experiments.common.costs import SIZE_COLUMNS, size_cells, speed_columns, timing_caption
from experiments.embeddings.training import ARMS, UNTRAINED, Embedded
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

Row = list[str | int | float | Spread]
GOAL, TIMES = 0.8, 5.0
"""Spearman and throughput that a student is to reach, the latter in times the teacher's."""


def write(embedded: Embedded, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, the table as CSV and the figures; returns the report."""
    sections = [_agreement(embedded), _curves(embedded)]
    report = Report(
        title="Sentence embeddings from a published teacher",
        summary=_summary(embedded),
        sections=sections,
    )
    comparison_report.save(report, workdir)
    return report


def _agreement(embedded: Embedded) -> Section:
    teacher, config = embedded.teacher, embedded.config
    sized = {name: size_cells(network) for name, network in embedded.networks.items()}
    timed = {name: speed.cells() for name, speed in embedded.speeds.items()}
    own = teacher.name
    rows: list[Row] = [[own, *sized[own], *[""] * 4, *timed[own]]]
    for name, scores in embedded.scores.items():
        spreads = [Spread.of(scores[key]) for key in ("cosine", "spearman", "near", "found")]
        of = _network_of(embedded, name)
        rows.append([name, *sized[of], *spreads, *timed[of]])
    columns: list[Column | str] = [
        "Network",
        *SIZE_COLUMNS,
        Column("Cosine", "decimal"),
        Column("Spearman, random pairs", "decimal"),
        Column("Spearman, near pairs", "decimal"),
        Column("Nearest among ten", "percent"),
        *speed_columns("Sentences"),
    ]
    batch = f"{min(config.speed_batch, len(embedded.test))} sentences"
    caption = f"""{len(embedded.test):,} held-out sentences of at most {config.length} tokens,
        {config.pairs:,} random pairs; near pairs are each sentence with the four that the teacher
        finds nearest. Mean ± standard deviation of {config.seeds} seeds.
        {timing_caption(batch, config.speed_rounds)}"""
    text = f"""The teacher embedded {len(embedded.train):,} sentences once
        ({embedded.cache.bytes / 1e6:.1f} MB of answers). Students learned from these embeddings, no
        label. Cosine is that of the two embeddings of a sentence; Spearman says whether pairs of
        sentences are ranked by similarity as the teacher ranks them; the last column of agreement,
        how often the teacher's nearest sentence is among the student's ten nearest."""
    trained = [name for name in embedded.scores if name in ARMS.values()]
    points = {name: Spread.of(embedded.scores[name]["spearman"]) for name in trained}
    speeds = {n: (embedded.speeds[n].per_second, points[n]) for n in trained}
    sizes = {n: (float(count_parameters(embedded.networks[n].params)), points[n]) for n in trained}
    figures: list[Figure] = [
        size_accuracy_scatter(
            values,
            x_label=label,
            y_label="Spearman",
            percent=False,
            caption=f"Agreement with the teacher on random pairs against {what}.",
        )
        for values, label, what in (
            (speeds, "Sentences a second", "throughput"),
            (sizes, "Parameters", "size"),
        )
    ]
    table = Table("Agreement and cost", columns, rows, " ".join(caption.split()))
    return Section("Agreement and cost", text, _verdicts(embedded), [table], figures)


def _verdicts(embedded: Embedded) -> list[Finding]:
    """The goal, arm by arm, and what the similarities in the batch are worth."""
    verdicts = []
    for arm, name in ARMS.items():
        if name not in embedded.scores:
            continue
        reached, speed = Spread.of(embedded.scores[name]["spearman"]), embedded.speeds[name]
        good = reached.mean >= GOAL and speed.ratio >= TIMES
        verdicts.append(
            Finding(
                "gain" if good else "none",
                f"{name}: Spearman {reached:.3f} at {speed.ratio:.1f} times the teacher's "
                f"throughput; {GOAL} at {TIMES:g} times are "
                f"{'reached' if good else 'not reached'}.",
            )
        )
        rival = ARMS.get(f"{arm}_cosine", "")
        if rival in embedded.scores:
            verdicts += [
                compare(
                    f"{name}: the similarities in the batch, on {what} pairs,",
                    embedded.scores[name][key],
                    embedded.scores[rival][key],
                    format="difference",
                )
                for key, what in (("spearman", "random"), ("near", "near"))
            ]
    return verdicts


def _curves(embedded: Embedded) -> Section:
    figure = learning_curves(
        {name: (embedded.steps[name], curve) for name, curve in embedded.curves.items()},
        y_label="Spearman",
        percent=False,
        caption="Agreement on random held-out pairs during training.",
    )
    return Section("Learning", figures=[figure])


def _network_of(embedded: Embedded, name: str) -> str:
    """Whose size and speed a row has: the untrained student's are those of a trained one."""
    if name != UNTRAINED:
        return name
    return next(n for n in (ARMS["static"], ARMS["static_cosine"]) if n in embedded.networks)


def _summary(embedded: Embedded) -> str:
    lines = []
    for name in embedded.curves:
        reached, speed = Spread.of(embedded.scores[name]["spearman"]), embedded.speeds[name]
        lines.append(f"{name} {reached:.3f} at {speed.ratio:.1f} ×")
    return (
        f"Spearman agreement with {embedded.teacher.name} on held-out pairs, and throughput in "
        f"times the teacher's: {'; '.join(lines)}.\n\njaxkd {jaxkd.__version__}, "
        f"{embedded.config.seeds} seeds."
    )
