"""What networks are measured by on held-out examples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import jax
import numpy as np

from jaxkd import Network, Views
from jaxkd.data import Examples, eval_batches
from jaxkd.data._fields import labeled_rows
from jaxkd.metrics.in_step import Metric, default_metrics
from jaxkd.networks._arguments import shown
from jaxkd.study.runtime import Runtime
from jaxkd.teachers import ForeignTeacher
from jaxkd.training import EvalStep, evaluate, predict

if TYPE_CHECKING:
    from jaxkd.study.study import Study

# Also a multiple of any number of devices that is a power of two.
EVAL_BATCH = 512


class Evaluator:
    """Measures networks on held-out examples; those of one architecture share a program.

    Subclasses measure something else than metrics of batches, correlations or generated text: they
    replace `names`, `scores`, which are computed during each training, and `results`, which are
    kept of a trained network. `Study(make_evaluator=…)` measures by them.

    Args:
      examples: held-out examples.
      views: how networks see them.
      runtime: devices.
      batch_size: number of examples in a batch.
      metrics: name → metric, as of `jaxkd.make_eval_step`; None for those that the labels call for.
      teacher: network whose outputs metrics such as `Agreement` compare with.
      **options: further arguments of `jaxkd.data.eval_batches`.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> held_out = Evaluator(data, jaxkd.Views(), Runtime())
      >>> held_out.scores(jaxkd.from_function(linear, jnp.eye(4)))["accuracy"]
      1.0
    """

    def __init__(
        self,
        examples: Examples,
        views: Views,
        runtime: Runtime,
        *,
        batch_size: int = EVAL_BATCH,
        metrics: Mapping[str, Metric] | None = None,
        teacher: Network | None = None,
        **options: Any,
    ):
        self.examples, self.views, self.runtime = examples, views, runtime
        self._metrics, self._compared = metrics, teacher
        self._batch_size, self._options = batch_size, options
        self._steps: dict[str, EvalStep] = {}

    def scores(self, network: Network) -> Mapping[str, float]:
        """Returns the numbers of a network for its learning curve."""
        return evaluate(self.step(network), network.params, network.state, self.batches())

    def names(self, network: Network) -> list[str]:
        """Returns the names of the scores of a network, the one that arms are compared by first.

        Raises:
          ValueError: no labels, and no metrics that need none; or labels that call for no metric.
        """
        if self._metrics is not None:
            return list(self._metrics)
        batch = next(iter(self.batches()))
        if "labels" not in batch or not labeled_rows(self.examples.labels).any():
            raise ValueError(
                f"{self.examples} has no labels to measure by: give held-out examples with labels, "
                "or metrics that need none, "
                'metrics={"agreement": jaxkd.metrics.Agreement()} with the teacher'
            )
        return list(default_metrics(self._shapes(network, batch)["logits"], batch["labels"]))

    def results(self, network: Network) -> dict[str, np.ndarray]:
        """Returns the arrays that are kept of a trained network: its logits where it has any."""
        has_logits = "logits" in self._shapes(network)
        return {"logits": self.logits(network)} if has_logits else {}

    def logits(self, network: Network) -> np.ndarray:
        """Returns a network's logits on the examples, `[examples, num_classes]`."""
        return predict(self.step(network), network, self.batches())

    def foreign_results(
        self, teacher: ForeignTeacher
    ) -> tuple[dict[str, float], dict[str, np.ndarray]]:
        """Returns scores of a teacher outside of JAX, and its logits where it has any."""
        totals: dict[str, Any] = {}
        logits: list[np.ndarray] = []
        metrics: Mapping[str, Metric] | None = self._metrics
        for batch in self.batches():
            batch = self.views.render(batch)
            outputs = teacher(batch["inputs"])
            if "logits" in outputs and batch["where"].ndim == 1:
                logits.append(np.asarray(outputs["logits"], np.float32)[batch["where"]])
            metrics = metrics or default_metrics(outputs["logits"], batch["labels"])
            for name, metric in metrics.items():
                sums = jax.tree.map(lambda x: np.asarray(x, np.float64), metric(outputs, batch))
                before = totals.get(name)
                totals[name] = sums if before is None else jax.tree.map(np.add, before, sums)
        assert metrics is not None
        scores = {name: float(metrics[name].compute(sums)) for name, sums in totals.items()}
        return scores, {"logits": np.concatenate(logits)} if logits else {}

    def _shapes(self, network: Network, batch: Any = None) -> dict[str, Any]:
        """Returns the shapes of a network's outputs on a batch."""

        def outputs(variables: Any, batch: Any) -> Any:
            inputs = self.views.render(batch)["inputs"]
            return network.apply(variables[0], variables[1], inputs)[0]

        batch = next(iter(self.batches())) if batch is None else batch
        return dict(jax.eval_shape(outputs, (network.params, network.state), batch))

    def step(self, network: Network) -> EvalStep:
        """Returns the compiled evaluation step of a network's architecture."""
        # Networks of several seeds differ in variables alone.
        key = network.architecture
        if key not in self._steps:
            self._steps[key] = self._make_step(network, self.runtime)
        return self._steps[key]

    def step_of_one_device(self, network: Network) -> EvalStep:
        """Returns the same step without a layout, whose program any number of devices shares."""
        return self._make_step(network, Runtime())

    def _make_step(self, network: Network, runtime: Runtime) -> EvalStep:
        return runtime.eval_step(
            network,
            self.views,
            self._batch_size,
            metrics=self._metrics,
            teacher=self._compared,
        )

    def batches(self) -> Any:
        """Returns the examples in batches of one size, the last one padded."""
        return eval_batches(self.examples, self._batch_size, **self._options)


def make_evaluator_of(study: Study, part: str) -> Evaluator:
    """Makes what measures the students of a study: its metrics, or an evaluator of the user's own.

    Args:
      study: the study.
      part: name of the held-out data.

    Returns:
      The evaluator.

    Raises:
      TypeError: the user's function returned something else; says what to write.
    """
    given = study.data[part], study.eval_views, study.runtime
    if study.make_evaluator is None:
        # Where no metric compares with it, the compiler leaves the teacher's forward pass out.
        known = study.metrics is not None and isinstance(study.teacher, Network)
        teacher = cast(Network, study.teacher) if known else None
        return Evaluator(*given, metrics=study.metrics, teacher=teacher)
    made = study.make_evaluator(*given)
    if not isinstance(made, Evaluator):
        raise TypeError(
            f"make_evaluator must return an Evaluator, not {shown(made)}: write class "
            "MyEvaluator(jaxkd.study.Evaluator) with names, scores and results"
        )
    return made
