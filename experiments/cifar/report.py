"""Report of experiments.cifar."""

import dataclasses
import pathlib

import jaxkd
from experiments.cifar.published import PUBLISHED
from experiments.cifar.run import CifarResults
from experiments.common import agreement_report
from experiments.common.report import save
from jaxkd.metrics import Spread
from jaxkd.study import Report, Section, Table, accuracy_bars, compare

REDUCED = "runs of the reduced protocol for CPUs"


def write(cifar: CifarResults, workdir: pathlib.Path) -> Report:
    """Writes a table of all methods, and a section on what the best of them learned."""
    config, compared, train = cifar.config, cifar.methods, cifar.train
    labels = compared.labels
    logits = {result.arm.name: result.logits for result in compared.results}
    accuracies = {result.arm.name: result.accuracies(labels) for result in compared.results}
    plain, *others = accuracies
    best = agreement_report.best_of(logits, labels)
    similarities = {
        result.arm.name: agreement_report.similarity(result.probed, cifar.teacher_features)
        for result in compared.results
        if result.arm.name in (plain, best) and result.probed
    }
    note = f"{REDUCED}. " if config.reduced else ""
    bars = {name: Spread.of(values) for name, values in accuracies.items()}
    first = Section(
        "Methods",
        "All students see the same examples under the same optimizer and schedule, except for what "
        "a method is about: born_again and assistant train several networks one after the other "
        "(the steps are those of all), data_free generates its examples, frozen_classifier does "
        "not train the last layer, stage_wise and dot have optimizers of their own, and teachers_* "
        "have two more teachers, trained like the first.",
        [compare(name, accuracies[name], accuracies[plain]) for name in others],
        [_table(cifar, note)],
        [
            accuracy_bars(
                bars, teacher=compared.teacher_accuracy, caption="Test accuracy by method."
            )
        ],
    )
    learned = agreement_report.section(
        logits, compared.teacher_logits, labels, train.class_names, similarities
    )
    summary = (
        f"{config.pair} on {train.name}: the teacher reaches {compared.teacher_accuracy:.2%}, "
        f"labels alone {bars[plain] * 100:.2f} %. {note}"
        f"jaxkd {jaxkd.__version__}, {config.seeds} seeds."
    )
    return save(Report(f"Distilling {config.pair}", summary, [first, learned]), workdir)


def _table(cifar: CifarResults, note: str) -> Table:
    config, train = cifar.config, cifar.train
    table = cifar.methods.table(
        f"{config.pair} on {train.name}",
        f"{note}{config.protocol.epochs} epochs of {config.protocol.examples or len(train):,} "
        f"examples, batch {config.protocol.batch_size}, learning rate "
        f"{config.protocol.learning_rate:g}.",
    )
    published = PUBLISHED.get(config.pair, {}) if config.dataset == "cifar100" else {}
    if not published or config.mock or config.reduced:
        return table
    rows = [[*row, published.get(str(row[0]), "")] for row in table.rows]
    return dataclasses.replace(table, columns=[*table.columns, "Published (best epoch)"], rows=rows)
