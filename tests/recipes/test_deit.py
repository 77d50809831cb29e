import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import losses, recipes
from jaxkd.models import MLP, VisionTransformer

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(8, 8, 8, 3)), jnp.float32)
LABELS = jnp.arange(8) % 4
BATCH = {"inputs": IMAGES, "labels": LABELS, "id": jnp.arange(8)}


@pytest.fixture(scope="module")
def student():
    model = VisionTransformer(
        4, 8, 4, 2, 3, 4, image_size=8, distillation_token=True, rngs=nnx.Rngs(0)
    )
    return jaxkd.from_nnx(model)


@pytest.fixture(scope="module")
def teacher():
    return jaxkd.from_nnx(MLP(192, (16,), 4, rngs=nnx.Rngs(1)))


def test_each_head_has_its_own_target(student, teacher):
    objective, optimizer = recipes.deit(alpha=0.25), optax.adam(1e-2)
    step = jaxkd.make_train_step(student, objective, optimizer, teacher=teacher)
    state = step.init()
    predict = jax.jit(lambda params: student.apply(params, student.state, IMAGES)[0])
    state, first = step(state, BATCH)
    for _ in range(100):
        state, last = step(state, BATCH)
    outputs, target = predict(student.params), teacher(IMAGES)["logits"].argmax(-1)
    label = losses.cross_entropy(outputs["class_logits"], LABELS).mean()
    distilled = losses.cross_entropy(outputs["distillation_logits"], target).mean()
    np.testing.assert_allclose(first["label"], label, rtol=1e-5)
    np.testing.assert_allclose(first["deit"], distilled, rtol=1e-5)
    np.testing.assert_allclose(first["loss"], 0.75 * label + 0.25 * distilled, rtol=1e-5)
    assert np.any(target != LABELS)
    trained = predict(state.params["student"])
    np.testing.assert_array_equal(trained["class_logits"].argmax(-1), LABELS)
    np.testing.assert_array_equal(trained["distillation_logits"].argmax(-1), target)
    assert last["loss"] < 0.3 * first["loss"]


def test_softly_it_is_hintons_loss_on_the_second_head():
    terms = recipes.deit(alpha=0.1, soft=True, temperature=2.0, label_smoothing=0.1).terms
    assert terms["deit"].loss is losses.kd
    assert (terms["deit"].student, terms["deit"].teacher) == ("distillation_logits", "logits")
    assert (terms["deit"].weight, terms["deit"].temperature) == (0.1, 2.0)
    assert (terms["label"].student, terms["label"].weight) == ("class_logits", 0.9)
    logits = jnp.array([[1.0, 0.0, -1.0]])
    np.testing.assert_allclose(
        terms["label"].loss(logits, jnp.array([0])),
        losses.cross_entropy(logits, jnp.array([0]), label_smoothing=0.1),
    )


def test_weights_are_shares_or_schedules():
    objective = recipes.deit(alpha=optax.linear_schedule(0.0, 1.0, 10))
    weights = [objective.terms[name].weight(5) for name in ("label", "deit")]
    np.testing.assert_allclose(weights, [0.5, 0.5])
    assert list(recipes.deit(alpha=1.0).terms) == ["deit"]
    with pytest.raises(ValueError, match=r"alpha must lie in \[0, 1\], not 2"):
        recipes.deit(alpha=2)
    with pytest.raises(ValueError, match=r"label_smoothing must lie in \[0, 1\], not -1"):
        recipes.deit(label_smoothing=-1)


def test_a_student_without_the_second_head_is_named(teacher):
    objective = recipes.deit()
    plain = jaxkd.from_nnx(MLP(192, (8,), 4, rngs=nnx.Rngs(0)))
    step = jaxkd.make_train_step(plain, objective, optax.sgd(0.1), teacher=teacher)
    state = step.init()
    with pytest.raises(ValueError, match="class_logits"):
        jax.eval_shape(step.function, step.frozen, state, BATCH)
