"""What a metric of an evaluation step is, and what those of the library share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses import masked_sum_and_count
from jaxkd.losses._arguments import to_rank
from jaxkd.objective import counted
from jaxkd.objective._fields import labeled_of, lookup_field

Outputs = Mapping[str, Any]
Batch = Mapping[str, Any]


@runtime_checkable
class Metric(Protocol):
    """A metric: sums that add up over batches, devices and hosts, and a number made of them.

    The last batch is padded, and labels may be unknown: `jaxkd.objective.counted` says which
    examples count. A class may say `higher_is_better`, True or False, which a study otherwise needs
    to be told, and `is_fraction = True`, by which it is shown in percent.

    Example:
      >>> import dataclasses
      >>> import jax.numpy as jnp
      >>> from jaxkd.losses import masked_sum_and_count
      >>> from jaxkd.objective import counted
      >>> @dataclasses.dataclass(frozen=True)
      ... class LargestError:
      ...     def __call__(self, outputs, batch):
      ...         wrong = jnp.abs(outputs["logits"][:, 0] - batch["labels"]) > 1.0
      ...         return masked_sum_and_count(1.0 * wrong, counted(batch))
      ...     def compute(self, sums):
      ...         return float(sums[0] / sums[1])
      >>> isinstance(LargestError(), Metric)
      True
    """

    def __call__(self, outputs: Outputs, batch: Batch, /) -> Any:
        """Returns a pytree of sums over the examples of a batch that count.

        Args:
          outputs: the network's named outputs.
          batch: the rendered batch; where it has a `"teacher"`, its outputs by name.
        """

    def compute(self, sums: Any, /) -> float:
        """Returns the metric, of the sums added up over all batches (NumPy, float64)."""


@dataclasses.dataclass(frozen=True)
class OfLabels:
    """A metric that compares an output with labels.

    Attributes:
      output: name of the network's output.
      labels: field of the batch, dotted where there are several sets of labels.
    """

    higher_is_better: ClassVar[bool] = True
    is_fraction: ClassVar[bool] = False
    output: str = "logits"
    labels: str = "labels"

    def read(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array, Any]:
        """Returns the output, the labels, and which of them count (None for all)."""
        labels = lookup_field(batch, self.labels, self._name)
        if isinstance(labels, Mapping):
            first = next(iter(labels), "…")
            raise ValueError(
                f"{self._name} needs one set of labels; {self.labels!r} holds {sorted(labels)}: "
                f'write {self._name}(labels="{self.labels}.{first}")'
            )
        of_labels = {**batch, "labels": labels, **labeled_of(batch, self.labels)}
        return self.output_of(outputs), labels, counted(of_labels)

    def output_of(self, outputs: Outputs) -> jax.Array:
        """Returns the network's output, float32 at least."""
        return named_output(outputs, self.output, "the network", self._name)

    @property
    def _name(self) -> str:
        return type(self).__name__

    def refuse(self, values: Any, labels: Any, wanted: str) -> ValueError:
        """Returns the error for labels that do not fit the output."""
        return ValueError(
            f"{self._name} compares {self.output!r} {tuple(values.shape)} with labels "
            f"{labels.dtype} {tuple(labels.shape)}: {wanted}"
        )


class Mean:
    """Computes a mean: the sums are a sum and a count."""

    def compute(self, sums: Any) -> float:
        """Returns the mean over what counts."""
        total, count = sums
        return float(np.float64(total) / known(count))


def known(count: Any) -> np.ndarray:
    """Returns a count; raises ValueError where nothing was counted."""
    if not np.any(count):
        raise ValueError("no labeled example to evaluate on")
    return np.asarray(count, np.float64)


def named_output(outputs: Any, name: str, side: str, who: str) -> jax.Array:
    """Returns an output by name, float32 at least; names those there are if it is missing."""
    if not isinstance(outputs, Mapping) or name not in outputs:
        there = sorted(outputs) if isinstance(outputs, Mapping) else "none"
        raise ValueError(f"{who} needs the output {name!r} of {side}, which has {there}")
    values = jnp.asarray(outputs[name])
    return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def of_teacher(batch: Batch, name: str, who: str) -> jax.Array:
    """Returns an output of the teacher, which the batch carries."""
    if batch.get("teacher") is None:
        raise ValueError(
            f"{who} compares with the teacher, and the batch has none: write "
            "make_eval_step(network, metrics, teacher=teacher)"
        )
    return named_output(batch["teacher"], name, "the teacher", who)


def is_number(logits: jax.Array) -> jax.Array:
    """Returns which rows of logits are a prediction: with NaN among them it is none, and no hit."""
    return ~jnp.any(jnp.isnan(logits), axis=-1)


def mean_of(values: jax.Array, where: Any) -> tuple[jax.Array, jax.Array]:
    """Returns the sum and the count of what counts, of a mask of the first axes or of all."""
    if where is not None and where.ndim > values.ndim:
        # Entries of an example count one by one in the labels: it counts if any of them does.
        where = jnp.any(where, axis=tuple(range(values.ndim, where.ndim)))
    return masked_sum_and_count(values, None if where is None else to_rank(where, values.ndim))
