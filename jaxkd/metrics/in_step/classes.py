"""Metrics of classes: of an example, a token or a pixel."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd import losses
from jaxkd.losses._arguments import to_rank
from jaxkd.metrics.in_step._metric import Batch, Mean, OfLabels, Outputs, is_number, known, mean_of


class _OfClasses(OfLabels):
    """A metric of class ids."""

    def read(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array, Any]:
        """Returns logits `[..., num_classes]`, class ids `[...]` and which of them count."""
        logits, labels, where = super().read(outputs, batch)
        if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape != logits.shape[:-1]:
            raise self.refuse(
                logits, labels, f"it needs class ids, integers {tuple(logits.shape[:-1])}"
            )
        if logits.shape[-1] < 2:
            raise self.refuse(logits, labels, "of one class any is right: write BinaryAccuracy()")
        return logits, labels, where


@dataclasses.dataclass(frozen=True)
class Accuracy(Mean, _OfClasses):
    """Fraction of the examples (tokens, pixels) whose largest logit is that of the label.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch with class ids, `[...]`; negative ones do not count.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = Accuracy(labels="labels.color")
      >>> batch = {"labels": {"color": jnp.array([0, 0, -1])}}
      >>> metric.compute(metric({"logits": jnp.eye(3)}, batch))
      0.5
    """

    is_fraction = True

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the number of hits, and of what counts."""
        logits, labels, where = self.read(outputs, batch)
        hits = (jnp.argmax(logits, -1) == labels) & is_number(logits)
        return mean_of(hits, where)


@dataclasses.dataclass(frozen=True)
class TopKAccuracy(Mean, _OfClasses):
    """Fraction of the examples whose label is among the k largest logits.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch with class ids, `[...]`.
      k: number of classes.

    Raises:
      ValueError: k below 1.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = TopKAccuracy(k=2)
      >>> outputs = {"logits": jnp.array([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]])}
      >>> metric.compute(metric(outputs, {"labels": jnp.array([1, 2])}))
      0.5
    """

    is_fraction = True

    k: int = 5

    def __post_init__(self):
        if self.k < 1:
            raise ValueError(f"k must be at least 1, not {self.k}")

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the number of hits, and of what counts."""
        logits, labels, where = self.read(outputs, batch)
        classes = jax.lax.top_k(logits, min(self.k, logits.shape[-1]))[1]
        hits = jnp.any(classes == labels[..., None], axis=-1) & is_number(logits)
        return mean_of(hits, where)


@dataclasses.dataclass(frozen=True)
class CrossEntropy(Mean, _OfClasses):
    """Mean cross entropy of the softmax with class ids, in nats.

    Attributes:
      output: name of the network's output, `[..., num_classes]`.
      labels: field of the batch with class ids, `[...]`.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = CrossEntropy()
      >>> outputs, batch = {"logits": jnp.zeros((2, 4))}, {"labels": jnp.array([1, -1])}
      >>> print(f"{metric.compute(metric(outputs, batch)):.4f}")  # log 4
      1.3863
    """

    higher_is_better = False

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum of the cross entropies, and the number of what counts."""
        logits, labels, where = self.read(outputs, batch)
        return mean_of(losses.cross_entropy(logits, labels), where)


@dataclasses.dataclass(frozen=True)
class MeanIoU(_OfClasses):
    """Mean over classes of intersection over union, of predicted and labeled pixels.

    Pixels of all images are added up before they are divided. Classes that are neither predicted
    nor labeled anywhere are left out of the mean.

    Attributes:
      output: name of the network's output, `[batch, height, width, num_classes]`.
      labels: field of the batch with label maps, `[batch, height, width]`.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = MeanIoU()
      >>> logits = jnp.eye(3)[jnp.array([[[0, 0], [1, 1]]])]
      >>> metric.compute(metric({"logits": logits}, {"labels": jnp.array([[[0, 0], [0, -1]]])}))
      0.3333333333333333
    """

    is_fraction = True

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns for each class the pixels of intersection and of union."""
        logits, labels, where = self.read(outputs, batch)
        num_classes = logits.shape[-1]
        counts = True if where is None else to_rank(where, labels.ndim)
        labels = jnp.where(counts, labels, num_classes)
        predicted = jnp.where(counts & is_number(logits), jnp.argmax(logits, -1), num_classes)

        def pixels(classes: jax.Array) -> jax.Array:
            # Integers: a float32 stops counting at 2**24, which a batch of images has.
            return jnp.bincount(classes.ravel(), length=num_classes + 1)[:num_classes]

        both = pixels(jnp.where(labels == predicted, labels, num_classes))
        return both, pixels(labels) + pixels(predicted) - both

    def compute(self, sums: Any) -> float:
        """Returns the mean over the classes that occur."""
        both, union = (np.asarray(part, np.float64) for part in sums)
        occurs = known(union) > 0
        return float(np.mean(both[occurs] / union[occurs]))
