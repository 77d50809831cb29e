"""What an arm gains in each class, which classes it confuses, and how sure it is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxkd import metrics
from jaxkd.study.figures import Figure, class_gain_bars, heat_map, reliability_diagram

_MOST_CONFUSED = 12
_MOST_GAINS = 10


def class_figures(
    arm: str,
    logits: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str] = (),
    *,
    baseline: tuple[str, np.ndarray] | None = None,
    first_seed: int = 0,
) -> list[Figure]:
    """Draws the classes of an arm: gains over a baseline, confusion and reliability.

    Args:
      arm: name of the arm.
      logits: its logits, `[seeds, examples, num_classes]`.
      labels: classes, `[examples]`; -1 does not count.
      class_names: one name a class; numbers where there are not as many.
      baseline: name and logits of another arm, with the same seeds.
      first_seed: the seed that the first logits are of, for the caption.

    Returns:
      The gain of each class over the baseline, where there is one; the share of the examples of
      each class that is predicted as each, up to twelve classes; the reliability of the first seed.

    Example:
      >>> logits = np.array([[[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]])
      >>> figures = class_figures("kd", logits, np.array([0, 1, 1]), ["boot", "bag"])
      >>> len(figures), figures[1].alt.endswith("of 3 examples.")
      (2, True)
    """
    known = labels >= 0
    labels, logits = labels[known], logits[:, known]
    names = list(class_names)
    if len(names) != logits.shape[-1]:
        names = list(map(str, range(logits.shape[-1])))
    figures = []
    if baseline is not None:
        other, theirs = baseline
        pairs = zip(logits, theirs[:, known], strict=True)
        gains = np.stack([metrics.class_gains(mine, its, labels) for mine, its in pairs])
        caption = f"Accuracy of {arm} minus that of {other}, by class."
        if len(names) > 2 * _MOST_GAINS:
            caption += " The extremes are partly chance: they are picked from all classes."
        figures.append(class_gain_bars(gains, names, most=_MOST_GAINS, caption=caption))
    if len(names) <= _MOST_CONFUSED:
        caption = f"{arm}: of the examples of a class, the share that is predicted as each class."
        figures.append(
            heat_map(
                confusion(logits, labels),
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
    caption = f"{arm}, seed {first_seed}. Numbers below: examples in each bin of confidence."
    figures.append(reliability_diagram(metrics.reliability(logits[0], labels), caption=caption))
    return figures


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
    """Whether labels of any kind are one class an example, and logits `[seeds, n, C]` fit them."""
    integers = labels.ndim == 1 and np.issubdtype(labels.dtype, np.integer)
    fits = logits.ndim == 3 and logits.shape[1] == labels.size and logits.shape[2] > 1
    inside = integers and fits and bool((labels < logits.shape[2]).all())
    return inside and bool((labels >= 0).any()) and bool(np.isfinite(logits).all())
