"""Report of experiments.imagenet: a table of all networks, and what the students learned."""

import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import agreement_report
from experiments.common.report import save
from experiments.imagenet.run import ImageNetResults, sampled_rows
from jaxkd.metrics import Spread
from jaxkd.study import Column, Report, Section, Table
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import spread_over


def write(results: ImageNetResults, workdir: pathlib.Path) -> Report:
    """Writes a table of all networks, and a section on what the students learned."""
    config, train, test = results.config, results.train, results.test
    rows = sampled_rows(len(test))
    logits = {
        name: np.stack([score["logits"] for score in scores])
        for name, scores in results.scores.items()
    }
    (teacher_logits,) = logits.pop("teacher")
    learned = agreement_report.section(logits, teacher_logits, test.labels[rows], test.class_names)
    teacher, student = config.pair.split("/")
    summary = (
        f"{teacher} teaches {student} by the protocol {config.protocol}: {results.steps:,} steps "
        f"of {config.batch_size} among {len(train):,} examples of {train.name}. The accuracies in "
        f"the first table are those on all {len(test):,} examples of the split "
        f"{config.test_split} at the last step, the rest is about {len(rows):,} of them."
    )
    sections = [Section("Accuracy", tables=[_table(results)]), learned]
    report = Report(f"{config.pair} on {train.name}", summary, sections, _headline(results, logits))
    return save(report, workdir)


def _headline(results: ImageNetResults, logits: Mapping[str, np.ndarray]) -> str:
    """The conclusion on the method of the best mean against the first one."""
    top1 = {name: [float(s["top1"]) for s in results.scores[name]] for name in logits}
    plain, *others = top1
    if not others:
        return ""
    best = max(others, key=lambda name: float(np.mean(top1[name])))
    return advise(best, Measured(top1[best]), Measured(top1[plain])).headline


def _table(results: ImageNetResults) -> Table:
    rows: list[list[Any]] = [
        [name, *(Spread.of([float(score[key]) for score in scores]) for key in ("top1", "top5"))]
        for name, scores in results.scores.items()
    ]
    columns: list[Column | str] = [
        "Network",
        Column("Top-1", "percent"),
        Column("Top-5", "percent"),
    ]
    caption = f"{spread_over(results.config.seeds)}, one teacher."
    return Table("Accuracy", columns, rows, caption)
