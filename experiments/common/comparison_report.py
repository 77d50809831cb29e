"""Report of a comparison: tables, figures and findings, whether there is a gain or not."""

import dataclasses
import pathlib

import numpy as np

import jaxkd
from experiments.common import cost_report
from experiments.common.comparison import CACHED, POOL, ComparisonResults
from experiments.common.report import Row, save
from jaxkd import metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Report,
    Section,
    StudyResults,
    Table,
    accuracy_bars,
    compare,
    learning_curves,
)
from jaxkd.study._conclusion import conclude
from jaxkd.study._wording import counted, inside


def write(compared: ComparisonResults, workdir: pathlib.Path, title: str) -> Report:
    """Writes what distillation gains in each regime, and what it costs."""
    sections = [
        _few_labels(compared),
        _schedules(compared),
        cost_report.networks_section(compared),
        cost_report.teacher_section(compared),
        cost_report.cache_section(compared),
    ]
    return save(Report(title, _summary(compared), sections, _headline(compared)), workdir)


def _headline(compared: ComparisonResults) -> str:
    """The conclusion for few labels and for all of them."""
    pairs = ((compared.few, POOL), (compared.short, CACHED))
    few, all_labels = (
        conclude(dataclasses.replace(each, arms={n: each[n] for n in (each.baseline, arm)}))
        for each, arm in pairs
    )
    if few.headline == all_labels.headline:
        return few.headline
    count = len(compared.study.data["few"])
    return (
        f"With {count:,} labels: {inside(few.headline)} With all labels: "
        f"{inside(all_labels.headline)}"
    )


def _accuracies(results: StudyResults) -> dict[str, np.ndarray]:
    return {name: results.values(name) for name in results.arms}


def _table(compared: ComparisonResults, title: str, results: StudyResults) -> Table:
    labels, teacher = compared.labels, compared.teacher_logits
    baseline = results.values(results.baseline)
    rows: list[Row] = []
    for name, result in results.arms.items():
        data = compared.study.data[result.arm.data or "train"]
        each, accuracy = result.logits["test"], results.values(name)
        has_labels = result.arm.options.get("alpha", 0.0) < 1
        rows.append(
            [
                name,
                Spread.of(accuracy),
                Spread.of(accuracy - baseline) if name != results.baseline else "",
                Spread.of([metrics.agreement(x, teacher) for x in each]),
                Spread.of([metrics.negative_log_likelihood(x, labels) for x in each]),
                Spread.of([metrics.expected_calibration_error(x, labels) for x in each]),
                int((data.labels >= 0).sum()) if has_labels else 0,
                len(data),
            ]
        )
    columns: list[Column | str] = [
        "Student",
        Column("Accuracy", "percent"),
        Column("Against labels", "points"),
        Column("Agrees with teacher", "percent"),
        Column("NLL", "nats"),
        Column("ECE", "percent"),
        Column("Labels", "count"),
        Column("Examples", "count"),
    ]
    return Table(title, columns, rows, compared.caption)


def _curves(results: StudyResults, caption: str) -> Figure:
    curves = {name: (each.curve_steps, each.curve) for name, each in results.arms.items()}
    return learning_curves(curves, caption=caption)


def _few_labels(compared: ComparisonResults) -> Section:
    results = compared.few
    accuracy = _accuracies(results)
    count = len(compared.study.data["few"])
    subjects = {
        POOL: "Distilling on the unlabeled pool",
        "distilled on the same labels": "Distilling on the labeled examples alone",
        "control: teacher of few labels": "The pool, with a teacher that had no more labels",
    }
    findings = [
        compare(subject, accuracy[arm], accuracy["labels"]) for arm, subject in subjects.items()
    ]
    teacher = metrics.accuracy(compared.teacher_logits, compared.labels)
    own = metrics.accuracy(compared.control_logits, compared.labels)
    unlabeled = len(compared.study.data["pool"]) - count
    text = f"""The student may use {count:,} labels; the other {unlabeled:,}
        training examples have none. The teacher ({teacher:.1%}) was trained on all labels, so its
        outputs on the pool carry what the student's labels do not. The control's teacher
        ({own:.1%}) was trained on the same {count:,} labels: what it gives comes from the
        unlabeled examples alone. All arms make the same number of steps."""
    bars = {name: Spread.of(values) for name, values in accuracy.items()}
    return Section(
        "Few labels and a large unlabeled pool",
        text,
        findings,
        [_table(compared, "Few labels", results)],
        [
            accuracy_bars(bars, teacher=teacher, caption="Test accuracy with few labels, by arm."),
            _curves(results, "Test accuracy during training with few labels."),
        ],
    )


def _schedules(compared: ComparisonResults) -> Section:
    epochs_of = (compared.config.short_epochs, compared.config.long_epochs)
    findings, tables, figures = [], [], []
    for epochs, results in zip(epochs_of, (compared.short, compared.long), strict=True):
        accuracy = _accuracies(results)
        ours, start = accuracy[CACHED], f"With all labels and {epochs} epochs"
        findings += [
            compare(f"{start}, distillation against {rival}", ours, accuracy[rival])
            for rival in ("labels", "label smoothing")
        ]
        tables.append(_table(compared, f"All labels, {epochs} epochs", results))
        caption = f"Test accuracy during {epochs} epochs with all labels."
        figures.append(_curves(results, caption))
    text = """With all labels the student has the truth for every example, and a teacher has little
        to add; label smoothing, which needs none, is its rival here. All arms use the same
        learning rate and schedule."""
    return Section("All labels, short and long", text, findings, tables, figures)


def _summary(compared: ComparisonResults) -> str:
    few = _accuracies(compared.few)
    plain, pool = Spread.of(few["labels"]), Spread.of(few[POOL])
    short = _accuracies(compared.short)
    verdict: Finding = compare("distillation", short[CACHED], short["labels"])
    says = {
        "gain": "still helps",
        "none": "makes no difference that these seeds can show",
        "loss": "hurts",
    }[verdict.kind]
    assert verdict.difference is not None
    count = len(compared.study.data["few"])
    return f"""With {count:,} labels the student reaches {plain * 100:.1f} % on its own and
        {pool * 100:.1f} % taught on the unlabeled pool.

        With all labels and a short schedule distillation {says}
        ({verdict.difference * 100:+.2f} points).

        jaxkd {jaxkd.__version__}, {counted(len(compared.study.seeds), "seed")}, alpha
        {compared.config.alpha}, temperature {compared.config.temperature}."""
