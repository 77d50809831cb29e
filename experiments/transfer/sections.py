"""Sections of the transfer experiment's report, one a regime."""

import math

import numpy as np

from experiments.common.report import Row
from experiments.transfer.regimes import (
    LeftOutResults,
    Teacher,
    TeacherResults,
    TransferResults,
)
from jaxkd import metrics
from jaxkd.compression import count_parameters
from jaxkd.metrics import Spread
from jaxkd.study import (
    ArmResult,
    Column,
    Figure,
    Finding,
    Section,
    Table,
    class_accuracy_bars,
    class_figures,
    compare,
    spread_lines,
)
from jaxkd.study._wording import counted, spread_over


def _caption(results: TransferResults) -> str:
    trainer = results.trainer
    seeds, steps = trainer.config.seeds, trainer.study.steps
    return (
        f"{spread_over(seeds)}, {counted(steps, 'step')} each, last step; "
        f"one teacher of {counted(trainer.teacher_steps, 'step')}."
    )


def few_labels(results: TransferResults) -> Section:
    """Makes the section on the number of labels."""
    names = {
        "labels": "labels alone",
        "same": "distilled, same examples",
        "pool": "distilled, pool",
        "control": "control",
    }
    train = results.trainer.train
    of_teacher = results.teacher_accuracy(results.teacher)
    plain, distilled = (
        Spread.of(results.accuracies(results.all_labels[arm])) for arm in ("labels", "distilled")
    )
    rows: list[Row] = []
    parts: list[Row] = []
    findings: list[Finding] = []
    lines: dict[str, dict[float, Spread | float]] = {name: {} for name in names.values()}
    for count, arms in results.few_labels.items():
        accuracy = {arm: results.accuracies(arms[arm]) for arm in names}
        for arm, name in names.items():
            lines[name][count] = Spread.of(accuracy[arm])
        of_control = results.teacher_accuracy(results.controls[count])
        rows.append([f"{count:,}", *(line[count] for line in lines.values()), of_control])
        pool, control, same = (
            accuracy[arm] - accuracy["labels"] for arm in ("pool", "control", "same")
        )
        parts.append([f"{count:,}", *map(Spread.of, (pool, control, pool - control, same))])
        start = f"With {counted(count, 'label')} a class,"
        findings += [
            compare(f"{start} {subject}", accuracy[arm], accuracy["labels"])
            for arm, subject in (
                ("pool", "distilling on the pool"),
                ("control", "the pool with a teacher of no more labels"),
            )
        ]
    rows.append(["all", plain, distilled, distilled, distilled, of_teacher])
    for arm, name in names.items():
        lines[name][len(train) / train.num_classes] = plain if arm == "labels" else distilled
    text = f"""The teacher ({of_teacher:.1%}) was trained on all
        {len(train):,} labels. The student may use a few, and learns either from the
        teacher's outputs on the same examples, or from those on all training examples, most of
        which have no label. The control's teacher was trained on the student's labels alone: its
        gain comes from the unlabeled examples and from the soft targets, the rest of the gain from
        the labels that the teacher saw and the student did not. A larger choice of labels contains
        the smaller ones; the spread over seeds is that of the student, not that of the choice.

        Each line below is a test of its own: among twenty of arms that are equal, one would differ
        by chance."""
    figure = spread_lines(
        lines,
        x_label="Labels a class",
        logarithmic=True,
        caption=f"Test accuracy over the number of labels. {_caption(results)}",
    )
    accuracies = Table(
        "Accuracy over labels",
        [
            "Labels a class",
            *(Column(name.capitalize(), "percent") for name in names.values()),
            Column("Control's teacher", "percent"),
        ],
        rows,
        f"{_caption(results)} With all labels the four are two: with and without the teacher.",
    )
    gains = Table(
        "Where the gain comes from",
        [
            "Labels a class",
            Column("Pool", "points"),
            Column("of which control", "points"),
            Column("of which teacher's labels", "points"),
            Column("Same examples", "points"),
        ],
        parts,
        f"Differences from labels alone, paired by seed. {_caption(results)}",
    )
    count, arms = min(results.few_labels.items())
    classes = class_figures(
        f"{names['pool']}, {counted(count, 'label')} a class",
        arms["pool"].logits["test"],
        results.labels,
        train.class_names,
        baseline=(names["labels"], arms["labels"].logits["test"]),
    )
    return Section("Few labels", text, findings, [accuracies, gains], [figure, *classes])


