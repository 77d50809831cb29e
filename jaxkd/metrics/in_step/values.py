"""Metrics of values: regression."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses._arguments import to_rank
from jaxkd.metrics.in_step._metric import Batch, Mean, OfLabels, Outputs, known, mean_of


class _OfValues(OfLabels):
    """A metric of values."""

    def read(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array, Any]:
        """Returns predicted and true values of one shape, and which of them count."""
        values, labels, where = super().read(outputs, batch)
        single = values.shape[-1:] == (1,) and labels.shape == values.shape[:-1]
        if labels.shape != values.shape and not single:
            raise self.refuse(values, labels, f"it needs values of shape {tuple(values.shape)}")
        return values, labels.reshape(values.shape).astype(values.dtype), where


@dataclasses.dataclass(frozen=True)
class MeanSquaredError(Mean, _OfValues):
    """Mean of the squared differences of predicted and true values.

    Attributes:
      output: name of the network's output, `[...]` or `[..., 1]` for one value, `[..., values]`.
      labels: field of the batch with the values, of that shape.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = MeanSquaredError(output="age")
      >>> metric.compute(metric({"age": jnp.array([1.0, 5.0])}, {"labels": jnp.array([0.0, 2.0])}))
      5.0
    """

    higher_is_better = False

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum of the squares, and the number of values that count."""
        values, labels, where = self.read(outputs, batch)
        return mean_of(jnp.square(values - labels), where)


@dataclasses.dataclass(frozen=True)
class MeanAbsoluteError(Mean, _OfValues):
    """Mean of the absolute differences of predicted and true values.

    Attributes:
      output: name of the network's output, as of `MeanSquaredError`.
      labels: field of the batch with the values.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = MeanAbsoluteError(output="age")
      >>> metric.compute(metric({"age": jnp.array([1.0, 5.0])}, {"labels": jnp.array([0.0, 2.0])}))
      2.0
    """

    higher_is_better = False

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum of the differences, and the number of values that count."""
        values, labels, where = self.read(outputs, batch)
        return mean_of(jnp.abs(values - labels), where)


@dataclasses.dataclass(frozen=True)
class R2(_OfValues):
    """Share of the variance that is explained, `1 - residual / total`; the mean over the values.

    Attributes:
      output: name of the network's output, as of `MeanSquaredError`.
      labels: field of the batch with the values.
      center: a number near the mean of the values. It is subtracted before squares are summed,
        which costs digits where values are far from 0 beside their spread.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = R2(output="age")
      >>> outputs = {"age": jnp.array([1.0, 2.0, 3.0])}
      >>> print(f"{metric.compute(metric(outputs, {'labels': jnp.array([1.0, 2.0, 4.0])})):.4f}")
      0.7857
    """

    center: float = 0.0

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns for each value the count, sum, sum of squares and squared residuals."""
        values, labels, where = self.read(outputs, batch)
        if labels.ndim == 1:
            values, labels = values[:, None], labels[:, None]
        counts = jnp.ones((), bool) if where is None else to_rank(where, labels.ndim)
        counts = jnp.broadcast_to(counts, labels.shape)
        centered = labels - self.center
        parts = counts, centered, jnp.square(centered), jnp.square(values - labels)
        axes = tuple(range(labels.ndim - 1))
        return tuple(
            jnp.sum(jnp.where(counts, part, 0), axis=axes, dtype=values.dtype) for part in parts
        )

    def compute(self, sums: Any) -> float:
        """Returns the mean over the values; nan where a value never varies."""
        count, total, squares, residual = (np.asarray(part, np.float64) for part in sums)
        variance = squares - np.square(total) / known(count)
        shares = np.full(variance.shape, np.nan)
        np.divide(residual, variance, out=shares, where=variance > 0)
        return float(1 - np.mean(shares))
