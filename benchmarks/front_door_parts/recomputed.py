"""The numbers of a report computed again, from the logits and labels on disk, in NumPy alone."""

import csv
import json
import math
import pathlib
from typing import Any

import numpy as np

# Largest difference of numbers of which one was summed in float32.
_CLOSE = 2e-6
# 97.5 % quantile of Student's t by degrees of freedom, as tables print it.
_QUANTILES = {1: 12.706205, 2: 4.302653, 3: 3.182446, 4: 2.776445, 5: 2.570582}
_FILES = {"validation": "result.npz", "test": "test.npz"}


class Numbers:
    """Numbers of a report beside those computed again.

    Attributes:
      count: how many were compared.
      largest: largest difference.
      wrong: those that differ, in words.
    """

    def __init__(self) -> None:
        self.count, self.largest = 0, 0.0
        self.wrong: list[str] = []

    def compare(self, name: str, said: Any, ours: Any) -> None:
        """Compares numbers, or lists of numbers, or anything that is equal or not."""
        if isinstance(said, list):
            if len(said) != len(ours):
                self.wrong.append(f"{name}: {len(said)} numbers for {len(ours)}")
            for number, (one, other) in enumerate(zip(said, ours, strict=False)):
                self.compare(f"{name}[{number}]", one, other)
            return
        self.count += 1
        if isinstance(said, float) and not isinstance(ours, str):
            difference = abs(said - float(ours))
            self.largest = max(self.largest, difference)
            is_equal = difference <= _CLOSE * max(1.0, abs(float(ours)))
        else:
            is_equal = said == ours
        if not is_equal:
            self.wrong.append(f"{name}: {said} for {ours}")


def scores(logits: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Computes accuracy and mean negative log-likelihood of logits `[examples, classes]`."""
    logits = logits.astype(np.float64)
    highest = logits.max(-1, keepdims=True)
    log_sums = highest + np.log(np.exp(logits - highest).sum(-1, keepdims=True))
    likelihood = (logits - log_sums)[np.arange(len(labels)), labels]
    accuracy = (logits.argmax(-1) == labels).mean()
    return {"accuracy": float(accuracy), "cross_entropy": float(-likelihood.mean())}


def recompute(out: pathlib.Path, teacher: dict[str, tuple[np.ndarray, np.ndarray]]) -> Numbers:
    """Computes every number of `report.json` of a `jaxkd distill` again, and compares it.

    Seconds, the number of steps and what was asked for are no results; the values of learning
    curves before the last one are those of `eval.csv`, since no logits of them are kept.

    Args:
      out: the `--out` of the command.
      teacher: part → logits of the teacher on its examples, and their labels.

    Returns:
      What was compared.
    """
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    study, numbers = out / "study", Numbers()
    labels = {part: np.load(study / f"labels_{part}.npy") for part in _FILES}
    for part, (logits, known) in teacher.items():
        if not np.array_equal(labels[part], known):
            numbers.wrong.append(f"labels of the {part} examples")
        for name, value in scores(logits, labels[part]).items():
            numbers.compare(f"teacher {part} {name}", document["teacher"][part][name], value)
    ours: dict[str, dict[str, list[dict[str, float]]]] = {}
    for arm, said in document["arms"].items():
        ours[arm] = {}
        for part, file in _FILES.items():
            folders = [study / arm / f"seed{seed}" for seed in document["seeds"]]
            each = [scores(np.load(f / file)["logits"], labels[part]) for f in folders]
            ours[arm][part] = each
            for name in each[0]:
                values = [one[name] for one in each]
                numbers.compare(f"{arm} {part} {name}", said["scores"][part][name], values)
        for seed, curve in enumerate(said["curve"]["values"]):
            rows = _rows(study / arm / f"seed{document['seeds'][seed]}" / "eval.csv")
            numbers.compare(f"{arm} curve", curve, [float(row["accuracy"]) for row in rows])
            steps = [int(float(row["step"])) for row in rows]
            numbers.compare(f"{arm} steps of the curve", said["curve"]["steps"], steps)
            last = ours[arm]["validation"][seed]["accuracy"]
            numbers.compare(f"{arm} end of the curve", curve[-1], last)
    if "labels" in ours and "kd" in ours:
        _compare_difference(document, ours, numbers)
        means = {arm: _mean(parts["validation"]) for arm, parts in ours.items()}
        numbers.compare("the chosen arm", document["chosen"], max(means, key=means.__getitem__))
    return numbers


def without_seconds(out: pathlib.Path) -> dict[str, Any]:
    """Reads `report.json` without its times, which are unknown of a training that was resumed."""
    document: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    for arm in document["arms"].values():
        del arm["seconds"]
    return document


def _compare_difference(document: dict[str, Any], ours: dict[str, Any], numbers: Numbers) -> None:
    """Compares the paired difference of distillation and labels, and its interval."""
    said = document["arms"]["kd"]["against_baseline"]
    pairs = zip(ours["kd"]["test"], ours["labels"]["test"], strict=True)
    gains = np.array([one["accuracy"] - other["accuracy"] for one, other in pairs])
    numbers.compare("mean gain", said["mean"], gains.mean())
    if len(gains) == 1 or math.isclose(gains.std(), 0.0, abs_tol=1e-12):
        return
    half = _QUANTILES[len(gains) - 1] * gains.std(ddof=1) / math.sqrt(len(gains))
    low, high = gains.mean() - half, gains.mean() + half
    numbers.compare("interval of the gain", said["interval"], [low, high])
    kind = "gain" if low > 0 else "loss" if high < 0 else "none"
    numbers.compare("kind of the gain", said["kind"], kind)
    numbers.compare("the sentence has the mean", f"{100 * gains.mean():+.2f}" in _plain(said), True)


def _plain(said: dict[str, Any]) -> str:
    return str(said["text"]).replace("−", "-")


def _mean(each: list[dict[str, float]]) -> float:
    return float(np.mean([one["accuracy"] for one in each]))


def _rows(file: pathlib.Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))
