"""The report of experiments.text_classification: accuracy by arm, F1, size and speed."""

import pathlib
from collections.abc import Sequence

import numpy as np

import jaxkd
from experiments.common.costs import SIZE_COLUMNS, size_cells, speed_columns, timing_caption
from experiments.common.report import Row, save
from experiments.text_classification.config import ALL, CONTROL, LABELS, POOL
from experiments.text_classification.run import ClassificationResults
from jaxkd import metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Finding,
    Report,
    Section,
    StudyResults,
    Table,
    accuracy_bars,
    class_figures,
    compare,
    learning_curves,
)
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import counted, inside, spread_over

_STUDENTS = {"static": "bag of tokens", "encoder": "small transformer"}


def write(out: ClassificationResults, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, the tables as CSV and the figures; returns the report."""
    sections = [_student_section(out, name) for name in out.results]
    report = Report(
        title=f"Few labels and a published encoder: {out.train.name}",
        summary=_summary(out),
        sections=[*sections, _cost(out)],
        headline=_headline(out),
    )
    return save(report, workdir)


def _headline(out: ClassificationResults) -> str:
    """The conclusion for each student."""
    sentences = []
    for name, results in out.results.items():
        ours, theirs = (Measured.of(results.values(a), results[a]) for a in (POOL, LABELS))
        headline = advise(POOL, ours, theirs).headline
        sentences.append(f"{_STUDENTS[name].capitalize()}: {inside(headline)}")
    return " ".join(sentences)


def _student_section(out: ClassificationResults, name: str) -> Section:
    labels, results, student = out.test.labels, out.results[name], _STUDENTS[name]
    accuracy = {arm: results.values(arm) for arm in results.arms}
    teacher = metrics.accuracy(out.teacher.logits, labels)
    control = metrics.accuracy(out.control.logits, labels)
    text = f"""The {student} has {len(out.few):,} labels; the other
        {len(out.train) - len(out.few):,} training texts have none. The teacher ({teacher:.1%}) was
        trained on all labels, the control's ({control:.1%}) on the same {len(out.few):,}. All arms
        make {results[LABELS].steps:,} steps."""
    logits = {arm: each.logits["test"] for arm, each in results.arms.items()}
    bars = {arm: Spread.of(values) for arm, values in accuracy.items()}
    curves = {arm: (each.curve_steps, each.curve) for arm, each in results.arms.items()}
    return Section(
        f"{name.capitalize()} student",
        text,
        _findings(accuracy),
        [_table(out, name, results)],
        [
            accuracy_bars(
                bars, teacher=teacher, caption=f"Test accuracy of the {student}, by arm."
            ),
            learning_curves(curves, caption=f"Test accuracy of the {student} during training."),
            *class_figures(
                POOL,
                logits[POOL],
                labels,
                out.test.class_names,
                baseline=(LABELS, logits[LABELS]),
            ),
        ],
    )


def _findings(accuracy: dict[str, np.ndarray]) -> list[Finding]:
    return [
        compare("Distilling on the unlabeled texts", accuracy[POOL], accuracy[LABELS]),
        compare("The same, with a teacher of no more labels", accuracy[CONTROL], accuracy[LABELS]),
        compare("Distilling on unlabeled texts, against all labels", accuracy[POOL], accuracy[ALL]),
    ]


def _table(out: ClassificationResults, name: str, results: StudyResults) -> Table:
    labels, teacher, few = out.test.labels, out.teacher.logits, len(out.few)

    def row(
        name: str, labeled: int, texts: int, logits: Sequence[np.ndarray], gain: Spread | str = ""
    ) -> Row:
        return [
            name,
            Spread.of([metrics.accuracy(each, labels) for each in logits]),
            gain,
            Spread.of([metrics.f1(each, labels) for each in logits]),
            Spread.of([metrics.agreement(each, teacher) for each in logits]),
            labeled,
            texts,
        ]

    rows = [
        row("teacher", len(out.train), len(out.train), [teacher]),
        row("teacher of few labels", few, few, [out.control.logits]),
    ]
    for arm, result in results.arms.items():
        # Distilled students see all texts.
        labeled = len(out.train) if arm == ALL else few
        texts = few if arm == LABELS else len(out.train)
        gain = Spread.of(results.values(arm) - results.values(LABELS)) if arm != LABELS else ""
        rows.append(row(arm, labeled, texts, list(result.logits["test"]), gain))
    classes = out.test.class_names
    columns: list[Column | str] = [
        "Network",
        Column("Accuracy", "percent"),
        Column("Against labels", "points"),
        Column(f"F1, {classes[1] if len(classes) == 2 else 'mean of classes'}", "decimal"),
        Column("Agrees with teacher", "percent"),
        Column("Labels", "count"),
        Column("Texts", "count"),
    ]
    caption = (
        f"{len(labels):,} test texts of at most {out.config.length} tokens. "
        f"{spread_over(out.config.seeds)}."
    )
    return Table(f"{name.capitalize()} student", columns, rows, caption)


def _cost(out: ClassificationResults) -> Section:
    rows: list[Row] = [
        [name, *size_cells(network), *out.speeds[name].cells()]
        for name, network in out.networks.items()
    ]
    columns: list[Column | str] = ["Network", *SIZE_COLUMNS, *speed_columns("Texts")]
    config = out.config
    batch = f"{min(config.speed_batch, len(out.test))} texts of {config.length} tokens"
    caption = timing_caption(batch, config.speed_rounds)
    return Section("Size and speed", tables=[Table("Size and speed", columns, rows, caption)])


def _summary(out: ClassificationResults) -> str:
    lines = []
    for name, results in out.results.items():
        accuracy = {arm: Spread.of(results.values(arm)) for arm in (LABELS, POOL)}
        lines.append(
            f"the {_STUDENTS[name]} reaches {accuracy[LABELS] * 100:.1f} % from labels alone and "
            f"{accuracy[POOL] * 100:.1f} % distilled on the unlabeled texts"
        )
    config = out.config
    return (
        f"With {len(out.few):,} labels {'; '.join(lines)}.\n\njaxkd {jaxkd.__version__}, "
        f"{counted(config.seeds, 'seed')}, alpha {config.alpha}, temperature {config.temperature}."
    )
