"""Networks made of networks, connectors that declare their arguments, and two gradients."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import small_network
from flax import linen, nnx

import jaxkd
from jaxkd import Objective, Term, losses, networks, recipes
from jaxkd.training import dot

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(6, 8, 8, 1)), jnp.float32)
LABELS = jnp.array([0, 1, 2, 3, 4, -1])


class Recorder(nnx.Module):
    """Takes all arguments of a connector, counts its calls and stores the teacher's outputs."""

    def __init__(self, rngs):
        self.scale = nnx.Param(jnp.ones(()))
        self.calls = nnx.BatchStat(jnp.zeros((), jnp.int32))
        self.bank = nnx.BatchStat(jnp.zeros((10, 5)))
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, student, teacher, *, id, step, extra=None):
        self.calls[...] += 1
        self.bank[...] = self.bank[...].at[id].set(jax.lax.stop_gradient(teacher))
        return {"student": self.scale * student, "teacher": teacher, "memory": self.bank[id]}


def with_memory(student, teacher, *, memory):
    return losses.kl_divergence(student, teacher) + jnp.sum(0 * memory, axis=-1)


def test_a_connector_gets_arguments_by_name_and_keeps_state():
    student, teacher = small_network(0), small_network(1)
    objective = Objective(
        label=Term(losses.cross_entropy),
        memory=Term(with_memory, connector=Recorder(nnx.Rngs(0))),
    )
    assert objective.terms["memory"].required_inputs == {"student", "teacher", "id", "step"}
    optimizer = optax.sgd(0.1)
    step = jaxkd.make_train_step(student, objective, optimizer, teacher=teacher)
    state = step.init()
    batch = {"inputs": IMAGES, "labels": LABELS, "id": jnp.array([1, 2, 3, 5, 7, 9])}
    for _ in range(2):
        state, metrics = step(state, batch)
    own = state.model_state["connectors"]["memory"]
    assert own["calls"] == 2 and np.isfinite(metrics["memory"])
    expected = jnp.zeros((10, 5)).at[batch["id"]].set(teacher(IMAGES)["logits"])
    np.testing.assert_allclose(own["bank"], expected, atol=1e-5)
    assert state.params["connectors"]["memory"]["scale"] != 1
    with pytest.raises(
        ValueError, match=r"'memory' needs id; the batch has \['inputs', 'labels'\]"
    ):
        step(state, {"inputs": IMAGES, "labels": LABELS})


def test_what_a_loss_does_not_take_is_refused():
    class Generous(nnx.Module):
        def __call__(self, student):
            return {"student": student, "variance": jnp.ones(5)}

    objective = Objective(mse=Term(losses.logit_mse, connector=Generous()))
    params, state = objective.connectors()
    outputs = {"logits": jnp.ones((2, 5))}
    with pytest.raises(ValueError, match=r"returns \['variance'\], which its loss does not take"):
        objective(outputs, outputs, {}, params=params, state=state)
    with pytest.raises(TypeError, match="not function"):
        Term(losses.logit_mse, connector=lambda x: x)


def test_linen_and_functions_connect_too():
    module = linen.Dense(4)
    network = jaxkd.from_linen(module, module.init(jax.random.key(0), jnp.ones((1, 6))))
    term = Term(losses.feature_mse, student="inner", teacher="deep", connector=network)
    objective = Objective(hint=term)
    params, state = objective.connectors()
    total, _, _ = objective(
        {"inner": jnp.ones((2, 6))}, {"deep": jnp.zeros((2, 4))}, {}, params=params, state=state
    )
    expected = jnp.square(network(jnp.ones((2, 6)))["logits"]).mean()
    np.testing.assert_allclose(total, expected, rtol=1e-6)


def test_several_outputs_make_a_tuple():
    def pair(student, teacher):
        return jnp.square(student[0] - teacher[1]).sum(-1)

    objective = Objective(p=Term(pair, student=("a", "b"), teacher=("a", "b")))
    outputs = {"a": jnp.ones((2, 3)), "b": jnp.zeros((2, 3))}
    assert objective(outputs, outputs, {})[0] == 3
    with pytest.raises(ValueError, match="student's output 'b'"):
        objective({"a": jnp.ones((2, 3))}, outputs, {})


def test_a_coupled_loss_leaves_out_what_does_not_count():
    def relation(student, teacher, *, where=None):
        rows = jnp.ones(len(student), bool) if where is None else where
        return jnp.sum(jnp.where(rows[:, None], student - teacher, 0)) / jnp.sum(rows)

    student = {"logits": jnp.array([[1.0], [3.0], [jnp.nan]])}
    teacher = {"logits": jnp.zeros((3, 1))}
    batch = {"where": jnp.array([True, True, False])}
    total, metrics, _ = Objective(r=Term(relation))(student, teacher, batch)
    assert total == 2 and metrics["r"] == (2, 1)


