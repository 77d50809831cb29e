"""Evaluation of a network on a whole data set."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses import cross_entropy, masked_sum_and_count
from jaxkd.networks import Network, PyTree
from jaxkd.objective import counted
from jaxkd.training._evaluated import check_evaluated
from jaxkd.training.partitioning import Partitioning
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True, eq=False)
class EvalStep:
    """A compiled evaluation step, `step(params, state, batch) -> logits and metrics`.

    Attributes:
      function: the compiled function of `((params, state), batch)`.
      partitioning: placement of variables and batches on a mesh; None for one device.
      network: the network; this and `views` are compared with those of a run that evaluates.
      views: how batches are rendered, None if they are rendered already.
    """

    function: Callable[[Any, Mapping[str, Any]], dict[str, Any]]
    partitioning: Partitioning | None = None
    network: Network | None = None
    views: Views | None = None

    def __call__(self, params: PyTree, state: PyTree, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluates a batch.

        Args:
          params: parameters, placed by `place`.
          state: state, placed by `place`.
          batch: the whole batch, in every process.

        Returns:
          `"logits"`, and metrics as (sum, count).
        """
        if self.partitioning is not None:
            batch = self.partitioning.put(batch, whole=True)
        return self.function((params, state), batch)

    def place(self, params: PyTree, state: PyTree) -> tuple[PyTree, PyTree]:
        """Places a network's variables as those of a `TrainState`, if they are not there yet.

        Args:
          params: the network's parameters.
          state: the network's state.

        Returns:
          Both on the mesh, or as they are where there is none.
        """
        if self.partitioning is None:
            return params, state
        leaves = jax.tree.leaves((params, state))
        if all(_mesh(leaf) == self.partitioning.mesh for leaf in leaves):
            return params, state
        tree = {"params": {"student": params}, "model_state": {"student": state}}
        placed = self.partitioning.place(tree)
        return placed["params"]["student"], placed["model_state"]["student"]


def _mesh(leaf: Any) -> Any:
    """Returns the mesh of an array, None on one device and for NumPy arrays."""
    return getattr(getattr(leaf, "sharding", None), "mesh", None)


def make_eval_step(
    network: Network, *, views: Views | None = None, partitioning: Partitioning | None = None
) -> EvalStep:
    """Makes the evaluation step of a network.

    Args:
      network: the network; its variables are arguments of the step.
      views: raw batches are rendered by them first; None if batches are rendered already.
      partitioning: placement of variables and batches; every process passes the whole batch and
        gets all results. None for one device.

    Returns:
      A compiled `step(params, state, batch)` that returns `"logits"` and, where the batch has
      integer labels, `"accuracy"` and `"cross_entropy"`, each as (sum, count) over the examples
      that are labeled and not padding: add them up over batches and hosts, then divide. The step
      raises ValueError at its first call if the network has no logits.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> step = make_eval_step(network)
      >>> batch = {"inputs": jnp.eye(3), "labels": jnp.array([0, 1, 1])}
      >>> correct, count = step(network.params, network.state, batch)["accuracy"]
      >>> float(correct), float(count)
      (2.0, 3.0)
    """

    def step(variables, batch):
        params, state = variables
        batch = views.render(batch) if views else batch
        outputs = network.apply(params, state, batch["inputs"], train=False)[0]
        if "logits" not in outputs:
            raise ValueError(
                f"the network has no logits (jaxkd.networks.without_logits), but "
                f"{sorted(outputs)}: evaluate the network itself"
            )
        logits = outputs["logits"]
        results: dict[str, Any] = {"logits": logits}
        if "labels" in batch and jnp.issubdtype(batch["labels"].dtype, jnp.integer):
            labels, where = batch["labels"], counted(batch)
            hits = jnp.argmax(logits, -1) == labels
            results["accuracy"] = masked_sum_and_count(hits, where)
            results["cross_entropy"] = masked_sum_and_count(cross_entropy(logits, labels), where)
        return results

    compiled = partitioning.jit(step) if partitioning else jax.jit(step)
    return EvalStep(compiled, partitioning, network, views)


def evaluate(
    step: EvalStep, params: PyTree, state: PyTree, batches: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Computes accuracy and cross entropy over batches.

    Args:
      step: from `make_eval_step`.
      params: the network's parameters.
      state: the network's state.
      batches: padded to one size with `"where"`, as `jaxkd.data.eval_batches` yields them.

    Returns:
      `{"accuracy": …, "cross_entropy": …}`, means over the labeled examples.

    Raises:
      ValueError: no batch, or no labeled example; within the `evaluate` of `fit`, other classes or
        another normalization than those that the student trains on.
    """
    check_evaluated(step.network, step.views, batches)
    sums = []
    params, state = step.place(params, state)
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
        raise ValueError("no labeled example to evaluate on")
    return {name: float(total / count) for name, (total, count) in totals.items()}


def predict(step: EvalStep, network: Network, batches: Iterable[Mapping[str, Any]]) -> np.ndarray:
    """Computes a network's logits on all examples.

    Args:
      step: from `make_eval_step`, of this network or of one that differs in variables alone.
      network: the network; its variables are used.
      batches: padded to one size with `"where"`, as `jaxkd.data.eval_batches` yields them.

    Returns:
      float32 `[examples, num_classes]` in the order of the batches, without the padding.

    Raises:
      ValueError: no batch; other classes or another normalization, as `evaluate`.
    """
    check_evaluated(step.network, step.views, batches)
    logits = []
    params, state = step.place(network.params, network.state)
    for batch in batches:
        result = np.asarray(step(params, state, batch)["logits"], np.float32)
        logits.append(result[np.asarray(batch["where"])] if "where" in batch else result)
    if not logits:
        raise ValueError("no batch to evaluate on")
    return np.concatenate(logits)
