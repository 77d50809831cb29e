"""Students that learn from each other and from their own average."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiers import few

import jaxkd
from jaxkd import losses, make_eval_step, make_train_step
from jaxkd.data import Loader
from jaxkd.strategies import (
    joint_network,
    member_networks,
    mutual,
    peer_loss,
    self_distillation,
    with_moving_average,
)
from jaxkd.training import fit
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
NAMES = ("a", "b", "c")
LOGITS = dict(zip(NAMES, np.random.default_rng(1).normal(size=(3, 4, 5)), strict=True))
LABELS = np.array([0, 4, -1, 2])


def kd(student, teacher, t):
    def log_softmax(x):
        return x / t - np.log(np.exp(x / t).sum(-1, keepdims=True))

    p, q = log_softmax(teacher), log_softmax(student)
    return t**2 * (np.exp(p) * (p - q)).sum(-1)


def train(student, objective, data, steps, optimizer=None, **options):
    optimizer = optimizer or optax.adam(3e-3)
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state = step.init()
    options = {"progress": None, "tensorboard": False} | options
    return fit(step, state, Loader(data, VIEWS, 32), steps=steps, **options).state


def test_mutual_is_the_labels_and_the_mean_divergence_from_the_others():
    objective = mutual(NAMES, temperature=2.0, weight=0.5)
    assert not objective.needs_teacher
    outputs = {f"{name}.logits": jnp.asarray(value) for name, value in LOGITS.items()}
    total, metrics, _ = objective(outputs, None, {"labels": LABELS})
    expected = 0.0
    for name, own in LOGITS.items():
        others = [kd(own, LOGITS[other], 2.0) for other in NAMES if other != name]
        divergence = np.mean(others, axis=0)
        np.testing.assert_allclose(metrics[f"{name}.mutual"], [divergence.sum(), 4], rtol=1e-5)
        label = losses.cross_entropy(own[LABELS >= 0], LABELS[LABELS >= 0]).mean()
        expected += 0.5 * divergence.mean() + label
    np.testing.assert_allclose(total, expected, rtol=1e-5)


def test_no_gradient_flows_to_whom_a_member_imitates():
    objective = mutual(NAMES)

    def part(outputs, term):
        return objective(outputs, None, {"labels": LABELS})[1][term][0]

    outputs = {f"{name}.logits": jnp.asarray(value) for name, value in LOGITS.items()}
    gradient = jax.grad(part)(outputs, "b.mutual")
    assert np.any(gradient["b.logits"])
    assert not np.any(gradient["a.logits"]) and not np.any(gradient["c.logits"])


def test_between_keeps_a_losss_other_parameters():
    term = jaxkd.Term(peer_loss(losses.nkd), temperature=3.0, student=("a.logits", "b.logits"))
    assert "teacher" not in term.required_inputs and "labels" in term.required_inputs
    outputs = {f"{name}.logits": jnp.asarray(value) for name, value in LOGITS.items()}
    labels = np.abs(LABELS)
    total, *_ = jaxkd.Objective(own=term)(outputs, None, {"labels": labels})
    apart = losses.nkd(LOGITS["a"], LOGITS["b"], labels, temperature=3.0)
    np.testing.assert_allclose(total, apart.mean(), rtol=1e-6)
    with pytest.raises(ValueError, match="name at least two"):
        peer_loss(losses.kd)(LOGITS["a"])
    with pytest.raises(ValueError, match="at least two networks"):
        mutual(["a"])


@pytest.mark.slow
def test_members_come_closer_and_stay_different(images, mlp):
    def distance(trained):
        a, b = (
            net(images.inputs / np.float32(255))["logits"]
            for net in member_networks(trained).values()
        )
        return float(losses.kl_divergence(a, b).mean())

    student = joint_network({"a": mlp(1), "b": mlp(2)})
    alone = train(student, mutual(("a", "b"), weight=0.0), images, 200).network(student)
    together = train(student, mutual(("a", "b"), weight=2.0), images, 200).network(student)
    assert 1e-4 < distance(together) < distance(alone) / 2


@few("warmup", [True, False])
def test_the_average_follows_its_formula(images, small, warmup):
    student, objective = with_moving_average(small(), decay=0.6, warmup=warmup), self_distillation()
    optimizer = optax.sgd(0.1)
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state = step.init()
    expected = jax.tree.map(np.asarray, (student.params, student.state["network"]))
    for index in range(6):
        variables = state.params["student"], state.model_state["student"]["network"]
        rate = min(0.6, (1 + index) / (10 + index)) if warmup else 0.6
        expected = jax.tree.map(lambda a, x: rate * a + (1 - rate) * x, expected, variables)  # noqa: B023
        state, _ = step(state, Loader(images, VIEWS, 32)[index])
    parts = member_networks(state.network(student))
    for found, wanted in zip(
        (parts["average"].params, parts["average"].state), expected, strict=True
    ):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), found, wanted)
    jax.tree.map(np.testing.assert_array_equal, parts["live"].params, state.params["student"])
    assert int(state.model_state["student"]["count"]) == 6
    inputs = images.inputs[:4] / np.float32(255)
    both = jax.jit(state.network(student))(inputs)
    for name, output in (("average", "average.logits"), ("live", "logits")):
        apart = jax.jit(parts[name])(inputs)["logits"]
        np.testing.assert_allclose(both[output], apart, atol=1e-6)


def test_the_average_is_a_constant_of_the_gradient(images, small):
    student = with_moving_average(small())
    inputs = images.inputs[:4] / np.float32(255)

    def squares(params, name):
        outputs, _ = student.apply(params, student.state, inputs, train=True, key=jax.random.key(0))
        return jnp.sum(jnp.square(outputs[name]))

    gradient = jax.jit(jax.grad(squares), static_argnums=1)
    gradients = gradient(student.params, "average.logits")
    assert not any(np.any(gradient) for gradient in gradients.values())
    assert any(np.any(gradient) for gradient in gradient(student.params, "logits").values())


def test_float32_average_of_bfloat16_parameters(mlp):
    network = mlp()
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), network.params)
    student = with_moving_average(network.replace(params=half, state=network.state))
    assert {x.dtype for x in student.state["average"]["params"].values()} == {jnp.dtype("float32")}
    average = member_networks(student)["average"]
    jax.tree.map(np.testing.assert_array_equal, average.params, half)


def test_evaluation_computes_the_live_network_alone(mlp):
    def flops(network):
        step = make_eval_step(network)
        batch = {"inputs": jnp.ones((8, 8, 8, 1))}
        lowered = step.function.lower((network.params, network.state), step.frozen, batch)
        return lowered.compile().cost_analysis()["flops"]

    assert flops(with_moving_average(mlp())) == flops(mlp())


def test_self_distillation_runs_resumes_and_needs_no_teacher(images, mlp, tmp_path):
    student = with_moving_average(mlp(), decay=0.9)
    objective = self_distillation(alpha=optax.linear_schedule(0.0, 0.8, 20))
    assert not objective.needs_teacher
    whole = train(student, objective, images, 20, log_every=10)
    for steps in (10, 20):
        cut = train(student, objective, images, steps, log_every=10, workdir=tmp_path)
    jax.tree.map(
        np.testing.assert_array_equal,
        (whole.params, whole.model_state),
        (cut.params, cut.model_state),
    )


def test_a_decay_that_is_none(mlp):
    with pytest.raises(ValueError, match=r"decay must lie in \[0, 1\), not 1"):
        with_moving_average(mlp(), decay=1.0)
    with pytest.raises(ValueError, match="alpha must lie"):
        self_distillation(alpha=2.0)
