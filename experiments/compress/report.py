"""The report of experiments.compress: accuracy by bytes and latency, and the teacher's gain."""

import pathlib

import numpy as np

import jaxkd
from experiments.common.report import Row, save
from experiments.compress import resources
from experiments.compress.exports import ExportedNetwork, export_all, timed_calls
from experiments.compress.pipelines import STEPS, title
from experiments.compress.run import TEACHER, CompressionResults
from jaxkd.export import edge
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Format,
    Report,
    Section,
    Table,
    class_figures,
    compare,
    size_accuracy_scatter,
)
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import spread_over

Exported = dict[str, ExportedNetwork]

# The goal for a small device: a fiftieth of the teacher's bytes, a tenth of its latency, and at
# most 1.5 points below its accuracy.
_SMALLER, _FASTER, _POINTS = 50, 10, 0.015


def write(out: CompressionResults, workdir: pathlib.Path) -> Report:
    """Exports, measures, and writes `report.html`, the tables as CSV and the figures."""
    exported = export_all(out)
    report = Report(
        title=f"Compressing a network for {out.test.name}",
        summary=_goal(out, exported).text,
        sections=[
            _all_networks(out, exported),
            _with_and_without_teacher(out),
            resources.section(out),
            _files(out, exported),
        ],
        headline=_headline(out),
    )
    return save(report, workdir)


def _headline(out: CompressionResults) -> str:
    """The conclusion on the teacher, at the first steps that were made with and without it."""
    for without, name in _pairs(out)[:1]:
        ours, theirs = (
            Measured.of(out.results.values(each), out.results[each]) for each in (name, without)
        )
        return advise(title(name), ours, theirs).headline
    return ""


def pareto_front(out: CompressionResults, costs: dict[str, float]) -> list[str]:
    """Returns the pipelines that no other beats in both cost and mean accuracy, cheapest first."""
    best, front = -np.inf, []
    for name in sorted(costs, key=lambda name: (costs[name], -_mean_accuracy(out, name))):
        if _mean_accuracy(out, name) > best:
            best = _mean_accuracy(out, name)
            front.append(name)
    return front


def _mean_accuracy(out: CompressionResults, name: str) -> float:
    return out.teacher_accuracy if name == TEACHER else float(out.results.values(name).mean())


def _caption(out: CompressionResults) -> str:
    seeds = len(out.study.seeds)
    return f"{spread_over(seeds)}, one teacher, last step."


def _goal(out: CompressionResults, exported: Exported) -> Finding:
    """Returns whether a network reaches the goal for a small device."""
    teacher = exported[TEACHER]
    # Latencies of different runtimes do not compare.
    timed = [name for name in out.results.arms if exported[name].runtime == teacher.runtime]
    small = [
        name
        for name in timed
        if exported[name].file * _SMALLER <= teacher.file
        and exported[name].median_s * _FASTER <= teacher.median_s
    ]
    goal = f"1/{_SMALLER} of the teacher's file and 1/{_FASTER} of its latency"
    if not small:
        nearest = min(timed, key=lambda name: exported[name].median_s * exported[name].file)
        return Finding(
            "none",
            f"No network reaches {goal}; {title(nearest)} comes nearest with "
            f"1/{teacher.file / exported[nearest].file:.0f} and "
            f"1/{teacher.median_s / exported[nearest].median_s:.1f}.",
            label="Goal not reached",
        )
    best = max(small, key=lambda name: _mean_accuracy(out, name))
    loss = Spread.of(out.teacher_accuracy - out.results.values(best))
    return Finding(
        "gain" if loss.mean <= _POINTS else "none",
        f"At {goal} the best is {title(best)}: "
        f"1/{teacher.file / exported[best].file:.0f} of the file, "
        f"1/{teacher.median_s / exported[best].median_s:.1f} of the latency, "
        f"{100 * loss.mean:.1f} ± {100 * loss.std:.1f} points below the teacher "
        f"({out.teacher_accuracy:.1%}); the goal is at most {100 * _POINTS:.1f}. "
        f"It is the best of {len(small)} on these test images; the first seed's file is right on "
        f"{exported[best].accuracy:.1%} of them, the teacher's on {teacher.accuracy:.1%}.",
        label="Goal reached" if loss.mean <= _POINTS else "Goal not reached",
    )


def _all_networks(out: CompressionResults, exported: Exported) -> Section:
    runtime = exported[TEACHER].runtime
    comparable = {name: one for name, one in exported.items() if one.runtime == runtime}
    fronts = {
        "bytes": pareto_front(out, {s: float(one.weights) for s, one in exported.items()}),
        "time": pareto_front(out, {s: one.median_s for s, one in comparable.items()}),
    }
    accuracy: dict[str, Spread | float] = {TEACHER: out.teacher_accuracy}
    accuracy |= {name: Spread.of(out.results.values(name)) for name in out.results.arms}

    def scatter(front: list[str], cost: str, label: str) -> Figure:
        return size_accuracy_scatter(
            {title(s): (getattr(exported[s], cost), accuracy[s]) for s in front},
            x_label=label,
            caption=f"The Pareto front: none is better in both. {_caption(out)}",
        )

    names = "; ".join(f"{name}: {text}" for name, text in STEPS.items())
    text = f"""Steps: {names}. Trainings behind "distil" learn from the teacher, those behind
        "labels" from labels alone. A Pareto front holds the networks that no other beats in both
        accuracy and cost."""
    return Section(
        "Accuracy, bytes and latency",
        text,
        [_goal(out, exported)],
        [_networks_table(out, exported, accuracy, fronts)],
        [
            scatter(fronts["bytes"], "weights", "Bytes of the weights"),
            scatter(fronts["time"], "median_s", "Latency of one image (s)"),
        ],
    )


