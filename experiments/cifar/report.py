"""Report of experiments.cifar."""

import dataclasses
import functools
import pathlib

import jaxkd
from experiments.cifar.published import PUBLISHED
from experiments.cifar.run import CifarResults
from experiments.common import agreement_report
from experiments.common.report import save
from jaxkd.metrics import Spread
from jaxkd.study import Report, Section, Table, accuracy_bars, compare
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import counted

REDUCED = "runs of the reduced protocol for CPUs"


def write(cifar: CifarResults, workdir: pathlib.Path) -> Report:
    """Writes a table of all methods, and a section on what the best of them learned."""
    config, compared, train = cifar.config, cifar.methods, cifar.train
    labels, results = compared.labels, compared.results
    logits = {name: result.logits["test"] for name, result in results.arms.items()}
    accuracies = {name: results.values(name) for name in results.arms}
    plain, *others = accuracies
    best = agreement_report.best_of(logits, labels)
    study = compared.study
    features = functools.partial(
        agreement_report.features_of, study=study, dataset=study.data["test"]
    )
    teacher = features(study.network_teacher("the report"))
    similarities = {
        name: agreement_report.similarity(features(results.network(name)), teacher)
        for name in dict.fromkeys([plain, best or plain])
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
        f"jaxkd {jaxkd.__version__}, {counted(config.seeds, 'seed')}."
    )
    headline = ""
    if best is not None:
        ours, theirs = (Measured.of(accuracies[name], results[name]) for name in (best, plain))
        headline = advise(best, ours, theirs).headline
    report = Report(f"Distilling {config.pair}", summary, [first, learned], headline)
    return save(report, workdir)


def _table(cifar: CifarResults, note: str) -> Table:
    config, train = cifar.config, cifar.train
    table = cifar.methods.table(
        f"{config.pair} on {train.name}",
        f"{note}{counted(config.protocol.epochs, 'epoch')} of "
        f"{config.protocol.examples or len(train):,} "
        f"examples, batch {config.protocol.batch_size}, learning rate "
        f"{config.protocol.learning_rate:g}.",
    )
    published = PUBLISHED.get(config.pair, {}) if config.dataset == "cifar100" else {}
    if not published or config.mock or config.reduced:
        return table
    rows = [[*row, published.get(str(row[0]), "")] for row in table.rows]
    return dataclasses.replace(table, columns=[*table.columns, "Published (best epoch)"], rows=rows)
