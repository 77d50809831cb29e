"""What the ImageNet experiment shows: a table of all networks, and what the students learned."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.common import agreement_report
from experiments.common.study import Arm, Result
from experiments.imagenet.config import Config
from jaxkd import recipes
from jaxkd.data import EncodedImages
from jaxkd.metrics import Spread
from jaxkd.study import Column, Report, Section, Table

# What a run keeps: `top1`, `top5`, and the logits of some test examples.
Score = dict[str, np.ndarray]
# Test examples whose logits are kept for what the report says beyond accuracy.
_KEPT = 10_000


def report(
    config: Config,
    scores: Mapping[str, list[Score]],
    train: EncodedImages,
    test: EncodedImages,
    steps: int,
) -> Report:
    """A table of all networks, and what the students learned."""
    students = {name: runs for name, runs in scores.items() if name != "teacher"}
    rows: list[list[Any]] = [
        [name, *(Spread.of([float(run[key]) for run in runs]) for key in ("top1", "top5"))]
        for name, runs in scores.items()
    ]
    columns: list[Column | str] = [
        "Network",
        Column("Top-1", "percent"),
        Column("Top-5", "percent"),
    ]
    caption = f"Mean ± standard deviation of {config.seeds} students (seeds), one teacher."
    table = Table("Accuracy", columns, rows, caption)
    # The section reads the arm's name and the logits of each seed; an arm's type says that its
    # examples are in memory.
    examples: Any = train
    results = [
        Result(
            Arm(name, examples, recipes.labels(), steps),
            {"logits": np.stack([run["logits"] for run in runs])},
            np.array([steps]),
            np.array([[run["top1"]] for run in runs]),
            np.full(len(runs), math.nan),
        )
        for name, runs in students.items()
    ]
    some = shown(test)
    section = agreement_report.section(
        results, scores["teacher"][0]["logits"], test.labels[some], test.class_names
    )
    teacher, student = config.pair.split("/")
    summary = f"""{teacher} teaches {student} by the protocol {config.protocol}: {steps:,} steps
        of {config.batch_size} among {len(train):,} examples of {train.name}. The accuracies in
        the first table are those on all {len(test):,} examples of the split
        {config.test_split} at the last step, the rest is about {len(some):,} of them."""
    title, summary = f"{config.pair} on {train.name}", " ".join(summary.split())
    return Report(title, summary, [Section("Accuracy", tables=[table]), section])


def hits(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Shares of the labeled examples whose label is the first, and among the first five."""
    known = labels >= 0
    logits, labels = logits[known], labels[known]
    own = np.take_along_axis(logits, labels[:, None], axis=-1)
    # A tie counts against the network: one that answers always the same is right by no chance.
    rank = (logits >= own).sum(-1)
    return float((rank <= 1).mean()), float((rank <= 5).mean())


def shown(test: EncodedImages) -> np.ndarray:
    """Positions of the examples whose logits the report is about, spread evenly."""
    return np.linspace(0, len(test) - 1, min(_KEPT, len(test))).round().astype(int)