def left_out(results: TransferResults) -> Section:
    """Makes the section on classes that students never see."""
    train, labels = results.trainer.train, results.labels
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    rows: list[Row] = []
    findings: list[Finding] = []
    figures: list[Figure] = []
    for part in results.left_out:
        arms = _corrected(results, part)
        unseen = np.isin(labels, part.unseen)
        on_unseen, on_all = (
            {
                name: np.array([metrics.accuracy(x[where], labels[where]) for x in logits])
                for name, logits in arms.items()
            }
            for where in (unseen, np.ones_like(unseen))
        )
        rows += [
            [f"{part.name}: {arm}", Spread.of(on_unseen[arm]), Spread.of(on_all[arm])]
            for arm in arms
        ]
        start = f"Transfer set {part.name}"
        findings += [
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
            name: np.stack([metrics.class_accuracy(x, labels) for x in logits])
            for name, logits in arms.items()
        }
        single = names[part.unseen[0]] if len(part.unseen) == 1 else None
        caption = f"Test accuracy by class, transfer set {part.name}."
        figures.append(class_accuracy_bars(by_class, names, left_out=single, caption=caption))
    text = """The teacher knows all classes. The transfer set lacks some, and the distilled student
        sees no label: what it knows of them comes from the small probabilities that the teacher
        gives them on other examples (Hinton, Vinyals, Dean, 2015). Its bias for a class that is
        never the most probable is too low. The correction adds one number to the logit of the
        missing class, or to those of the few present classes, so that they are predicted as often
        as in the training labels. It uses the test images for that, not their labels."""
    table = Table(
        "Classes left out",
        [
            "Transfer set and student",
            Column("Accuracy on unseen classes", "percent"),
            Column("Accuracy on all classes", "percent"),
        ],
        rows,
        _caption(results),
    )
    return Section("Classes that the student never saw", text, findings, [table], figures)


def _corrected(results: TransferResults, part: LeftOutResults) -> dict[str, np.ndarray]:
    """Returns the logits of the students, with and without the bias corrected."""
    share = float(np.isin(results.trainer.train.labels, part.corrected).mean())
    logits = [
        metrics.correct_class_bias(x, part.corrected, share) for x in part.distilled.logits["test"]
    ]
    return {
        "labels": part.labels.logits["test"],
        "distilled": part.distilled.logits["test"],
        "bias corrected": np.stack(logits),
    }


def noise(results: TransferResults) -> Section:
    """Makes the section on wrong labels."""
    names = {
        "labels": "labels alone",
        "smoothed": "label smoothing",
        "clean": "distilled, teacher of clean labels",
        "noisy": "distilled, teacher of the same labels",
    }
    rows: list[Row] = []
    findings = []
    lines: dict[str, dict[float, Spread | float]] = {name: {} for name in names.values()}
    of_teacher = lines["that teacher itself"] = {}
    for share, arms in results.noise.items():
        accuracy = {arm: results.accuracies(arms[arm]) for arm in names}
        for arm, name in names.items():
            lines[name][100 * share] = Spread.of(accuracy[arm])
        of_teacher[100 * share] = results.teacher_accuracy(results.noisy_teachers[share])
        rows.append([f"{share:.0%}", *(line[100 * share] for line in lines.values())])
        # With no label wrong the two teachers are one.
        for arm in ("smoothed", "clean", "noisy") if share else ("smoothed", "clean"):
            start = f"With {share:.0%} of the labels wrong, {names[arm].replace(',', ' by the')}"
            findings.append(compare(start, accuracy[arm], accuracy["labels"]))
    text = """A share of the training labels is replaced by wrong ones, all equally likely; the test
        labels are right. Students learn from these labels alone, with smoothing, or from a teacher
        as well, which was trained on the clean labels or on the same wrong ones. The second teacher
        knows no more than the student; it helps because it learned the pattern before the
        exceptions. With no label wrong both are the same teacher."""
    figure = spread_lines(
        lines,
        x_label="Wrong training labels (%)",
        caption=f"Test accuracy over the share of wrong labels. {_caption(results)}",
    )
    table = Table(
        "Noisy labels",
        ["Wrong labels", *(Column(name.capitalize(), "percent") for name in lines)],
        rows,
        _caption(results),
    )
    return Section("Noisy labels", text, findings, [table], [figure])


