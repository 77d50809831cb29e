"""Report of a comparison: tables, figures and findings, whether there is a gain or not."""

import pathlib
from collections.abc import Sequence

import numpy as np

import jaxkd
from experiments.common import cost_report
from experiments.common.comparison import ComparisonResults
from experiments.common.report import Row, save
from experiments.common.study import Result
from jaxkd import metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Finding,
    Report,
    Section,
    Table,
    accuracy_bars,
    compare,
    learning_curves,
)


def write(compared: ComparisonResults, workdir: pathlib.Path, title: str) -> Report:
    """Writes what distillation gains in each regime, and what it costs."""
    sections = [
        _few_labels(compared),
        _schedules(compared),
        cost_report.networks_section(compared),
        cost_report.teacher_section(compared),
        cost_report.cache_section(compared),
    ]
    return save(Report(title=title, summary=_summary(compared), sections=sections), workdir)


def _accuracies(compared: ComparisonResults, results: Sequence[Result]) -> dict[str, np.ndarray]:
    return {r.arm.name: r.accuracies(compared.labels) for r in results}


def _table(compared: ComparisonResults, title: str, results: Sequence[Result]) -> Table:
    labels, teacher = compared.labels, compared.teacher_logits
    baseline = results[0].accuracies(labels)
    rows: list[Row] = []
    for result in results:
        arm, each, accuracy = result.arm, result.logits, result.accuracies(labels)
        count = int((arm.train.labels >= 0).sum()) if "label" in arm.objective.terms else 0
        rows.append(
            [
                arm.name,
                count,
                len(arm.train),
                Spread.of(accuracy),
                Spread.of(accuracy - baseline) if result is not results[0] else "",
                Spread.of([metrics.agreement(x, teacher) for x in each]),
                Spread.of([metrics.negative_log_likelihood(x, labels) for x in each]),
                Spread.of([metrics.expected_calibration_error(x, labels) for x in each]),
            ]
        )
    columns: list[Column | str] = [
        "Student",
        Column("Labels", "count"),
        Column("Examples", "count"),
        Column("Accuracy", "percent"),
        Column("Against labels", "points"),
        Column("Agrees with teacher", "percent"),
        Column("NLL", "decimal"),
        Column("ECE", "decimal"),
    ]
    return Table(title, columns, rows, compared.caption)


def _curves(compared: ComparisonResults, results: Sequence[Result], caption: str) -> Figure:
    return learning_curves({r.arm.name: (r.curve_steps, r.curve) for r in results}, caption=caption)


def _few_labels(compared: ComparisonResults) -> Section:
    results = compared.few
    accuracy = _accuracies(compared, results)
    count = len(results[0].arm.train)
    subjects = {
        "distilled on the pool, cached": "Distilling on the unlabeled pool",
        "distilled on the same labels": "Distilling on the labeled examples alone",
        "control: teacher of few labels": "The pool, with a teacher that had no more labels",
    }
    findings = [
        compare(subject, accuracy[arm], accuracy["labels"]) for arm, subject in subjects.items()
    ]
    teacher = metrics.accuracy(compared.teacher_logits, compared.labels)
    own = metrics.accuracy(compared.control_logits, compared.labels)
    text = f"""The student may use {count:,} labels; the other {len(compared.train) - count:,}
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
            _curves(compared, results, "Test accuracy during training with few labels."),
        ],
    )


def _schedules(compared: ComparisonResults) -> Section:
    epochs_of = (compared.config.short_epochs, compared.config.long_epochs)
    findings, tables, figures = [], [], []
    for epochs, results in zip(epochs_of, (compared.short, compared.long), strict=True):
        accuracy = _accuracies(compared, results)
        ours, start = accuracy["distilled from the cache"], f"With all labels and {epochs} epochs"
        findings += [
            compare(f"{start}, distillation against {rival}", ours, accuracy[rival])
            for rival in ("labels", "label smoothing")
        ]
        tables.append(_table(compared, f"All labels, {epochs} epochs", results))
        caption = f"Test accuracy during {epochs} epochs with all labels."
        figures.append(_curves(compared, results, caption))
    text = """With all labels the student has the truth for every example, and a teacher has little
        to add; label smoothing, which needs none, is its rival here. All arms use the same
        learning rate and schedule."""
    return Section("All labels, short and long", text, findings, tables, figures)


def _summary(compared: ComparisonResults) -> str:
    few = _accuracies(compared, compared.few)
    plain, pool = Spread.of(few["labels"]), Spread.of(few["distilled on the pool, cached"])
    short = _accuracies(compared, compared.short)
    verdict: Finding = compare("distillation", short["distilled from the cache"], short["labels"])
    says = {
        "gain": "still helps",
        "none": "makes no difference that these seeds can show",
        "loss": "hurts",
    }[verdict.kind]
    assert verdict.difference is not None
    count = len(compared.few[0].arm.train)
    return f"""With {count:,} labels the student reaches {plain * 100:.1f} % on its own and
        {pool * 100:.1f} % taught on the unlabeled pool.

        With all labels and a short schedule distillation {says}
        ({verdict.difference * 100:+.2f} points).

        jaxkd {jaxkd.__version__}, {len(compared.study.seeds)} seeds, alpha
        {compared.config.alpha}, temperature {compared.config.temperature}."""
