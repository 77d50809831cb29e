"""What the transfer experiment shows: the gains, their spread, and where they come from."""

import math
import pathlib

import jax
import numpy as np

import jaxkd
from experiments.common import comparison_report
from experiments.common.study import Result
from experiments.transfer.regimes import Followed, Taught, Transferred, Unseen
from jaxkd import Network, metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Report,
    Section,
    Table,
    class_accuracy_bars,
    compare,
    spread_lines,
)

Row = list[str | int | float | Spread]


def write(out: Transferred, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, one CSV file a table and the figures; returns the report."""
    made = [
        (out.few, _few_labels),
        (out.left_out, _left_out),
        (out.noise, _noise),
        (out.capacity, _capacity),
    ]
    title = f"What a teacher's knowledge is worth on {out.train.name}"
    sections = [section(out) for results, section in made if results]
    report = Report(title=title, summary=_summary(out), sections=sections)
    comparison_report.save(report, workdir)
    return report


def _accuracies(out: Transferred, result: Result) -> np.ndarray:
    return result.accuracies(out.labels)


def _spread(out: Transferred, result: Result) -> Spread:
    return Spread.of(_accuracies(out, result))


def _reached(out: Transferred, teacher: Taught) -> float:
    return metrics.accuracy(teacher.logits, out.labels)


def _caption(out: Transferred) -> str:
    return (
        f"Mean ± standard deviation of {len(out.study.seeds)} students (seeds), {out.steps:,} "
        f"steps each, last step; one teacher of {out.teacher_steps:,} steps."
    )


def _few_labels(out: Transferred) -> Section:
    names = {
        "labels": "labels alone",
        "same": "distilled, same examples",
        "pool": "distilled, pool",
        "control": "control",
    }
    accuracy = {
        count: {arm: _accuracies(out, result) for arm, result in arms.items()}
        for count, arms in out.few.items()
    }
    rows: list[Row] = [
        [f"{count:,}", *(Spread.of(arms[arm]) for arm in names), _reached(out, out.controls[count])]
        for count, arms in accuracy.items()
    ]
    plain, distilled = (_spread(out, out.full[arm]) for arm in ("labels", "distilled"))
    rows.append(["all", plain, distilled, distilled, distilled, _reached(out, out.teacher)])
    parts: list[Row] = []
    verdicts = []
    for count, arms in accuracy.items():
        gain, own = arms["pool"] - arms["labels"], arms["control"] - arms["labels"]
        parts.append(
            [f"{count:,}", *map(Spread.of, (gain, own, gain - own, arms["same"] - arms["labels"]))]
        )
        start = f"With {count:,} labels a class,"
        verdicts += [
            compare(f"{start} distilling on the pool", arms["pool"], arms["labels"]),
            compare(
                f"{start} the pool with a teacher of no more labels",
                arms["control"],
                arms["labels"],
            ),
        ]
    text = f"""The teacher ({_reached(out, out.teacher):.1%}) was trained on all
        {len(out.train):,} labels. The student may use a few, and either learns from the teacher's
        answers to the same examples, or to all training examples, most of which have no label. The
        control's teacher was trained on the student's labels alone: what it gives comes from the
        unlabeled examples and from how an answer is put, the rest of the gain from the labels
        that the teacher saw and the student did not. A larger choice of labels contains the smaller
        ones; the seeds show the student's chance, not that of the choice.

        Each line below is a test of its own: among twenty of arms that are equal, one would differ
        by chance."""
    every = len(out.train) / out.train.num_classes
    lines: dict[str, dict[float, Spread | float]] = {
        name: {
            **{count: Spread.of(arms[arm]) for count, arms in accuracy.items()},
            every: plain if arm == "labels" else distilled,
        }
        for arm, name in names.items()
    }
    figure = spread_lines(
        lines,
        x_label="Labels a class",
        logarithmic=True,
        caption=f"Test accuracy over the number of labels. {_caption(out)}",
    )
    tables = [
        Table(
            "Accuracy over labels",
            [
                "Labels a class",
                *(Column(name.capitalize(), "percent") for name in names.values()),
                Column("Control's teacher", "percent"),
            ],
            rows,
            f"{_caption(out)} With all labels the four are two: with and without the teacher.",
        ),
        Table(
            "Where the gain comes from",
            [
                "Labels a class",
                Column("Pool", "points"),
                Column("of which control", "points"),
                Column("of which teacher's labels", "points"),
                Column("Same examples", "points"),
            ],
            parts,
            f"Differences from labels alone, paired by seed. {_caption(out)}",
        ),
    ]
    return Section("Few labels", text, verdicts, tables, [figure])


def _left_out(out: Transferred) -> Section:
    names = out.train.class_names or tuple(map(str, range(out.train.num_classes)))
    rows: list[Row] = []
    verdicts: list[Finding] = []
    figures: list[Figure] = []
    for part in out.left_out:
        arms = _corrected(out, part)
        unseen = np.isin(out.labels, part.unseen)
        on_unseen, on_all = (
            {
                name: np.array([metrics.accuracy(x[where], out.labels[where]) for x in logits])
                for name, logits in arms.items()
            }
            for where in (unseen, np.ones_like(unseen))
        )
        rows += [
            [f"{part.name}: {arm}", Spread.of(on_unseen[arm]), Spread.of(on_all[arm])]
            for arm in arms
        ]
        start = f"Transfer set {part.name}"
        verdicts += [
            compare(
                f"{start}, on what no student saw, distillation",
                on_unseen["distilled"],
                on_unseen["labels"],
            ),
            compare(
                f"{start}, on all classes, correcting the bias",
                on_all["bias corrected"],
                on_all["distilled"],
            ),
        ]
        by_class = {
            name: np.stack([metrics.class_accuracy(x, out.labels) for x in logits])
            for name, logits in arms.items()
        }
        single = names[part.unseen[0]] if len(part.unseen) == 1 else None
        figures.append(
            class_accuracy_bars(
                by_class,
                names,
                left_out=single,
                caption=f"Test accuracy by class, transfer set {part.name}.",
            )
        )
    text = """The teacher knows all classes. The transfer set lacks some, and the distilled student
        sees no label: what it knows of them it has from the small probabilities that the teacher
        gave them on other examples (Hinton, Vinyals, Dean, 2015). Its bias for a class that never
        came first is too low. The correction adds one number to the logit of the missing class, or
        to those of the few classes that were there, so that they are predicted as often as in the
        training labels. It looks at the test images for that, not at their labels."""
    columns: list[Column | str] = [
        "Transfer set and student",
        Column("Accuracy on unseen classes", "percent"),
        Column("Accuracy on all classes", "percent"),
    ]
    table = Table("Classes left out", columns, rows, _caption(out))
    return Section("Classes that the student never saw", text, verdicts, [table], figures)


def _corrected(out: Transferred, part: Unseen) -> dict[str, np.ndarray]:
    """Logits of the students of a transfer set, with and without the bias corrected."""
    share = float(np.isin(out.train.labels, part.corrected).mean())
    logits = [metrics.correct_class_bias(x, part.corrected, share) for x in part.distilled.logits]
    return {
        "labels": part.labels.logits,
        "distilled": part.distilled.logits,
        "bias corrected": np.stack(logits),
    }


def _noise(out: Transferred) -> Section:
    names = {
        "labels": "labels alone",
        "smoothed": "label smoothing",
        "clean": "distilled, teacher of clean labels",
        "noisy": "distilled, teacher of the same labels",
    }
    rows: list[Row] = []
    verdicts = []
    lines: dict[str, dict[float, Spread | float]] = {name: {} for name in names.values()}
    itself = lines["that teacher itself"] = {}
    for share, arms in out.noise.items():
        accuracy = {arm: _accuracies(out, arms[arm]) for arm in names}
        for arm, name in names.items():
            lines[name][100 * share] = Spread.of(accuracy[arm])
        itself[100 * share] = _reached(out, out.noisy_teachers[share])
        rows.append([f"{share:.0%}", *(line[100 * share] for line in lines.values())])
        # With no label wrong the two teachers are one.
        for arm in ("smoothed", "clean", "noisy") if share else ("smoothed", "clean"):
            start = f"With {share:.0%} of the labels wrong, {names[arm].replace(',', ' by the')}"
            verdicts.append(compare(start, accuracy[arm], accuracy["labels"]))
    text = """A share of the training labels is replaced by wrong ones, all equally likely; the test
        labels are right. Students learn from these labels alone, with smoothing, or from a teacher
        besides, which was trained on the clean labels or on the very same wrong ones. The second
        teacher knows no more than the student; what it gives is that it learned the pattern before
        the exceptions. With no label wrong both are the same teacher."""
    columns: list[Column | str] = [
        "Wrong labels",
        *(Column(name.capitalize(), "percent") for name in lines),
    ]
    figure = spread_lines(
        lines,
        x_label="Wrong training labels (%)",
        caption=f"Test accuracy over the share of wrong labels. {_caption(out)}",
    )
    table = Table("Noisy labels", columns, rows, _caption(out))
    return Section("Noisy labels", text, verdicts, [table], [figure])


def _capacity(out: Transferred) -> Section:
    plain = _accuracies(out, out.full["labels"])
    largest_name = list(out.capacity)[-1]
    largest, smallest = out.capacity[largest_name], next(iter(out.capacity.values()))
    rows: list[Row] = [["none: labels alone", "", "", Spread.of(plain), "", math.nan, math.nan]]
    rows += [_follow(out, name, each, plain) for name, each in out.capacity.items()]
    verdicts = [
        compare(f"With {name} as the teacher, distillation", _accuracies(out, each.students), plain)
        for name, each in out.capacity.items()
    ]
    if largest is not smallest:
        verdicts.append(
            compare(
                "Taking the largest teacher for the smallest",
                _accuracies(out, largest.students),
                _accuracies(out, smallest.students),
            )
        )
    teachers: dict[float, Spread | float] = {}
    students: dict[float, Spread | float] = {}
    agreement: dict[float, Spread | float] = {}
    for each in out.capacity.values():
        size = _size(each.teacher.network)
        teachers[size] = _reached(out, each.teacher)
        students[size] = _spread(out, each.students)
        agreement[size] = _agreement(each.students, each.teacher)
    lines = {"teacher": teachers, "student": students, "student agrees with teacher": agreement}
    if out.assistant:
        name = f"assistant CNN-{out.config.assistant_width}, taught by {largest_name}"
        rows.append(_follow(out, name, out.assistant, plain))
        verdicts.append(
            compare(
                f"An assistant between {largest_name} and the student",
                _accuracies(out, out.assistant.students),
                _accuracies(out, largest.students),
            )
        )
    text = f"""Teachers of growing width, trained alike on all labels, teach one student of
        {_size(out.study.make_student(0)):,} parameters. A teacher may be too large for its student
        (Mirzadeh et al., 2020): then it grows more accurate, and the student follows it less well.
        The assistant learns from the largest teacher's answers and then
        teaches in its place. Agreement is the share of test examples for which two networks
        predict the same class."""
    columns: list[Column | str] = [
        "Teacher",
        Column("Parameters", "count"),
        Column("Teacher's accuracy", "percent"),
        Column("Student's accuracy", "percent"),
        Column("Against labels", "points"),
        Column("Agrees with its teacher", "percent"),
        Column("Agrees with the largest", "percent"),
    ]
    figure = spread_lines(
        lines,
        x_label="Parameters of the teacher",
        y_label="Accuracy or agreement",
        logarithmic=True,
        caption=f"Accuracy and agreement on test examples by the teacher's size. {_caption(out)}",
    )
    table = Table("Teachers of growing size", columns, rows, _caption(out))
    return Section("A teacher too large", text, verdicts, [table], [figure])


def _size(network: Network) -> int:
    return sum(np.size(leaf) for leaf in jax.tree.leaves(network.params))


def _agreement(students: Result, teacher: Taught) -> Spread:
    return Spread.of([metrics.agreement(x, teacher.logits) for x in students.logits])


def _follow(out: Transferred, name: str, each: Followed, plain: np.ndarray) -> Row:
    accuracy = _accuracies(out, each.students)
    largest = list(out.capacity.values())[-1].teacher
    return [
        name,
        _size(each.teacher.network),
        _reached(out, each.teacher),
        Spread.of(accuracy),
        Spread.of(accuracy - plain),
        _agreement(each.students, each.teacher),
        _agreement(each.students, largest),
    ]


def _summary(out: Transferred) -> str:
    parts = [f"The teacher reaches {_reached(out, out.teacher):.1%} on the test set."]
    if out.full:
        plain, distilled = (_spread(out, out.full[a]) * 100 for a in ("labels", "distilled"))
        parts.append(
            f"With all labels the student reaches {plain:.1f} %, taught {distilled:.1f} %."
        )
    if out.few:
        count, arms = min(out.few.items())
        each = {name: _spread(out, result) * 100 for name, result in arms.items()}
        parts.append(
            f"With {count:,} labels a class it reaches {each['labels']:.1f} % alone, "
            f"{each['pool']:.1f} % taught on the unlabeled pool, and {each['control']:.1f} % "
            "taught there by a teacher that knows no more labels."
        )
    return " ".join(parts) + (
        f"\n\njaxkd {jaxkd.__version__}, {len(out.study.seeds)} seeds, alpha {out.config.alpha}, "
        f"temperature {out.config.temperature}."
    )