def capacity(results: TransferResults) -> Section:
    """Makes the section on the size of the teacher."""
    plain = results.accuracies(results.all_labels["labels"])
    taught = {name: results.accuracies(each.students) for name, each in results.capacity.items()}
    smallest, largest = list(taught)[0], list(taught)[-1]
    rows: list[Row] = [["none: labels alone", Spread.of(plain), "", "", math.nan, math.nan, ""]]
    rows += [_row(results, name, each, plain) for name, each in results.capacity.items()]
    findings = [
        compare(f"With {name} as the teacher, distillation", accuracy, plain)
        for name, accuracy in taught.items()
    ]
    if largest != smallest:
        start = "Taking the largest teacher instead of the smallest"
        findings.append(compare(start, taught[largest], taught[smallest]))
    lines: dict[str, dict[float, Spread | float]] = {
        "teacher": {},
        "student": {},
        "student agrees with teacher": {},
    }
    for name, each in results.capacity.items():
        size = count_parameters(each.teacher.network.params)
        lines["teacher"][size] = results.teacher_accuracy(each.teacher)
        lines["student"][size] = Spread.of(taught[name])
        lines["student agrees with teacher"][size] = _agreement(each.students, each.teacher)
    if results.assistant:
        width = results.trainer.config.assistant_width
        name = f"assistant CNN-{width}, taught by {largest}"
        rows.append(_row(results, name, results.assistant, plain))
        accuracy = results.accuracies(results.assistant.students)
        start = f"An assistant between {largest} and the student"
        findings.append(compare(start, accuracy, taught[largest]))
    student_size = count_parameters(results.trainer.study.make_student(0).params)
    text = f"""Teachers of growing width, trained alike on all labels, teach one student of
        {student_size:,} parameters. A teacher may be too large for its student (Mirzadeh et al.,
        2020): a larger one is more accurate, but the student imitates it less well. The assistant
        learns from the largest teacher's outputs and then teaches in its place. Agreement is the
        share of test examples for which two networks predict the same class."""
    figure = spread_lines(
        lines,
        x_label="Parameters of the teacher",
        y_label="Accuracy or agreement",
        logarithmic=True,
        caption="Accuracy and agreement on test examples by the teacher's size. "
        f"{_caption(results)}",
    )
    table = Table(
        "Teachers of growing size",
        [
            "Teacher",
            Column("Student's accuracy", "percent"),
            Column("Against labels", "points"),
            Column("Teacher's accuracy", "percent"),
            Column("Agrees with its teacher", "percent"),
            Column("Agrees with the largest", "percent"),
            Column("Parameters", "count"),
        ],
        rows,
        _caption(results),
    )
    return Section("A teacher too large", text, findings, [table], [figure])


def _agreement(students: ArmResult, teacher: Teacher) -> Spread:
    return Spread.of([metrics.agreement(x, teacher.logits) for x in students.logits["test"]])


def _row(results: TransferResults, name: str, each: TeacherResults, plain: np.ndarray) -> Row:
    accuracy = results.accuracies(each.students)
    largest = list(results.capacity.values())[-1].teacher
    return [
        name,
        Spread.of(accuracy),
        Spread.of(accuracy - plain),
        results.teacher_accuracy(each.teacher),
        _agreement(each.students, each.teacher),
        _agreement(each.students, largest),
        count_parameters(each.teacher.network.params),
    ]
