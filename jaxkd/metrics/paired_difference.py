"""The difference between two arms over paired seeds, with its confidence interval."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxkd.metrics.spread import Spread


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two arms whose runs are paired by seed.

    Attributes:
      difference: values minus baseline, as mean and sample standard deviation over the seeds.
      interval: 95 % t-interval of the mean difference; None where none can be estimated.

    Example:
      >>> result = paired_difference([0.854, 0.857, 0.853], [0.806, 0.803, 0.808])
      >>> [f"{end:.3f}" for end in result.interval], result.is_significant
      (['0.038', '0.060'], True)
    """

    difference: Spread
    interval: tuple[float, float] | None

    @property
    def is_significant(self) -> bool:
        """Whether zero lies outside the interval; never so without one."""
        return self.interval is not None and not self.interval[0] <= 0.0 <= self.interval[1]


def paired_difference(
    values: Sequence[float] | np.ndarray, baseline: Sequence[float] | np.ndarray
) -> PairedDifference:
    """Computes the mean difference of two arms and its 95 % t-interval.

    The i-th value of both arms must come from the same seed (data order, initial weights), so that
    what the seed does to both cancels in the difference. One comparison in twenty between equal
    arms is significant by chance.

    Args:
      values: one number a seed of the arm, `[seeds]`.
      baseline: one number a seed of the arm that it is compared with, `[seeds]`.

    Returns:
      The difference and its interval. One seed gives no interval, nor do several that all give the
      same difference other than 0: runs that do not depend on the seed, or differ by the same few
      examples of a small test set, say nothing of how far the difference varies.

    Raises:
      ValueError: the arms have different numbers of seeds, none at all, or a value is not finite.

    Example:
      >>> result = paired_difference([0.854, 0.857, 0.853], [0.806, 0.803, 0.808])
      >>> print(f"{result.difference:.3f}", result.is_significant)
      0.049 ± 0.005 True

    Reference:
      Student, The Probable Error of a Mean, 1908.
    """
    ours, theirs = np.asarray(values, float), np.asarray(baseline, float)
    if ours.ndim != 1 or ours.shape != theirs.shape or ours.size == 0:
        raise ValueError(
            "values and baseline must both have shape [seeds], paired by seed: "
            f"got {list(ours.shape)} and {list(theirs.shape)}"
        )
    if not (np.isfinite(ours).all() and np.isfinite(theirs).all()):
        raise ValueError(f"a value is not finite: {ours.tolist()}, {theirs.tolist()}")
    difference = Spread.of(ours - theirs)
    # What is left of equal differences is rounding.
    is_constant = difference.std <= 1e-9 * abs(difference.mean) and difference.mean != 0
    if difference.n == 1 or is_constant:
        return PairedDifference(difference, None)

    from scipy.special import stdtrit  # SciPy comes with JAX.

    half_width = float(stdtrit(difference.n - 1, 0.975)) * difference.std / math.sqrt(difference.n)
    return PairedDifference(
        difference, (difference.mean - half_width, difference.mean + half_width)
    )
