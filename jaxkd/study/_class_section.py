"""What a study of classes gains in each class, what is confused, and how sure the student is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxkd import metrics
from jaxkd.study.figures import class_gain_bars, heat_map, reliability_diagram
from jaxkd.study.report import Section

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

_MOST_CONFUSED = 12


def class_section(results: StudyResults, arm: str) -> Section | None:
    """Makes the section on the classes, from the logits of an arm and of the baseline.

    Args:
      results: results of the study.
      arm: the arm that the report is about.

    Returns:
      The section; None where the logits are not those of one class an example.
    """
    part, others = results.shown_part, results[results.baseline]
    labels = results.labels.get(part)
    logits, baseline = results[arm].logits.get(part), others.logits.get(part)
    if labels is None or logits is None or baseline is None or not is_classes(logits, labels):
        return None
    known = labels >= 0
    labels, logits, baseline = labels[known], logits[:, known], baseline[:, known]
    names = results.class_names
    if len(names) != logits.shape[-1]:
        names = tuple(map(str, range(logits.shape[-1])))
    figures = []
    if arm != results.baseline:
        pairs = zip(baseline, logits, strict=True)
        gains = [
            metrics.class_accuracy(ours, labels) - metrics.class_accuracy(theirs, labels)
            for theirs, ours in pairs
        ]
        caption = f"Accuracy of {arm} minus that of {results.baseline}, by class."
        figures.append(class_gain_bars(gains, names, caption=caption))
    if len(names) <= _MOST_CONFUSED:
        caption = f"{arm}: of the examples of a class, the share that is predicted as each class."
        cells = confusion(logits, labels)
        figures.append(
            heat_map(
                cells,
                names,
                names,
                row_label="class",
                column_label="predicted",
                value_label="Share",
                higher_is_better=None,
                start=0.0,
                stop=1.0,
                caption=f"{caption} Right ones are on the diagonal.",
            )
        )
    caption = f"{arm}, seed {results.seeds[0]}. Numbers below: examples in each bin of confidence."
    bins = metrics.reliability(logits[0], labels)
    figures.append(reliability_diagram(bins, caption=caption))
    return Section("By class", f"All of it is of the {part} examples.", figures=figures)


def confusion(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Computes which classes are predicted for the examples of each, averaged over seeds.

    Args:
      logits: `[seeds, n, num_classes]`.
      labels: classes, `[n]`.

    Returns:
      Shares of the examples of a class, `[num_classes, num_classes]`; nan for one without examples.
    """
    seeds, _, num_classes = logits.shape
    counts = np.zeros((num_classes, num_classes))
    np.add.at(counts, (np.tile(labels, seeds), logits.argmax(-1).ravel()), 1.0)
    total = counts.sum(1, keepdims=True)
    return np.divide(counts, total, out=np.full_like(counts, np.nan), where=total > 0)


def is_classes(logits: np.ndarray, labels: np.ndarray) -> bool:
    """Whether labels are one class for each example, and any is known."""
    integers = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    fits = logits.ndim == 3 and logits.shape[1] == labels.size and logits.shape[2] > 1
    inside = integers and fits and bool((labels < logits.shape[2]).all())
    return inside and bool((labels >= 0).any()) and bool(np.isfinite(logits).all())
