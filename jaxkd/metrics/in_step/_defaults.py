"""The metrics that labels and logits call for where their types and shapes leave no doubt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from jaxkd.metrics.in_step._metric import Metric
from jaxkd.metrics.in_step.binary import BinaryAccuracy, BinaryCrossEntropy
from jaxkd.metrics.in_step.classes import Accuracy, CrossEntropy
from jaxkd.metrics.in_step.values import MeanAbsoluteError, MeanSquaredError

_OF_CLASSES: dict[str, Metric] = {"accuracy": Accuracy(), "cross_entropy": CrossEntropy()}
_OF_ENTRIES: dict[str, Metric] = {
    "binary_accuracy": BinaryAccuracy(),
    "binary_cross_entropy": BinaryCrossEntropy(),
}
_OF_VALUES: dict[str, Metric] = {
    "mean_squared_error": MeanSquaredError(),
    "mean_absolute_error": MeanAbsoluteError(),
}


def default_metrics(logits: Any, labels: Any) -> dict[str, Metric]:
    """Returns the metrics of a network whose metrics are not chosen.

    | labels | metrics |
    | :-- | :-- |
    | integers of the shape of the logits without their last axis | accuracy, cross_entropy |
    | the same, of logits with one class; integers of the shape of the logits | binary_accuracy, |
    | | binary_cross_entropy |
    | floats, one for each output of a network with one | mean_squared_error, mean_absolute_error |

    Args:
      logits: the network's logits `[..., num_classes]`, or their shape and type.
      labels: the labels of the batch.

    Returns:
      Name → metric; each is a mean, of a sum and a count.

    Raises:
      ValueError: other labels, of which no metric is sure to mean something; names those to choose.

    Example:
      >>> import jax.numpy as jnp
      >>> sorted(default_metrics(jnp.zeros((8, 1)), jnp.zeros(8, jnp.int32)))
      ['binary_accuracy', 'binary_cross_entropy']
    """
    if isinstance(labels, Mapping):
        first = next(iter(labels), "…")
        raise ValueError(
            f"labels are several sets, {sorted(labels)}: choose make_eval_step(network, "
            f'metrics={{"accuracy": metrics.Accuracy(output=…, labels="labels.{first}")}})'
        )
    single, shape = logits.shape[-1:] == (1,), labels.shape
    if jnp.issubdtype(labels.dtype, jnp.integer):
        if shape == logits.shape or (single and shape == logits.shape[:-1]):
            return _OF_ENTRIES
        if shape == logits.shape[:-1]:
            return _OF_CLASSES
        suited = f"class ids {logits.shape[:-1]} nor as entries {logits.shape}"
        example = '"miou": metrics.MeanIoU(labels=…)'
    elif shape in (logits.shape, logits.shape[:-1]) and (single or logits.ndim == 1):
        return _OF_VALUES
    else:
        suited = f"one value, and may be values or distributions of {logits.shape}"
        example = '"mse": metrics.MeanSquaredError()'
    raise ValueError(
        f"labels {labels.dtype} {shape} fit logits {logits.shape} neither as {suited}: choose "
        f"make_eval_step(network, metrics={{{example}}})"
    )


def by_name(metrics: Mapping[str, Metric] | None) -> Mapping[str, Metric]:
    """Returns the chosen metrics, or all that may be chosen by labels and logits, by name."""
    return {**_OF_CLASSES, **_OF_ENTRIES, **_OF_VALUES} if metrics is None else metrics
