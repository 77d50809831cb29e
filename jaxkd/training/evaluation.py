"""Evaluation of a network on a whole data set."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.metrics.in_step import Metric, default_metrics
from jaxkd.metrics.in_step._defaults import by_name
from jaxkd.networks import Network, PyTree
from jaxkd.networks._arguments import shown
from jaxkd.networks._kinds import check_network
from jaxkd.training._evaluated import check_evaluated
from jaxkd.training.make_step import as_outputs
from jaxkd.training.partitioning import Partitioning
from jaxkd.views import Views

# Batches whose sums are brought to the host at once.
_PENDING = 64


@dataclasses.dataclass(frozen=True, eq=False)
class EvalStep:
    """A compiled evaluation step, `step(params, state, batch) -> logits and metrics`.

    Attributes:
      function: the compiled function of `(params, state)`, the teacher's variables and a batch.
      partitioning: placement of variables and batches on a mesh; None for one device.
      network: the network; this and `views` are compared with those of a run that evaluates.
      views: how batches are rendered, None if they are rendered already.
      metrics: name → metric; None for those that labels and logits call for.
      frozen: the teacher's variables, None without an online teacher.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from jaxkd import data, from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> examples = data.Dataset.from_arrays(
      ...     np.eye(3, dtype=np.float32), [0, 1, 1], name="own", split="test", num_classes=3)
      >>> step = make_eval_step(network)
      >>> batch = next(data.eval_batches(examples, 3))
      >>> step.output(network.params, network.state, batch, "logits").shape
      (3, 3)
    """

    function: Callable[..., dict[str, Any]]
    partitioning: Partitioning | None = None
    network: Network | None = None
    views: Views | None = None
    metrics: Mapping[str, Metric] | None = None
    frozen: PyTree = None

    def __call__(self, params: PyTree, state: PyTree, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluates a batch.

        Args:
          params: parameters, placed by `place`.
          state: state, placed by `place`.
          batch: the whole batch, in every process.

        Returns:
          `"logits"`, if the network has them, and each metric's sums.
        """
        return self.function((params, state), self.frozen, self._put(batch))

    def output(self, params: PyTree, state: PyTree, batch: Mapping[str, Any], name: str) -> Any:
        """Computes one of the network's outputs.

        Args:
          params: parameters, placed by `place`.
          state: state, placed by `place`.
          batch: the whole batch, in every process; needs no labels.
          name: name of the output.

        Returns:
          The output, an array or a pytree of arrays.

        Raises:
          ValueError: the network has no such output; names those that it has.
        """
        if name not in self._compiled:
            network, views = self.network, self.views
            assert network is not None

            def compute(variables, batch):
                outputs = _outputs(network, views, variables, batch)[0]
                if name not in outputs:
                    dropped = " (jaxkd.networks.without_logits)" if name == "logits" else ""
                    raise ValueError(
                        f"the network has no {name}{dropped}, but {sorted(outputs)}: name one of "
                        'them with predict(…, output="…"), or evaluate the network itself'
                    )
                return outputs[name]

            jit = self.partitioning.jit if self.partitioning else jax.jit
            self._compiled[name] = jit(compute)
        return self._compiled[name]((params, state), self._put(batch))

    def compute(self, sums: Mapping[str, Any]) -> dict[str, float]:
        """Computes each metric of its sums, added up over all batches."""
        known = by_name(self.metrics)
        return {name: float(known[name].compute(total)) for name, total in sums.items()}

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

    @functools.cached_property
    def _compiled(self) -> dict[str, Any]:
        return {}

    def _put(self, batch: Mapping[str, Any]) -> Any:
        return batch if self.partitioning is None else self.partitioning.put(batch, whole=True)


def _mesh(leaf: Any) -> Any:
    """Returns the mesh of an array, None on one device and for NumPy arrays."""
    return getattr(getattr(leaf, "sharding", None), "mesh", None)


def _outputs(
    network: Network, views: Views | None, variables: Any, batch: Mapping[str, Any]
) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """Returns a network's outputs on a batch, and the batch as it is rendered."""
    params, state = variables
    batch = views.render(dict(batch)) if views else batch
    return network.apply(params, state, batch["inputs"], train=False)[0], batch


