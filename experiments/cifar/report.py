"""Report of experiments.cifar."""

import dataclasses
import pathlib

import jaxkd
from experiments.cifar.published import PUBLISHED
from experiments.cifar.run import CifarResults
from experiments.common import agreement_report
from experiments.common.report import save
from jaxkd.metrics import Spread
from jaxkd.study import Report, Section, accuracy_bars

REDUCED = "runs of the reduced protocol for CPUs"


def write(cifar: CifarResults, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, one CSV file a table and the figures; returns the report."""
    report = make_report(cifar)
    return save(report, workdir)


def make_report(cifar: CifarResults) -> Report:
    """Makes a table of all methods, and a section on what the best of them learned."""
    config, compared, train = cifar.config, cifar.methods, cifar.train
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
    similarities = {
        result.arm.name: agreement_report.similarity(result.probed, cifar.teacher_features)
        for result in (results[0], best)
        if result is not None and result.probed
    }
    names = train.class_names or tuple(map(str, range(train.num_classes)))
    first = Section(
        "Methods",
        "All students see the same examples under the same optimizer and schedule, except for what "
        "a method is about: born_again and assistant train several networks one after the other "
        "(the steps are those of all), data_free generates its examples, frozen_classifier does "
        "not train the last layer, stage_wise and dot have optimizers of their own, and teachers_* "
        "have two more teachers, trained like the first.",
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
        agreement_report.section(results, compared.teacher_logits, labels, names, similarities),
    ]
    return Report(f"Distilling {config.pair}", summary, sections)
