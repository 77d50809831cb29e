"""Metrics of yes or no: one logit, or one for each entry of multi-hot labels."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses._arguments import to_rank
from jaxkd.metrics.in_step._metric import Batch, Mean, OfLabels, Outputs, known


class _OfEntries(OfLabels):
    """A metric of entries, each of which is 1, 0 or unknown."""

    def read(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Returns logits, labels and which entries count, all of the shape of the logits."""
        logits, labels, where = super().read(outputs, batch)
        single = logits.shape[-1:] == (1,) and labels.shape == logits.shape[:-1]
        if not jnp.issubdtype(labels.dtype, jnp.integer) or not (
            single or labels.shape == logits.shape
        ):
            raise self.refuse(
                logits,
                labels,
                f"it needs 0, 1 or -1 (unknown) for each entry, integers {tuple(logits.shape)}",
            )
        shape = logits.shape
        where = jnp.ones((), bool) if where is None else to_rank(where, len(shape))
        return logits, labels.reshape(shape), jnp.broadcast_to(where, shape)


@dataclasses.dataclass(frozen=True)
class BinaryAccuracy(Mean, _OfEntries):
    """Fraction of the entries whose logit has the sign of the label.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch: 0, 1 or -1 (unknown) for each entry; `[...]` will do for one
        class.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = BinaryAccuracy()
      >>> outputs, batch = {"logits": jnp.array([[2.0], [1.0]])}, {"labels": jnp.array([1, 0])}
      >>> metric.compute(metric(outputs, batch))
      0.5
    """

    is_fraction = True

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the number of hits, and of entries that count."""
        logits, labels, where = self.read(outputs, batch)
        hits = ((logits > 0) == (labels > 0)) & ~jnp.isnan(logits)  # NaN predicts nothing
        return jnp.sum(hits & where, dtype=logits.dtype), jnp.sum(where, dtype=logits.dtype)


@dataclasses.dataclass(frozen=True)
class BinaryCrossEntropy(Mean, _OfEntries):
    """Mean over the entries of the cross entropy of the sigmoid, in nats.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch, as of `BinaryAccuracy`.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = BinaryCrossEntropy()
      >>> outputs, batch = {"logits": jnp.zeros((1, 2))}, {"labels": jnp.array([[1, 0]])}
      >>> print(f"{metric.compute(metric(outputs, batch)):.4f}")
      0.6931
    """

    higher_is_better = False

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum of the cross entropies, and the number of entries that count."""
        logits, labels, where = self.read(outputs, batch)
        each = jax.nn.softplus(jnp.where(labels > 0, -logits, logits))
        return jnp.sum(jnp.where(where, each, 0)), jnp.sum(where, dtype=logits.dtype)


@dataclasses.dataclass(frozen=True)
class BinaryF1(_OfEntries):
    """F1 of each class, `2 TP / (2 TP + FP + FN)` with the decision at probability 1/2; their mean.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch, as of `BinaryAccuracy`.
      average: `"macro"` takes the mean over the classes that are labeled or predicted anywhere,
        `"micro"` adds their entries up first.

    Raises:
      ValueError: another average.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = BinaryF1(average="micro")
      >>> outputs = {"logits": jnp.array([[2.0, 1.0], [-1.0, 3.0]])}
      >>> print(f"{metric.compute(metric(outputs, {'labels': jnp.array([[1, 0], [1, 1]])})):.4f}")
      0.6667
    """

    is_fraction = True

    average: str = "macro"

    def __post_init__(self):
        _check_average(self.average)

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns for each class true positives, and all that are labeled or predicted."""
        logits, labels, where = self.read(outputs, batch)
        predicted, positive = (logits > 0) & where, (labels > 0) & where
        axes = tuple(range(logits.ndim - 1))
        hits, predictions, positives, counted = (
            jnp.sum(selected, axis=axes, dtype=jnp.int32)
            for selected in (predicted & positive, predicted, positive, where)
        )
        return hits, predictions + positives, counted

    def compute(self, sums: Any) -> float:
        """Returns the F1; 0 where no class is labeled or predicted."""
        hits, either, count = (np.atleast_1d(np.asarray(part, np.float64)) for part in sums)
        known(count)
        if self.average == "micro":
            hits, either = hits.sum(keepdims=True), either.sum(keepdims=True)
        occurs = either > 0
        return float(np.mean(2 * hits[occurs] / either[occurs])) if occurs.any() else 0.0


@dataclasses.dataclass(frozen=True)
class AveragePrecision(_OfEntries):
    """Area under precision over recall of each class, from counts at fixed thresholds; their mean.

    Entries are counted in bins of their probability, so that counts of batches add up: entries of
    one bin are taken as equal, and the result is within about one bin of the exact one.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch, as of `BinaryAccuracy`.
      average: `"macro"` (the mean over the classes that have a positive entry, mAP) or `"micro"`.
      bins: number of bins of the probability.

    Raises:
      ValueError: another average, fewer than 2 bins.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = AveragePrecision()
      >>> outputs = {"logits": jnp.array([[3.0], [2.0], [-1.0]])}
      >>> print(f"{metric.compute(metric(outputs, {'labels': jnp.array([[1], [0], [1]])})):.4f}")
      0.8333
    """

    is_fraction = True

    average: str = "macro"
    bins: int = 500

    def __post_init__(self):
        _check_average(self.average)
        if self.bins < 2:
            raise ValueError(f"bins must be at least 2, not {self.bins}")

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns for each class and bin the number of negative and of positive entries."""
        logits, labels, where = self.read(outputs, batch)
        num_classes = logits.shape[-1] if logits.ndim > 1 else 1
        # NaN is no ranking: it stands where it costs most.
        worst = jnp.where(labels > 0, -jnp.inf, jnp.inf)
        logits = jnp.where(jnp.isnan(logits), worst, logits)
        bins = jnp.floor(jax.nn.sigmoid(logits) * self.bins).astype(jnp.int32)
        bins = jnp.clip(bins, 0, self.bins - 1).reshape(-1, num_classes)
        bins += self.bins * jnp.arange(num_classes)
        size = num_classes * self.bins

        def counts(chosen: jax.Array) -> jax.Array:
            indices = jnp.where(chosen.reshape(bins.shape), bins, size)
            return jnp.bincount(indices.ravel(), length=size + 1)[:size].reshape(num_classes, -1)

        return counts(where & (labels <= 0)), counts(where & (labels > 0))

    def compute(self, sums: Any) -> float:
        """Returns the mean of the areas."""
        negative, positive = (np.asarray(part, np.float64)[:, ::-1] for part in sums)
        known(negative.sum() + positive.sum())
        if self.average == "micro":
            negative, positive = negative.sum(0, keepdims=True), positive.sum(0, keepdims=True)
        occurs = positive.sum(1) > 0
        if not occurs.any():
            raise ValueError("no class has a positive entry, of which there is a precision")
        hits, all_ = positive[occurs].cumsum(1), (positive + negative)[occurs].cumsum(1)
        precision = np.divide(hits, all_, out=np.zeros_like(hits), where=all_ > 0)
        recalled = positive[occurs] / hits[:, -1:]
        return float(np.mean(np.sum(precision * recalled, axis=1)))


def _check_average(average: str) -> None:
    if average not in ("macro", "micro"):
        raise ValueError(f'average must be "macro" or "micro", not {average!r}')