def _networks_table(
    out: CompressionResults,
    exported: Exported,
    accuracy: dict[str, Spread | float],
    fronts: dict[str, list[str]],
) -> Table:
    teacher = exported[TEACHER]
    rows: list[Row] = [
        [
            title(name),
            accuracy[name],
            one.parameters,
            one.weights,
            one.flops,
            teacher.weights / one.weights,
            one.median_s,
            f"{one.p10_s * 1e6:,.0f} to {one.p90_s * 1e6:,.0f}",
            teacher.median_s / one.median_s if one.runtime == teacher.runtime else "",
            ", ".join(cost for cost, front in fronts.items() if name in front),
        ]
        for name, one in exported.items()
    ]
    columns: list[Column | str] = [
        "Steps",
        Column("Accuracy", "percent"),
        Column("Weights not zero", "count"),
        Column("Bytes of the weights", "kilobytes"),
        Column("Forward pass", Format(",.1f", 1e-3, "kFLOPs")),
        Column("Smaller", "times"),
        Column("Latency of one", "microseconds"),
        "10th to 90th percentile (µs)",
        Column("Faster", "times"),
        "On the front of",
    ]
    runtimes = sorted({one.runtime for one in exported.values()})
    caption = (
        f"{_caption(out)} Costs are those of the first seed. Latency: median of "
        f"{timed_calls(out)} single calls, interleaved over all networks, by "
        f"{'; '.join(runtimes)} on {edge.describe_machine()}. Bytes: int8 a byte, int4 half of "
        "one, masked weights a bit each."
    )
    return Table("Compression", columns, rows, caption)


def _pairs(out: CompressionResults) -> list[tuple[str, str]]:
    """Returns the pipelines that begin with `labels` and with `distil`, and are alike otherwise."""
    distilled = [name for name in out.results.arms if name.startswith("distil")]
    pairs = [(name.replace("distil", "labels", 1), name) for name in distilled]
    return [(without, name) for without, name in pairs if without in out.results.arms]


def _with_and_without_teacher(out: CompressionResults) -> Section:
    findings: list[Finding] = []
    rows: list[Row] = []
    for without, name in _pairs(out):
        labels, distilled = out.results.values(without), out.results.values(name)
        agreement = [
            Spread.of([jaxkd.metrics.agreement(x, out.teacher_logits) for x in logits])
            for logits in (out.results[each].logits["test"] for each in (without, name))
        ]
        accuracies = [Spread.of(x) for x in (labels, distilled, distilled - labels)]
        later = title(name.partition("-")[2])
        rows.append([later or "no more steps", *accuracies, *agreement])
        behind = f", then {later}," if later else ""
        findings.append(
            compare(f"Distilled from the teacher{behind} the student", distilled, labels)
        )
    columns: list[Column | str] = [
        "Steps behind the training",
        Column("Labels", "percent"),
        Column("With the teacher", "percent"),
        Column("Gain", "points"),
        Column("Labels: agrees with the teacher", "percent"),
        Column("With the teacher: agrees with it", "percent"),
    ]
    text = """The same steps with the same number of updates, from labels alone and with the
        teacher's cached logits. Each line below is a test of its own."""
    figures = [
        figure
        for without, name in _pairs(out)[:1]
        for figure in class_figures(
            title(name),
            out.results[name].logits["test"],
            out.test.labels,
            out.test.class_names,
            baseline=(title(without), out.results[without].logits["test"]),
        )
    ]
    return Section(
        "Gain from the teacher",
        text,
        findings,
        [Table("With and without the teacher", columns, rows, _caption(out))],
        figures,
    )


def _files(out: CompressionResults, exported: Exported) -> Section:
    rows: list[Row] = [
        [title(name), one.runtime, one.file, one.difference, one.agreement, one.accuracy]
        for name, one in exported.items()
    ]
    columns: list[Column | str] = [
        "Steps",
        "Runs in",
        Column("File", "kilobytes"),
        Column("Largest difference", Format(".1e")),
        Column("Same class", "percent"),
        Column("Accuracy of the file", "percent"),
    ]
    text = f"""Each network of the first seed as a file in the folder "exported", beside its card
        and the program that runs it on a device, compared on all {len(out.test):,} test images in
        a fresh process. LiteRT quantizes activations when it runs, and is compared with the network
        before quantization; its accuracy is the file's own."""
    return Section("Files", text, [], [Table("Exported files", columns, rows)], [])
