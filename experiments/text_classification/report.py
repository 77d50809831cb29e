"""The report of experiments.text_classification: accuracy by arm, F1, size and speed."""

import pathlib

import numpy as np

import jaxkd
from experiments.common import comparison_report
from experiments.common.costs import SIZE_COLUMNS, size_cells, speed_columns, timing_caption
from experiments.common.study import Result
from experiments.text_classification.training import ALL, CONTROL, LABELS, POOL, Classified, f1
from jaxkd import metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Finding,
    Report,
    Section,
    Table,
    accuracy_bars,
    compare,
    learning_curves,
)

Row = list[str | int | float | Spread]


def write(classified: Classified, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, the tables as CSV and the figures; returns the report."""
    report = Report(
        title=f"Few labels and a published encoder: {classified.train.name}",
        summary=_summary(classified),
        sections=[_of_student(classified, name) for name in classified.results]
        + [_cost(classified)],
    )
    comparison_report.save(report, workdir)
    return report


def _of_student(classified: Classified, name: str) -> Section:
    labels, results = classified.test.labels, classified.results[name]
    accuracy = {result.arm.name: result.accuracies(labels) for result in results}
    teacher = metrics.accuracy(classified.taught.logits, labels)
    own = metrics.accuracy(classified.control.logits, labels)
    text = f"""The {_student(name)} has {len(classified.few):,} labels; the other
        {len(classified.train) - len(classified.few):,} training texts have none. The teacher
        ({teacher:.1%}) was trained on all labels, the control's ({own:.1%}) on the same
        {len(classified.few):,}. All arms make {classified.steps:,} steps."""
    bars = {arm: Spread.of(values) for arm, values in accuracy.items()}
    curves = {result.arm.name: (result.curve_steps, result.curve) for result in results}
    return Section(
        f"{name.capitalize()} student",
        text,
        _verdicts(accuracy),
        [_table(classified, name, results)],
        [
            accuracy_bars(
                bars, teacher=teacher, caption=f"Test accuracy of the {_student(name)}, by arm."
            ),
            learning_curves(
                curves, caption=f"Test accuracy of the {_student(name)} during training."
            ),
        ],
    )


def _table(classified: Classified, name: str, results: list[Result]) -> Table:
    labels, teacher = classified.test.labels, classified.taught.logits
    baseline = results[0].accuracies(labels)
    rows: list[Row] = [
        [
            who,
            count,
            len(classified.train) if count == len(classified.train) else count,
            metrics.accuracy(logits, labels),
            "",
            f1(logits, labels),
            metrics.agreement(logits, teacher),
        ]
        for who, count, logits in (
            ("teacher", len(classified.train), teacher),
            ("teacher of few labels", len(classified.few), classified.control.logits),
        )
    ]
    for result in results:
        own = result.accuracies(labels)
        rows.append(
            [
                result.arm.name,
                int(np.sum(result.arm.train.labels >= 0)),
                len(result.arm.train),
                Spread.of(own),
                Spread.of(own - baseline) if result is not results[0] else "",
                Spread.of([f1(logits, labels) for logits in result.logits]),
                Spread.of([metrics.agreement(logits, teacher) for logits in result.logits]),
            ]
        )
    classes = classified.test.class_names
    of = classes[1] if len(classes) == 2 else "mean of classes"
    columns: list[Column | str] = [
        "Network",
        Column("Labels", "count"),
        Column("Texts", "count"),
        Column("Accuracy", "percent"),
        Column("Against labels", "points"),
        Column(f"F1, {of}", "decimal"),
        Column("Agrees with teacher", "percent"),
    ]
    caption = (
        f"{len(labels):,} test texts of at most {classified.config.length} tokens. Mean ± standard "
        f"deviation of {classified.config.seeds} seeds."
    )
    return Table(f"{name.capitalize()} student", columns, rows, caption)


def _verdicts(accuracy: dict[str, np.ndarray]) -> list[Finding]:
    return [
        compare("Distilling on the unlabeled texts", accuracy[POOL], accuracy[LABELS]),
        compare("The same, with a teacher of no more labels", accuracy[CONTROL], accuracy[LABELS]),
        compare("Distilling on unlabeled texts, against all labels", accuracy[POOL], accuracy[ALL]),
    ]


def _cost(classified: Classified) -> Section:
    rows: list[Row] = [
        [name, *size_cells(network), *classified.speeds[name].cells()]
        for name, network in classified.networks.items()
    ]
    columns: list[Column | str] = ["Network", *SIZE_COLUMNS, *speed_columns("Texts")]
    config = classified.config
    batch = f"{min(config.speed_batch, len(classified.test))} texts of {config.length} tokens"
    caption = timing_caption(batch, config.speed_rounds)
    return Section("Size and speed", tables=[Table("Size and speed", columns, rows, caption)])


def _student(name: str) -> str:
    return {"static": "bag of tokens", "encoder": "small transformer"}[name]


def _summary(classified: Classified) -> str:
    lines = []
    for name, results in classified.results.items():
        reached = {r.arm.name: Spread.of(r.accuracies(classified.test.labels)) for r in results}
        lines.append(
            f"{_student(name)}: {reached[LABELS] * 100:.1f} % from labels alone, "
            f"{reached[POOL] * 100:.1f} % taught on the unlabeled texts"
        )
    return (
        f"With {len(classified.few):,} labels. {'; '.join(lines)}.\n\njaxkd {jaxkd.__version__}, "
        f"{classified.config.seeds} seeds, alpha {classified.config.alpha}, temperature "
        f"{classified.config.temperature}."
    )
