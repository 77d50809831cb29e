"""The page and the picture of `benchmarks/tasks.py`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from benchmarks.tasks_parts import embeddings, task
from benchmarks.tasks_parts.task import ArmResult, TaskResult
from jaxkd.metrics import Spread, paired_difference
from jaxkd.study import FORMATS, Figure, Table
from jaxkd.study.figures._figure import COLORS, INK, WIDTH, draw, in_words, legend_above

if TYPE_CHECKING:
    import matplotlib.figure

_LEGEND = {
    task.FEW: "few labels",
    task.CONTROL: "control: teacher of few labels",
    task.TAUGHT: "few labels and a teacher",
    task.ALL: "all labels",
}
_MARKERS = "osD^"


def page(results: Sequence[TaskResult], texts: TaskResult | None, caption: str) -> str:
    """Returns the tables of all tasks in Markdown.

    Args:
      results: results of the tasks with labels.
      texts: results of the embeddings, None where they were not trained.
      caption: how the figures came about.
    """
    sections = [
        f"# Tasks of every kind, with a teacher and without\n\n{caption}",
        "## Few labels, and a pool without\n\n![Test results of all tasks](tasks.svg)\n\n"
        "The control's teacher knew no more labels than the student: what it brings is due to the "
        "unlabeled examples and to a larger network. Values in per cent unless degrees are named, "
        "differences with their 95 % t-interval over paired seeds; whether a teacher helps is said "
        "where it leaves out 0.\n\n" + _few(results).to_markdown(),
        "## All labels\n\n" + _all(results).to_markdown(),
    ]
    if texts is not None:
        sections.append("## Embeddings at half the width\n\n" + _embeddings(texts))
    sections.append("## Data, networks, settings\n\n" + _data(results).to_markdown())
    return "\n\n".join(sections) + "\n"


def picture(results: Sequence[TaskResult]) -> Figure:
    """Draws one row a task: where students with and without a teacher end.

    Args:
      results: results of the tasks with labels; of each the first measure in per cent is drawn.

    Returns:
      The figure.
    """
    rows = []
    for result in results:
        name = next(n for n, shown in result.measures.items() if shown["format"] == "percent")
        rows.append((f"{result.name}\n{name}", name, result))
    means = {
        f"{result.name}, {arm}": Spread.of(result.arms[arm].values[name]) * 100
        for _, name, result in rows
        for arm in (task.FEW, task.TAUGHT)
    }

    def paint(figure: "matplotlib.figure.Figure") -> None:
        axes = figure.subplots()
        for i, (arm, label) in enumerate(_LEGEND.items()):
            spreads = [Spread.of(result.arms[arm].values[n]) * 100 for _, n, result in rows]
            axes.errorbar(
                [spread.mean for spread in spreads],
                [row + 0.14 * (i - 1.5) for row in range(len(rows))],
                xerr=[spread.std if spread.n > 1 else 0.0 for spread in spreads],
                label=label,
                color=COLORS[i],
                linestyle="none",
                marker=_MARKERS[i],
                markersize=6,
                elinewidth=1.2,
            )
        for row, (_, name, result) in enumerate(rows):
            teacher = 100 * result.teacher[name]
            label = "teacher" if row == 0 else None
            axes.plot([teacher] * 2, [row - 0.35, row + 0.35], color=INK, alpha=0.6, label=label)
        axes.set_yticks(range(len(rows)), [text for text, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.tick_params(axis="y", length=0)
        axes.grid(visible=False, axis="y")
        axes.set(xlabel="On test examples (%)")
        legend_above(axes, columns=1)

    return draw(
        paint,
        size=(1.3 * WIDTH, 1.8 + 0.62 * len(rows)),
        alt=f"Test results of tasks by arm: {in_words(means)}.",
        caption="",
        file_format="svg",
    )


def _few(results: Sequence[TaskResult]) -> Table:
    columns = ["Task", "Measure", "Few labels", "With a teacher", "Difference", "Teacher helps"]
    rows = [
        [
            *_named(result, name),
            *_compared(result, name, task.TAUGHT, task.FEW),
            _shown(result, name, result.arms[task.CONTROL].values[name]),
            _shown(result, name, [result.control[name]]),
            _shown(result, name, [result.teacher[name]]),
        ]
        for result in results
        for name in result.measures
    ]
    return Table("Few labels", [*columns, "Control", "Its teacher", "Teacher"], rows)


def _all(results: Sequence[TaskResult]) -> Table:
    rows = [
        [
            *_named(result, name),
            *_compared(result, name, task.ALL_TAUGHT, task.ALL),
        ]
        for result in results
        for name in result.measures
    ]
    return Table(
        "All labels",
        ["Task", "Measure", "Labels", "With a teacher", "Difference", "Teacher helps"],
        rows,
    )


def _embeddings(result: TaskResult) -> str:
    names = list(result.measures)
    columns = ["Student", *names, *(f"{name}: difference" for name in names), "Rate"]
    rows = []
    for arm, of_arm in result.arms.items():
        cells = [_compared(result, name, arm, embeddings.CONTRAST) for name in names]
        differences = ["" if arm == embeddings.CONTRAST else cell[2] for cell in cells]
        rows.append([arm, *(c[1] for c in cells), *differences, f"{of_arm.setting['rate']:g}"])
    reduced = [_shown(result, name, [result.teacher[name]]) for name in names]
    empty = [""] * (len(names) + 1)
    rows.append(["the teacher itself, reduced to that width", *reduced, *empty])
    return (
        f"{result.description} ({result.parameters[0]:,} parameters, of "
        f"{result.counts['train']:,} sentences of Jane Austen), compared with the teacher's own of "
        f"{result.counts['test']:,} held-out sentences: the similarities of all pairs in blocks of "
        "250, in per cent.\n\n" + Table("Embeddings", columns, rows).to_markdown()
    )


def _data(results: Sequence[TaskResult]) -> Table:
    rows = []
    for result in results:
        sizes = [f"{result.counts[part]:,}" for part in ("train", "validation", "test", "few")]
        student, teacher = result.parameters
        chosen = "; ".join(_setting(result.arms[arm]) for arm in (task.FEW, task.TAUGHT))
        counts = f"{student:,}; {teacher:,}"
        examples = ", ".join(sizes[:3])
        rows.append([result.name, result.description, examples, sizes[3], counts, chosen])
    columns = ["Task", "What", "Examples to train, choose, test", "Few"]
    return Table(
        "Data", [*columns, "Parameters: student; teacher", "Chosen: without; with it"], rows
    )


def _named(result: TaskResult, name: str) -> list[str]:
    return [result.name if name == next(iter(result.measures)) else "", name]


def _compared(result: TaskResult, name: str, arm: str, baseline: str) -> list[str]:
    """Returns the values of the baseline and of the arm, their difference, and what it shows."""
    values, others = (result.arms[one].values[name] for one in (arm, baseline))
    paired = paired_difference(values, others)
    show = FORMATS[result.measures[name]["difference"]]
    text = show(paired.difference)
    if paired.interval is not None:
        text = f"{show(paired.difference.mean)} ({' to '.join(map(show, paired.interval))})"
    verdict = "not shown"
    if paired.is_significant:
        less = result.measures[name]["lower_is_better"]
        verdict = "helps" if (paired.difference.mean > 0) != less else "hurts"
    return [_shown(result, name, others), _shown(result, name, values), text, verdict]


def _shown(result: TaskResult, name: str, values: Sequence[float]) -> str:
    return FORMATS[result.measures[name]["format"]](Spread.of(values))


def _setting(arm: ArmResult) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in arm.setting.items())
