"""What experiments.compress shows: accuracy against bytes and latency, and what a teacher adds."""

import pathlib

import numpy as np

import jaxkd
from experiments.common import comparison_report
from experiments.compress import needs as compress_needs
from experiments.compress.files import TEACHER, Files, calls, measured
from experiments.compress.steps import STEPS, labeled
from experiments.compress.training import Compressed, Steps
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
    compare,
    size_accuracy_scatter,
)

Row = list[str | int | float | Spread]

# What a small device asks for: a fiftieth of the bytes, a tenth of the latency, 1.5 points at most.
_SMALLER, _FASTER, _POINTS = 50, 10, 0.015


def write(out: Compressed, workdir: pathlib.Path) -> Report:
    """Exports, measures, and writes `report.html`, the tables as CSV and the figures."""
    files = measured(out)
    report = Report(
        title=f"Compressing a network for {out.test.name}",
        summary=_target(out, files).text,
        sections=[
            _all(out, files),
            _with_a_teacher(out),
            compress_needs.section(out),
            _exports(out, files),
        ],
    )
    comparison_report.save(report, workdir)
    return report


def front(out: Compressed, sizes: dict[Steps, float]) -> list[Steps]:
    """The pipelines that none beats in both size and mean accuracy, smallest first."""
    best, chosen = -np.inf, []
    order = sorted(sizes, key=lambda steps: (sizes[steps], -_mean(out, steps)))
    for steps in order:
        if _mean(out, steps) > best:
            best = _mean(out, steps)
            chosen.append(steps)
    return chosen


def _mean(out: Compressed, steps: Steps) -> float:
    return out.reached if steps == TEACHER else float(out.accuracies(steps).mean())


def _target(out: Compressed, files: dict[Steps, Files]) -> Finding:
    """Whether a network meets what a small device asks for."""
    teacher = files[TEACHER]
    timed = [steps for steps in out.logits if files[steps].runtime == teacher.runtime]
    small = [
        steps
        for steps in timed
        if files[steps].file * _SMALLER <= teacher.file
        and files[steps].median_s * _FASTER <= teacher.median_s
    ]
    wanted = f"1/{_SMALLER} of the teacher's file and 1/{_FASTER} of its latency"
    if not small:
        near = min(timed, key=lambda steps: files[steps].median_s * files[steps].file)
        return Finding(
            "none",
            f"No network reaches {wanted}; {labeled(near)} comes nearest with "
            f"1/{teacher.file / files[near].file:.0f} and "
            f"1/{teacher.median_s / files[near].median_s:.1f}.",
        )
    best = max(small, key=lambda steps: _mean(out, steps))
    lost = Spread.of(out.reached - out.accuracies(best))
    met = lost.mean <= _POINTS
    return Finding(
        "gain" if met else "none",
        f"At {wanted} the best is {labeled(best)}: "
        f"1/{teacher.file / files[best].file:.0f} of the file, "
        f"1/{teacher.median_s / files[best].median_s:.1f} of the latency, "
        f"{100 * lost.mean:.1f} ± {100 * lost.std:.1f} points below the teacher "
        f"({out.reached:.1%}); at most {100 * _POINTS:.1f} were wanted. "
        f"It is the best of {len(small)} on these test images; the first seed's file is right on "
        f"{files[best].accuracy:.1%} of them, the teacher's on {teacher.accuracy:.1%}.",
    )


def _gains(out: Compressed) -> list[Finding]:
    """What the teacher adds to each pipeline that was gone with and without it."""
    found = []
    for steps in out.logits:
        plain = ("labels", *steps[1:])
        if steps[0] == "distil" and plain in out.logits:
            what = f", then {labeled(steps[1:])}," if steps[1:] else ""
            name = f"Trained by the teacher{what} the student"
            found.append(compare(name, out.accuracies(steps), out.accuracies(plain)))
    return found


def _caption(out: Compressed) -> str:
    seeds = len(out.study.seeds)
    return f"Mean ± standard deviation of {seeds} students (seeds), one teacher, last step."