def make_eval_step(
    network: Network,
    metrics: Mapping[str, Metric] | None = None,
    *,
    teacher: Network | None = None,
    views: Views | None = None,
    partitioning: Partitioning | None = None,
) -> EvalStep:
    """Makes the evaluation step of a network.

    Args:
      network: the network; its variables are arguments of the step.
      metrics: name → metric (`jaxkd.metrics`, or one of your own). None for the metrics that the
        labels call for by their type and shape: `accuracy` and `cross_entropy` of class ids (also
        of tokens and pixels), `binary_accuracy` and `binary_cross_entropy` of one logit or of
        multi-hot labels, `mean_squared_error` and `mean_absolute_error` of one value.
      teacher: network whose outputs metrics such as `Agreement` compare with; the batch may carry
        them instead, from a cache.
      views: raw batches are rendered by them first; None if batches are rendered already.
      partitioning: placement of variables and batches; every process passes the whole batch and
        gets all results. None for one device.

    Returns:
      A compiled `step(params, state, batch)` that returns `"logits"`, and of each metric the sums
      over the examples that are labeled and not padding: add them up over batches and hosts. A mean
      is (sum, count). Without `metrics`, a batch without labels has no metrics; the step raises
      ValueError at its first call where labels and logits call for none, or there are no logits.

    Raises:
      TypeError: metrics that are no mapping of names to metrics, a network of another kind.
      ValueError: a metric called `logits`.

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
    _check_metrics(metrics)
    for role, value in (("network", network), ("teacher", teacher)):
        if value is not None or role == "network":
            check_network(role, value)
    chosen = None if metrics is None else dict(metrics)

    def step(variables, frozen, batch):
        outputs, batch = _outputs(network, views, variables, batch)
        if teacher is not None:
            of_teacher, _ = teacher.apply(frozen[0], frozen[1], batch["inputs"], train=False)
            batch = {**batch, "teacher": of_teacher}
        elif "teacher" in batch:
            batch = {**batch, "teacher": as_outputs(batch["teacher"])}
        results = {"logits": outputs["logits"]} if "logits" in outputs else {}
        for name, metric in _chosen(chosen, outputs, batch).items():
            results[name] = metric(outputs, batch)
        return results

    compiled = partitioning.jit(step) if partitioning else jax.jit(step)
    frozen = None
    if teacher is not None:
        frozen = (teacher.params, teacher.state)
        frozen = partitioning.place_teacher(*frozen) if partitioning else frozen
    return EvalStep(compiled, partitioning, network, views, chosen, frozen)


def _chosen(
    metrics: dict[str, Metric] | None, outputs: Mapping[str, Any], batch: Mapping[str, Any]
) -> Mapping[str, Metric]:
    if metrics is not None:
        return metrics
    if "logits" not in outputs:
        raise ValueError(
            f"the network has no logits (jaxkd.networks.without_logits), but {sorted(outputs)}: "
            "evaluate the network itself, or choose "
            'make_eval_step(network, metrics={"…": metrics.MeanSquaredError(output="…")})'
        )
    return default_metrics(outputs["logits"], batch["labels"]) if "labels" in batch else {}


def _check_metrics(metrics: Any) -> None:
    if metrics is None:
        return
    written = 'write metrics={"miou": jaxkd.metrics.MeanIoU()}'
    if not isinstance(metrics, Mapping):
        raise TypeError(f"metrics must map names to metrics, not {shown(metrics)}: {written}")
    if "logits" in metrics:
        raise ValueError("the logits are called logits: name the metric otherwise")
    for name, metric in metrics.items():
        if isinstance(metric, type) or not isinstance(metric, Metric):
            if isinstance(metric, type):
                written = f"write {metric.__name__}(), called"
            raise TypeError(
                f"metric {name!r} must be callable and have compute(sums), not {shown(metric)}: "
                f"{written}, or a class of your own as in help(jaxkd.metrics.Metric)"
            )


def evaluate(
    step: EvalStep, params: PyTree, state: PyTree, batches: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
    """Computes the metrics of a step over batches.

    Args:
      step: from `make_eval_step`.
      params: the network's parameters.
      state: the network's state.
      batches: padded to one size with `"where"`, as `jaxkd.data.eval_batches` yields them.

    Returns:
      Name → value, over the labeled examples: `{"accuracy": …, "cross_entropy": …}` of class ids
      where no metrics were chosen. Sums are added up in float64.

    Raises:
      ValueError: no batch, or no labeled example; labels for which no metric was chosen and none is
        sure to mean something; within the `evaluate` of `fit`, other classes or another
        normalization than those that the student trains on.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from jaxkd import data, from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> examples = data.Dataset.from_arrays(
      ...     np.eye(3, dtype=np.float32), [0, 1, 1], name="own", split="test", num_classes=3)
      >>> step = make_eval_step(network)
      >>> found = evaluate(step, network.params, network.state, data.eval_batches(examples, 2))
      >>> {name: round(value, 4) for name, value in found.items()}
      {'accuracy': 0.6667, 'cross_entropy': 0.8848}
    """
    check_evaluated(step.network, step.views, batches)
    totals, pending = None, []
    params, state = step.place(params, state)
    for batch in batches:
        results = dict(step(params, state, batch))
        results.pop("logits", None)
        pending.append(results)
        if len(pending) == _PENDING:
            totals, pending = _added(totals, pending), []
    totals = _added(totals, pending)
    if totals is None:
        raise ValueError("no batch to evaluate on")
    if not totals:
        raise ValueError("no labeled example to evaluate on")
    return step.compute(totals)


def _added(totals: Any, pending: list[Any]) -> Any:
    """Adds sums of batches to the totals on the host; None where there are neither."""
    # In float64, since float32 stops counting at 2**24, and by one transfer for many batches.
    parts = [jax.tree.map(lambda x: np.asarray(x, np.float64), p) for p in jax.device_get(pending)]
    parts = parts if totals is None else [totals, *parts]
    return functools.reduce(lambda a, b: jax.tree.map(np.add, a, b), parts) if parts else None


def predict(
    step: EvalStep,
    network: Network,
    batches: Iterable[Mapping[str, Any]],
    *,
    output: str = "logits",
) -> Any:
    """Computes an output of a network on all examples.

    Args:
      step: from `make_eval_step`, of this network or of one that differs in variables alone.
      network: the network; its variables are used.
      batches: padded to one size with `"where"`, as `jaxkd.data.eval_batches` yields them.
      output: name of the output; a feature will do as well as the logits.

    Returns:
      `[examples, ...]` in the order of the batches, without the padding, float32 where the output
      is of floating point; of logits `[examples, num_classes]`. A pytree of such arrays where the
      output is one. Of rows of tokens those that `"where"` selects, `[tokens, ...]`.

    Raises:
      ValueError: no batch; no such output; other classes or another normalization, as `evaluate`.

    Example:
      >>> import jax.numpy as jnp, numpy as np
      >>> from jaxkd import data, from_function
      >>> network = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> examples = data.Dataset.from_arrays(
      ...     np.eye(3, dtype=np.float32), [0, 1, 1], name="own", split="test", num_classes=3)
      >>> step = make_eval_step(network)
      >>> predict(step, network, data.eval_batches(examples, 2)).argmax(-1)
      array([0, 1, 2])
    """
    check_evaluated(step.network, step.views, batches)
    parts = []
    params, state = step.place(network.params, network.state)
    for batch in batches:
        result = step.output(params, state, batch, output)
        parts.append(jax.tree.map(functools.partial(_rows, batch.get("where")), result))
    if not parts:
        raise ValueError("no batch to evaluate on")
    return jax.tree.map(lambda *leaves: np.concatenate(leaves), *parts)


def _rows(where: Any, leaf: Any) -> np.ndarray:
    """Returns an output without its padding, on the host."""
    values = np.asarray(leaf)
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        values = values.astype(np.float32)
    if where is None:
        return values
    where = np.asarray(where)
    if where.ndim > 2 or where.ndim >= values.ndim:  # of pixels or entries, not of tokens
        where = where.any(axis=tuple(range(1, where.ndim)))
    return values[where]
