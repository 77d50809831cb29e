"""Honest verdicts on repeated runs."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxkd.reporting._tables import FORMATS, Spread

Kind = Literal["gain", "none", "loss"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """What an experiment has shown, in a sentence.

    Attributes:
      kind: `"gain"` (it helps), `"none"` (no difference was shown) or `"loss"` (it hurts).
      text: The sentence, with its numbers.
      difference: The mean difference that the sentence is about, if it is about one.
      interval: Its 95 % confidence interval, if there is one.
    """

    kind: Kind
    text: str
    difference: Spread | None = None
    interval: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("gain", "none", "loss"):
            raise ValueError(f"kind must be 'gain', 'none' or 'loss', got {self.kind!r}.")


def compare(
    name: str,
    values: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    *,
    format: str = "points",
    higher_is_better: bool = True,
) -> Finding:
    """Says whether one arm beats another, as far as paired seeds can show.

    The i-th value of both arms must come from the same seed (data order, initial weights), so that
    what the seed does to both cancels in the difference. The verdict is "helps" or "hurts" only if
    zero lies outside the 95 % t-interval of the mean difference. One comparison in twenty
    between equal arms ends that way by chance: who compares twenty arms should expect one.

    Args:
      name: What is tested, the subject of the sentence: `"Distillation"`.
      values: One number a seed with it, `[seeds]`.
      baseline: One number a seed without it, `[seeds]`.
      format: How to write the difference, a name in `FORMATS`: `"points"` where the values are
        fractions, `"difference"` where they are losses or the like.
      higher_is_better: Whether larger values are better; false for a loss or an error.

    Returns:
      The finding: values minus baseline as mean ± sample standard deviation, with its interval. One
      seed gives no interval and shows nothing.

    Raises:
      ValueError: The arms have different numbers of seeds, none at all, a value is not finite,
        or there is no such format.

    Example:
      >>> compare("Distillation", [0.854, 0.857, 0.853], [0.806, 0.803, 0.808]).text
      'Distillation helps: +4.90 ± 0.46 points over 3 paired seeds (95 % interval +3.76 to +6.04).'
      >>> compare("Smoothing", [0.806, 0.801, 0.809], [0.806, 0.803, 0.808]).kind
      'none'

    References:
      Student, The Probable Error of a Mean, 1908.
    """
    ours, theirs = np.asarray(values, float), np.asarray(baseline, float)
    if ours.ndim != 1 or ours.shape != theirs.shape or ours.size == 0:
        raise ValueError(
            "values and baseline must both have shape [seeds], paired by seed: "
            f"got {list(ours.shape)} and {list(theirs.shape)}."
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError(f"{name}: a value is not finite: {ours.tolist()}, {theirs.tolist()}.")
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}.")
    show = FORMATS[format]
    unit = f" {show.unit}" if show.unit else ""
    difference = Spread.of(ours - theirs)
    if difference.n == 1:
        text = f"{name}: one seed cannot show a difference ({show(difference)}{unit})."
        return Finding("none", text, difference)

    from scipy.special import stdtrit  # SciPy comes with JAX.

    reach = float(stdtrit(difference.n - 1, 0.975)) * difference.std / math.sqrt(difference.n)
    low, high = difference.mean - reach, difference.mean + reach
    kind: Kind = "none"
    verdict = "makes no difference that these seeds can show"
    if low > 0 or high < 0:
        better = (low > 0) == higher_is_better
        kind, verdict = ("gain", "helps") if better else ("loss", "hurts")
    text = (
        f"{name} {verdict}: {show(difference)}{unit} over {difference.n} paired seeds "
        f"(95 % interval {show(low)} to {show(high)})."
    )
    return Finding(kind, text, difference, (low, high))
