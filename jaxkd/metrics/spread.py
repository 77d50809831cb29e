"""Mean and standard deviation over repeated runs."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """The mean and the standard deviation over repeated runs.

    Attributes:
      mean: the mean.
      std: the sample standard deviation; nan if there was a single run.
      n: number of runs.

    Example:
      >>> accuracy = Spread.of([0.878, 0.879, 0.880])
      >>> print(f"{accuracy:.3f}", "of", accuracy.n, "seeds;", accuracy * 100)
      0.879 ± 0.001 of 3 seeds; 87.90 ± 0.10
    """

    mean: float
    std: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float] | np.ndarray) -> "Spread":
        """Computes mean and sample standard deviation (divisor n − 1) of one value a run.

        Args:
          values: one number for each seed, `[n]`.

        Returns:
          The spread; its `std` is nan for a single value.

        Raises:
          ValueError: there is no value, or more than one axis.

        Example:
          >>> print(Spread.of([87.8, 87.9, 88.0]))
          87.90 ± 0.10
          >>> print(Spread.of([87.8]))
          87.80
        """
        array = np.asarray(values, dtype=np.float64)
        if array.ndim != 1 or array.size == 0:
            raise ValueError(f"values must have shape [n], n at least 1, got {list(array.shape)}")
        std = float(array.std(ddof=1)) if array.size > 1 else math.nan
        return cls(mean=float(array.mean()), std=std, n=array.size)

    def __mul__(self, factor: float) -> "Spread":
        return Spread(self.mean * factor, self.std * abs(factor), self.n)

    def __format__(self, spec: str) -> str:
        spec = spec or ".2f"
        if math.isnan(self.std):
            return format(self.mean, spec)
        return f"{self.mean:{spec}} ± {self.std:{spec.replace('+', '')}}"

    def __str__(self) -> str:
        return format(self)
