"""Report of experiments.imagenet: a table of all networks, and what the students learned."""

import math
import pathlib
from typing import Any

import numpy as np

from experiments.common import agreement_report
from experiments.common.report import save
from experiments.common.study import Arm, Result
from experiments.imagenet.run import ImageNetResults, sampled_rows
from jaxkd import recipes
from jaxkd.metrics import Spread
from jaxkd.study import Column, Report, Section, Table


def write(results: ImageNetResults, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, one CSV file a table and the figures; returns the report."""
    report = make_report(results)
    return save(report, workdir)


def make_report(results: ImageNetResults) -> Report:
    """Makes a table of all networks, and a section on what the students learned."""
    config, train, test, steps = results.config, results.train, results.test, results.steps
    rows = sampled_rows(len(test))
    section = agreement_report.section(
        _student_results(results),
        results.scores["teacher"][0]["logits"],
        test.labels[rows],
        test.class_names,
    )
    teacher, student = config.pair.split("/")
    summary = (
        f"{teacher} teaches {student} by the protocol {config.protocol}: {steps:,} steps of "
        f"{config.batch_size} among {len(train):,} examples of {train.name}. The accuracies in the "
        f"first table are those on all {len(test):,} examples of the split {config.test_split} at "
        f"the last step, the rest is about {len(rows):,} of them."
    )
    sections = [Section("Accuracy", tables=[_table(results)]), section]
    return Report(f"{config.pair} on {train.name}", summary, sections)


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


def _student_results(results: ImageNetResults) -> list[Result]:
    """Returns the students' scores in the form that the section on agreement reads."""
    # It reads the arm's name and the logits of each seed; by the type of an arm its examples are
    # in memory, which these are not.
    examples: Any = results.train
    return [
        Result(
            Arm(name, examples, recipes.labels(), results.steps),
            {"logits": np.stack([score["logits"] for score in scores])},
            np.array([results.steps]),
            np.array([[score["top1"]] for score in scores]),
            np.full(len(scores), math.nan),
        )
        for name, scores in results.scores.items()
        if name != "teacher"
    ]