def _all(out: Compressed, files: dict[Steps, Files]) -> Section:
    teacher = files[TEACHER]
    by_bytes = front(out, {steps: float(file.weights) for steps, file in files.items()})
    alike = {steps: file for steps, file in files.items() if file.runtime == teacher.runtime}
    by_time = front(out, {steps: file.median_s for steps, file in alike.items()})
    rows: list[Row] = []
    for steps, file in files.items():
        on = [name for name, group in (("bytes", by_bytes), ("time", by_time)) if steps in group]
        rows.append(
            [
                labeled(steps),
                out.reached if steps == TEACHER else Spread.of(out.accuracies(steps)),
                file.parameters,
                file.weights,
                file.flops,
                teacher.weights / file.weights,
                file.median_s,
                f"{file.p10_s * 1e6:,.0f} to {file.p90_s * 1e6:,.0f}",
                teacher.median_s / file.median_s if steps in alike else "",
                ", ".join(on),
            ]
        )
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
    runtimes = sorted({file.runtime for file in files.values()})
    caption = (
        f"{_caption(out)} Costs are those of the first seed. Latency: median of "
        f"{calls(out)} single calls, all networks in turns, by {'; '.join(runtimes)} on "
        f"{edge.describe_machine()}. Bytes: int8 a byte, int4 half of one, masked weights a bit "
        "each."
    )
    accuracy: dict[Steps, Spread | float] = {TEACHER: out.reached}
    accuracy |= {steps: Spread.of(out.accuracies(steps)) for steps in out.logits}

    def scatter(chosen: list[Steps], size: str, label: str) -> Figure:
        return size_accuracy_scatter(
            {labeled(s): (getattr(files[s], size), accuracy[s]) for s in chosen},
            x_label=label,
            caption=f"The front: none is better in both. {_caption(out)}",
        )

    names = "; ".join(f"{name}: {text}" for name, text in STEPS.items())
    text = f"""Steps: {names}. What follows `distil` has the teacher's help, what follows `labels`
        has none. A front holds the networks that no other beats in both accuracy and the cost at
        hand."""
    figures = [
        scatter(by_bytes, "weights", "Bytes of the weights"),
        scatter(by_time, "median_s", "Latency of one image (s)"),
    ]
    return Section(
        "Accuracy, bytes and latency",
        text,
        [_target(out, files)],
        [Table("Compression", columns, rows, caption)],
        figures,
    )


def _with_a_teacher(out: Compressed) -> Section:
    rows: list[Row] = []
    for steps in out.logits:
        plain = ("labels", *steps[1:])
        if steps[0] != "distil" or plain not in out.logits:
            continue
        ours, theirs = out.accuracies(steps), out.accuracies(plain)
        agree = [
            Spread.of([jaxkd.metrics.agreement(x, out.teacher_logits) for x in out.logits[s]])
            for s in (plain, steps)
        ]
        rows.append(
            [
                labeled(steps[1:]) or "nothing more",
                Spread.of(theirs),
                Spread.of(ours),
                Spread.of(ours - theirs),
                *agree,
            ]
        )
    columns: list[Column | str] = [
        "Steps behind the training",
        Column("Labels", "percent"),
        Column("With the teacher", "percent"),
        Column("Gain", "points"),
        Column("Labels: agrees with the teacher", "percent"),
        Column("With it: agrees", "percent"),
    ]
    text = """The same steps with the same number of updates, from labels alone and with the
        teacher's cached answers. Each line below is a test of its own."""
    return Section(
        "What the teacher adds",
        text,
        _gains(out),
        [Table("With and without the teacher", columns, rows, _caption(out))],
        [],
    )


def _exports(out: Compressed, files: dict[Steps, Files]) -> Section:
    rows: list[Row] = [
        [
            labeled(steps),
            file.runtime,
            file.file,
            file.difference,
            file.agreement,
            file.accuracy,
        ]
        for steps, file in files.items()
    ]
    columns: list[Column | str] = [
        "Steps",
        "Runs in",
        Column("File", "kilobytes"),
        Column("Largest difference", Format(".1e")),
        Column("Same class", "percent"),
        Column("Accuracy of the file", "percent"),
    ]
    text = f"""Each network of the first seed as a file in `exported/`, beside its card and the
        program that runs it on a device, compared on all {len(out.test):,} test images in a
        fresh process. LiteRT quantizes activations when it runs, and is compared with the network
        before quantization; its accuracy is the file's own."""
    return Section("Files", text, [], [Table("Exported files", columns, rows)], [])
