"""A network's answers on a whole data set."""

import functools
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.networks import Network, PyTree
from jaxkd.training.step import EvalStep


def evaluate(
    step: EvalStep, params: PyTree, state: PyTree, batches: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Accuracy and cross entropy over batches.

    Args:
      step: from `make_eval_step`.
      params: the network's parameters.
      state: its state.
      batches: padded to one size with `"where"`, as `jaxkd.data.eval_batches` yields them.

    Returns:
      `{"accuracy": …, "cross_entropy": …}`, means over the labelled examples.

    Raises:
      ValueError: no labelled example.
    """
    sums = []
    for batch in batches:
        results = dict(step(params, state, batch))
        results.pop("logits")
        sums.append(results)
    if not sums:
        raise ValueError("no batch to evaluate on")
    totals = jax.device_get(
        functools.reduce(lambda a, b: jax.tree.map(lambda x, y: x + y, a, b), sums)
    )
    if not totals or any(count == 0 for _, count in totals.values()):
        raise ValueError("no labelled example to evaluate on")
    return {name: float(total / count) for name, (total, count) in totals.items()}


def predict(step: EvalStep, network: Network, batches: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """A network's logits on all examples.

    Args:
      step: from `make_eval_step`, of this network or of one that differs in variables alone.
      network: whose variables to use.
      batches: padded to one size with `"where"`.

    Returns:
      float32 `[examples, num_classes]` in the order of the batches, padding left out.
    """
    logits = []
    for batch in batches:
        result = np.asarray(step(network.params, network.state, batch)["logits"], np.float32)
        logits.append(result[np.asarray(batch["where"])] if "where" in batch else result)
    return np.concatenate(logits)
