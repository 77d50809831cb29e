"""Evaluation of all members of a population by one program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.metrics.in_step import Metric
from jaxkd.networks import Network
from jaxkd.training._evaluated import check_evaluated
from jaxkd.training.evaluation import make_eval_step
from jaxkd.training.state import TrainState
from jaxkd.views import Views


class MemberEvaluation:
    """A compiled evaluation of the members' states.

    Args:
      student: the architecture of every member.
      views: raw batches are rendered by them first; None if they are rendered already.
      metrics: name → metric; None for those that labels and logits call for.
      jit: compiles a function.
      put: places a batch.
    """

    def __init__(
        self,
        student: Network,
        views: Views | None,
        metrics: Mapping[str, Metric] | None,
        jit: Callable[[Callable[..., Any]], Callable[..., Any]],
        put: Callable[[Any], Any],
    ):
        self._student, self._views, self._put = student, views, put
        self._step = one = make_eval_step(student, metrics, views=views)

        def together(params, model_state, batch):
            return jax.vmap(one, in_axes=(0, 0, None))(params, model_state, batch)

        self._compiled = jit(together)

    def __call__(self, state: TrainState, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Evaluates a batch.

        Args:
          state: state of the population.
          batch: the batch.

        Returns:
          `"logits"`, `[N, …]`, and each metric's sums, with the members as their first axis.
        """
        variables = state.params["student"], state.model_state["student"]
        return dict(self._compiled(*variables, self._put(batch)))

    def evaluate(
        self, state: TrainState, batches: Iterable[Mapping[str, Any]]
    ) -> dict[str, np.ndarray]:
        """Computes the metrics of all members over batches.

        Args:
          state: state of the population.
          batches: the batches.

        Returns:
          Name → float64 `[N]`.
        """
        check_evaluated(self._student, self._views, batches)
        totals: Any = None
        for batch in batches:
            results = self(state, batch)
            results.pop("logits", None)
            sums = jax.tree.map(lambda x: np.asarray(x, np.float64), jax.device_get(results))
            totals = sums if totals is None else jax.tree.map(np.add, totals, sums)
        count = len(jax.tree.leaves(totals)[0])
        rows = [
            self._step.compute(jax.tree.map(lambda x, index=index: x[index], totals))
            for index in range(count)
        ]
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def predict(self, state: TrainState, batches: Iterable[Mapping[str, Any]]) -> np.ndarray:
        """Computes the logits of all members over batches.

        Args:
          state: state of the population.
          batches: the batches, with `"where"`.

        Returns:
          float32 `[N, examples, …]`.

        Raises:
          ValueError: students without logits.
        """
        parts = []
        for batch in batches:
            logits = self(state, batch).get("logits")
            if logits is None:
                raise ValueError(
                    "the students have no logits: evaluate their outputs by metrics, "
                    "population.evaluator(dataset, {…})(state), or jaxkd.training.predict of "
                    'population.network(state, index) with output="…"'
                )
            parts.append(np.asarray(logits, np.float32)[:, batch["where"]])
        return np.concatenate(parts, axis=1)


def as_key(metric: Metric) -> Any:
    """Returns what equal metrics have in common: themselves, or their identity without a hash.

    The evaluation that is found by an identity holds its metric, so that it is not given again.
    """
    try:
        hash(metric)
    except TypeError:
        return id(metric)
    return metric
