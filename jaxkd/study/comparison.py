"""Sentences about the difference between two arms, as far as paired seeds show one."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np

from jaxkd.metrics.paired_difference import paired_difference
from jaxkd.metrics.spread import Spread
from jaxkd.study.tables import FORMATS

Kind = Literal["gain", "none", "loss"]


@dataclasses.dataclass(frozen=True)
class Finding:
    """A result of an experiment, as a sentence.

    Attributes:
      kind: `"gain"` (it helps), `"none"` (no difference was shown) or `"loss"` (it hurts).
      text: the sentence, with its numbers.
      difference: mean difference that the sentence states, if there is one.
      interval: its 95 % confidence interval, if there is one.
      label: heading in a report; empty for that of the kind.

    Example:
      >>> found = compare("Distillation", [0.854, 0.857, 0.853], [0.806, 0.803, 0.808])
      >>> found.kind, f"{found.difference:.3f}"
      ('gain', '0.049 ± 0.005')
    """

    kind: Kind
    text: str
    difference: Spread | None = None
    interval: tuple[float, float] | None = None
    label: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("gain", "none", "loss"):
            raise ValueError(f"kind must be 'gain', 'none' or 'loss', got {self.kind!r}")


def compare(
    name: str,
    values: Sequence[float] | np.ndarray,
    baseline: Sequence[float] | np.ndarray,
    *,
    format: str = "points",
    higher_is_better: bool = True,
) -> Finding:
    """States whether one arm is better than another, as far as paired seeds can show.

    The i-th value of both arms must come from the same seed (data order, initial weights), so that
    the effect of the seed on both cancels in the difference. The sentence says "helps" or "hurts"
    only if zero lies outside the 95 % t-interval of the mean difference
    (`jaxkd.metrics.paired_difference`). One comparison in twenty between
    equal arms ends that way by chance: among twenty comparisons, one is expected.

    Args:
      name: subject of the sentence: `"Distillation"`.
      values: one number a seed with it, `[seeds]`.
      baseline: one number a seed without it, `[seeds]`.
      format: format of the difference, a name in `FORMATS`: `"points"` where the values are
        fractions, `"difference"` where they are losses or the like.
      higher_is_better: whether larger values are better; false for a loss or an error.

    Returns:
      The finding: values minus baseline as mean ± sample standard deviation, with its interval. One
      seed gives no interval and shows nothing, nor do seeds that all give the same difference.

    Raises:
      ValueError: the arms have different numbers of seeds, none at all, a value is not finite,
        or there is no such format.

    Example:
      >>> compare("Distillation", [0.854, 0.857, 0.853], [0.806, 0.803, 0.808]).text
      'Distillation helps: +4.90 ± 0.46 points over 3 paired seeds (95 % interval +3.76 to +6.04).'
      >>> compare("Smoothing", [0.806, 0.801, 0.809], [0.806, 0.803, 0.808]).kind
      'none'

    References:
      Student, The Probable Error of a Mean, 1908.
    """
    if format not in FORMATS:
        raise ValueError(f"unknown format {format!r}; there are {', '.join(FORMATS)}")
    show = FORMATS[format]
    unit = f" {show.unit}" if show.unit else ""
    try:
        paired = paired_difference(values, baseline)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    difference, interval = paired.difference, paired.interval
    if interval is None:
        value = f"{show(difference.mean)}{unit}"
        text = f"{name}: one seed cannot show a difference ({value})."
        if difference.n > 1:
            text = (
                f"{name}: all {difference.n} paired seeds give the same difference ({value}), so "
                "that no interval can be estimated."
            )
        return Finding("none", text, difference)
    kind: Kind = "none"
    verdict = "makes no difference that these seeds can show"
    if paired.is_significant:
        better = (difference.mean > 0) == higher_is_better
        kind, verdict = ("gain", "helps") if better else ("loss", "hurts")
    low, high = interval
    text = (
        f"{name} {verdict}: {show(difference)}{unit} over {difference.n} paired seeds "
        f"(95 % interval {show(low)} to {show(high)})."
    )
    return Finding(kind, text, difference, interval)
