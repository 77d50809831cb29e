"""Networks of one output from teacher to metrics: a sigmoid, with a class axis and without."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from tiers import few

from jaxkd import from_function, make_train_step, recipes
from jaxkd.data import Dataset, eval_batches
from jaxkd.recipes import Pair
from jaxkd.training import evaluate, make_eval_step

INPUTS = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
LABELS = np.where(np.arange(12) % 4 == 3, -1, INPUTS[:, 0] > 0)


@few("flat", [False, True])
def test_one_sigmoid_learns_and_is_measured(flat):
    def network(weights):
        return from_function(lambda w, x: (x @ w)[:, 0] if flat else x @ w, weights)

    student, teacher = network(jnp.zeros((3, 1))), network(4 * jnp.eye(3, 1))
    method = recipes.create("binary_kd", Pair(student, teacher, INPUTS), temperature=1.0)
    step = make_train_step(student, method.objective, optax.sgd(4.0), teacher=teacher)
    state = step.init()
    for _ in range(5):
        state, metrics = step(state, {"inputs": INPUTS, "labels": jnp.asarray(LABELS)})
    assert set(metrics) == {"loss", "label", "binary_kd"}
    data = Dataset.from_arrays(INPUTS, LABELS, name="sides", split="test", num_classes=2)
    trained = state.network(student)
    # The last batch is padded, and a quarter of the labels is unknown.
    result = evaluate(make_eval_step(student), trained.params, trained.state, eval_batches(data, 8))
    assert set(result) == {"binary_accuracy", "binary_cross_entropy"}
    assert result["binary_accuracy"] > 0.85
    logits = jax.device_get(trained.apply(trained.params, {}, INPUTS)[0]["logits"]).reshape(-1)
    known = LABELS >= 0
    expected = np.log1p(np.exp(np.where(LABELS > 0, -logits, logits)))[known].mean()
    np.testing.assert_allclose(result["binary_cross_entropy"], expected, rtol=1e-5)
