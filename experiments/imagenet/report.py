"""Report of experiments.imagenet: a table of all networks, and what the students learned."""

import pathlib
from typing import Any

import numpy as np

from experiments.common import agreement_report
from experiments.common.report import save
from experiments.imagenet.run import ImageNetResults, sampled_rows
from jaxkd.metrics import Spread
from jaxkd.study import Column, Report, Section, Table


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
    return save(Report(f"{config.pair} on {train.name}", summary, sections), workdir)


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
    seeds = results.config.seeds
    caption = f"Mean ± standard deviation of {seeds} students (seeds), one teacher."
    return Table("Accuracy", columns, rows, caption)
