"""The evaluation of a student on a data set, as `fit` takes it."""

from __future__ import annotations

from collections.abc import Callable

from jaxkd.data import Examples, eval_batches
from jaxkd.training._evaluated import Evaluated
from jaxkd.training.evaluation import EvalStep, evaluate
from jaxkd.training.state import TrainState


def evaluator(
    step: EvalStep, dataset: Examples, *, batch_size: int = 512
) -> Callable[[TrainState], dict[str, float]]:
    """Makes the function that `fit` takes as `evaluate`.

    Its classes and normalization are compared with those of the run before the first step.

    Args:
      step: from `make_eval_step` of the student, with the metrics and views that it is made with.
      dataset: the examples.
      batch_size: number of examples in a batch.

    Returns:
      A function from the state to the metrics of the student, over the labeled examples.

    Example:
      >>> import jax.numpy as jnp, optax
      >>> from jaxkd import from_function, make_train_step, recipes
      >>> from jaxkd.data import Dataset
      >>> from jaxkd.training import make_eval_step
      >>> student = from_function(lambda params, inputs: inputs @ params, jnp.eye(3))
      >>> data = Dataset.from_arrays(jnp.eye(3), [0, 1, 1], name="n", split="test", num_classes=3)
      >>> score = evaluator(make_eval_step(student), data)
      >>> sorted(score(make_train_step(student, recipes.labels(), optax.sgd(0.1)).init()))
      ['accuracy', 'cross_entropy']
    """

    def score(state: TrainState) -> dict[str, float]:
        batches = eval_batches(dataset, batch_size, views=step.views)
        return evaluate(step, state.params["student"], state.model_state["student"], batches)

    score.evaluated = Evaluated(  # type: ignore[attr-defined]
        step.network, step.views, dataset, step.metrics
    )
    return score