def test_extended_networks_train_as_one():
    class Projector(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(4, 5, rngs=rngs)
            self.frozen = nnx.BatchStat(jnp.full((5, 3), 0.5))

        def __call__(self, features):
            projected = self.linear(features.mean((1, 2)))
            return {"projected": projected, "logits": projected @ self.frozen[...]}

    base = small_network(0, features={"map": "conv"})
    network = networks.extend(base, Projector(nnx.Rngs(0)), "map")
    outputs = network(IMAGES)
    assert outputs["logits"].shape == (6, 3) and outputs["projected"].shape == (6, 5)
    optimizer = optax.sgd(0.1)
    step = jaxkd.make_train_step(network, recipes.labels(), optimizer)
    state = step.init()
    state, _ = step(state, {"inputs": IMAGES, "labels": jnp.array([0, 1, 2, 0, 1, 2])})
    trained = state.network(network)
    chex.assert_trees_all_equal(trained.state["extension"], network.state["extension"])
    for part in ("network", "extension"):
        moved = jax.tree.map(
            lambda a, b: float(jnp.abs(a - b).max()), trained.params[part], network.params[part]
        )
        assert max(jax.tree.leaves(moved)) > 0
    assert (
        network.fingerprint() != networks.extend(base, Projector(nnx.Rngs(1)), "map").fingerprint()
    )
    with pytest.raises(ValueError, match=r"no output \['maps'\] to extend"):
        networks.extend(base, Projector(nnx.Rngs(0)), "maps")(IMAGES)


def test_heads_over_maps():
    network = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 5, rngs=nnx.Rngs(0)))
    network.params["head.bias"] = jnp.arange(5.0)
    seen = networks.region_logits(networks.class_maps(network, feature="stage3"), feature="stage3")
    outputs = seen(jnp.tile(IMAGES, (1, 2, 2, 1)))
    np.testing.assert_allclose(
        outputs["class_maps"].mean((1, 2)) + jnp.arange(5.0), outputs["logits"], rtol=1e-5
    )
    np.testing.assert_allclose(outputs["regions"][:, 0], outputs["logits"], rtol=1e-5)
    np.testing.assert_allclose(outputs["regions"][:, 1:5].mean(1), outputs["logits"], rtol=1e-5)
    assert seen.fingerprint() == network.fingerprint()
    with pytest.raises(ValueError, match="no dense layer 'classifier'"):
        networks.class_maps(network, feature="stage3", head="classifier")
    nested = {"a": {"head": {"kernel": jnp.ones((2, 3))}}}
    kernel, bias = networks.head_weights(nested, "a.head")
    assert kernel.shape == (2, 3) and bias is None


def test_two_gradients_add_up_to_one():
    """DOT without a difference of momenta is SGD with momentum."""
    student, teacher = small_network(0), small_network(1)
    objective = Objective(
        label=Term(losses.cross_entropy, weight=0.3),
        kd=Term(losses.kd, weight=0.7),
        hint=Term(
            losses.logit_mse, weight=0.1, connector=jaxkd.connectors.Linear(5, 5, rngs=nnx.Rngs(0))
        ),
    )
    batch = {"inputs": IMAGES, "labels": LABELS}
    ends = []
    for optimizer, split in [
        (optax.sgd(0.1, momentum=0.9), False),
        (dot(0.1, momentum=0.9, delta=0.0), True),
        (dot(0.1, momentum=0.8, delta=0.1), True),
    ]:
        step = jaxkd.make_train_step(
            student, objective, optimizer, teacher=teacher, split_gradients=split
        )
        state = step.init()
        for _ in range(3):
            state, _ = step(state, batch)
        ends.append(state.params)
    chex.assert_trees_all_close(ends[0], ends[1], rtol=1e-4, atol=1e-5)
    difference = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), ends[0], ends[2])
    assert max(jax.tree.leaves(difference)) > 1e-3


def test_dot_needs_two_gradients():
    with pytest.raises(ValueError, match="0.95 ± 0.1"):
        dot(0.1, momentum=0.95, delta=0.1)
    student, objective, optimizer = small_network(0), recipes.labels(), dot(0.1)
    step = jaxkd.make_train_step(student, objective, optimizer)
    with pytest.raises(ValueError, match="split_gradients=True"):
        step(step.init(), {"inputs": IMAGES, "labels": LABELS})


def test_a_teacher_in_training_mode_uses_the_statistics_of_the_batch():
    student, teacher = small_network(0), small_network(1)
    objective, optimizer = recipes.kd(alpha=1.0), optax.sgd(0.1)
    values = []
    for train in (False, True):
        make = functools.partial(jaxkd.make_train_step, teacher=teacher, teacher_train=train)
        step = make(student, objective, optimizer)
        values.append(step(step.init(), {"inputs": IMAGES})[1]["kd"])
    assert abs(values[0] - values[1]) > 1e-3


@pytest.mark.parametrize(
    "call",
    [
        lambda module: networks.add_outputs(module, lambda params, outputs: {}),
        networks.without_logits,
        lambda module: networks.valid_classes(module, 2),
        lambda module: networks.extend(module, module, "logits"),
        networks.remat,
    ],
)
def test_a_module_in_place_of_a_network_is_told_how_to_become_one(call):
    with pytest.raises(TypeError, match=r"network must be a Network.*write jaxkd\.from_nnx"):
        call(nnx.Linear(2, 2, rngs=nnx.Rngs(0)))
