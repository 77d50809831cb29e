"""Report of experiments.cifar."""

import dataclasses

import numpy as np

import jaxkd
from experiments.cifar.config import Config
from experiments.cifar.published import PUBLISHED
from experiments.common import agreement_report, methods
from jaxkd.data import Dataset
from jaxkd.metrics import Spread
from jaxkd.study import Report, Section, accuracy_bars

REDUCED = "runs of the reduced protocol for processors"


def make_report(
    config: Config,
    compared: methods.MethodResults,
    teacher_features: dict[str, np.ndarray],
    train: Dataset,
) -> Report:
    """A table of all methods, and what the best of them learned."""
    results, labels = compared.results, compared.labels
    note = f"{REDUCED}. " if config.reduced else ""
    published = PUBLISHED.get(config.pair, {}) if config.dataset == "cifar100" else {}
    table = compared.table(
        f"{config.pair} on {train.name}",
        f"{note}{config.protocol.epochs} epochs of {config.protocol.examples or len(train):,} "
        f"examples, batch {config.protocol.batch_size}, learning rate "
        f"{config.protocol.learning_rate:g}.",
    )
    if published and not config.mock and not config.reduced:
        rows = [[*row, published.get(str(row[0]), "")] for row in table.rows]
        columns = [*table.columns, "Published (best epoch)"]
        table = dataclasses.replace(table, columns=columns, rows=rows)
    bars = {r.arm.name: Spread.of(r.accuracies(labels)) for r in results}
    best = agreement_report.best_of(results, labels)
    seen = {
        result.arm.name: agreement_report.similarity(result.probed, teacher_features)
        for result in (results[0], best)
        if result is not None and result.probed
    }
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    first = Section(
        "Methods",
        "All students see the same examples under the same optimizer and schedule, but for what a "
        "method is about: born_again and assistant train several networks one after the other (the "
        "steps are those of all), data_free makes its own examples, frozen_classifier leaves the "
        "last layer alone, stage_wise and dot have optimizers of their own, and teachers_* have "
        "two more teachers, trained like the first.",
        [
            jaxkd.study.compare(r.arm.name, r.accuracies(labels), results[0].accuracies(labels))
            for r in results[1:]
        ],
        [table],
        [
            accuracy_bars(
                bars, teacher=compared.teacher_accuracy, caption="Test accuracy by method."
            )
        ],
    )
    summary = (
        f"{config.pair} on {train.name}: the teacher reaches {compared.teacher_accuracy:.2%}, "
        f"labels alone {Spread.of(results[0].accuracies(labels)) * 100:.2f} %. {note}"
        f"jaxkd {jaxkd.__version__}, {config.seeds} seeds."
    )
    sections = [
        first,
        agreement_report.section(results, compared.teacher_logits, labels, names, seen),
    ]
    return Report(f"Distilling {config.pair}", summary, sections)
