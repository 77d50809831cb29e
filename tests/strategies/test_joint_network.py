"""Several networks as one: the same outputs as apart, and as a joined cache's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import losses, make_train_step, recipes
from jaxkd.cache import EnsembleCache, build
from jaxkd.data import Loader
from jaxkd.networks import add_outputs, without_logits
from jaxkd.strategies import data_free, joint_network, member_networks, with_moving_average
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
WEIGHTS = {"a": 3.0, "b": 1.0}


@pytest.fixture
def pair(mlp):
    return {"a": mlp(1, width=8), "b": mlp(2, width=12)}


def test_answers_are_those_of_the_members(images, pair):
    inputs = images.inputs[:6] / np.float32(255)
    outputs = joint_network(pair, weights=WEIGHTS)(inputs)
    for name, network in pair.items():
        for output, value in network(inputs).items():
            np.testing.assert_array_equal(outputs[f"{name}.{output}"], value)
    probabilities = {
        n: np.exp(jax.nn.log_softmax(net(inputs)["logits"])) for n, net in pair.items()
    }
    expected = np.log(0.75 * probabilities["a"] + 0.25 * probabilities["b"])
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    mean = joint_network(pair, combine="logits")(inputs)["logits"]
    expected = np.mean([net(inputs)["logits"] for net in pair.values()], axis=0)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert "logits" not in joint_network(pair, combine=None)(inputs)


def test_logits_are_read_only_where_they_are_combined(images, pair):
    inputs = images.inputs[:2] / np.float32(255)
    members = {"a": pair["a"], "b": without_logits(pair["b"])}
    outputs = joint_network(members, combine=None)(inputs)
    assert "a.logits" in outputs and "b.logits" not in outputs
    with pytest.raises(ValueError, match="network 'b' has no logits to combine"):
        joint_network(members)(inputs)


@few("combine", ["probabilities", "logits", None], keep=2)
def test_a_joined_cache_gives_the_same(images, pair, tmp_path, combine):
    caches = {
        name: build(tmp_path / name, network, images, VIEWS, num_views=1, progress=False)
        for name, network in pair.items()
    }
    read = EnsembleCache(caches, weights=WEIGHTS, combine=combine)
    batch = Loader(images, VIEWS, 16, cache=read)[3]
    cached = batch["teacher"].decode()
    online = joint_network(pair, weights=WEIGHTS, combine=combine)(
        VIEWS.render(dict(batch))["inputs"]
    )
    assert set(cached) == {name for name in online if name.endswith("logits")}
    for name, value in cached.items():
        np.testing.assert_allclose(online[name], value, atol=1e-6)


def test_members_are_split_out_with_their_trained_variables(images, small):
    student = joint_network({"a": small(1), "b": small(2)})
    objective = recipes.labels()
    optimizer = optax.sgd(0.1)
    step = make_train_step(student, objective, optimizer, views=VIEWS)
    state, _ = step(step.init(), Loader(images, VIEWS, 32)[0])
    trained = state.network(student)
    inputs = images.inputs[:4] / np.float32(255)
    together = jax.jit(trained)(inputs)
    for name, member in member_networks(trained).items():
        logits = jax.jit(member)(inputs)["logits"]
        np.testing.assert_allclose(logits, together[f"{name}.logits"], atol=1e-6)
        # Both parameters and batch statistics moved.
        for new, old in ((member.params, student.params), (member.state, student.state)):
            assert not all(jnp.array_equal(new[path], old[name][path]) for path in new)


def test_members_have_dropout_of_their_own():
    model = jaxkd.models.MLP(64, (8,), 5, dropout_rate=0.5, rngs=nnx.Rngs(0))
    one = jaxkd.from_nnx(model)
    both = joint_network({"a": one, "b": one})
    inputs = np.ones((4, 8, 8, 1), np.float32)
    outputs, _ = both.apply(both.params, both.state, inputs, train=True, key=jax.random.key(0))
    assert not np.allclose(outputs["a.logits"], outputs["b.logits"])


def test_layers_that_are_random_or_count_are_known():
    """So that a student whose training mode has no effect on them is refused before training."""
    model = nnx.Sequential(nnx.Dropout(0.5, rngs=nnx.Rngs(0)), nnx.BatchNorm(8, rngs=nnx.Rngs(0)))
    one = jaxkd.from_nnx(model)
    (dropout,), (mean, *_) = one.random_layers, one.statistics
    both = joint_network({"a": one, "b": one})
    assert both.random_layers == (f"a.{dropout}", f"b.{dropout}")
    assert both.statistics[0] == f"a.{mean}" and len(both.statistics) == 2 * len(one.statistics)
    average = with_moving_average(one)
    assert average.random_layers == one.random_layers
    assert average.statistics == tuple(f"network.{path}" for path in one.statistics)
    without, _ = data_free(one, one, one, latent=8)
    assert without.random_layers == (f"student.{dropout}", f"generator.{dropout}")
    assert without.statistics[0] == f"student.{mean}"


def test_nothing_depends_on_the_mesh(images, pair):
    student, objective, sgd = joint_network(pair), recipes.labels(), optax.sgd(0.1)
    states = []
    for partitioning in (None, Partitioning(make_mesh(data=4, fsdp=2), min_size=0)):
        step = make_train_step(student, objective, sgd, views=VIEWS, partitioning=partitioning)
        state = step.init()
        for index in range(3):
            state, _ = step(state, Loader(images, VIEWS, 32)[index])
        states.append(jax.tree.map(np.asarray, state.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *states)


def test_networks_that_cannot_be_joined(mlp, pair):
    with pytest.raises(ValueError, match="name at least one"):
        joint_network({})
    with pytest.raises(ValueError, match="one for each of"):
        joint_network(pair, weights={"a": 1.0})
    with pytest.raises(ValueError, match="must be positive"):
        joint_network(pair, weights={"a": 1.0, "b": 0.0})
    with pytest.raises(ValueError, match="combine must be one of"):
        joint_network(pair, combine="votes")
    other = joint_network({"a": mlp(1), "b": mlp(2, num_classes=7)})
    with pytest.raises(ValueError, match=r"different shapes.*\(2, 5\).*\(2, 7\)"):
        other(np.ones((2, 8, 8, 1), np.float32))


def test_only_what_was_made_of_others_is_split(mlp, pair):
    with pytest.raises(TypeError, match="not made of other networks"):
        member_networks(mlp())
    around = add_outputs(
        joint_network(pair), lambda params, outputs: {"twice": 2 * outputs["logits"]}
    )
    assert list(member_networks(jaxkd.networks.remat(around))) == ["a", "b"]


def test_an_ensemble_teaches_online(images, pair, mlp):
    teacher, student, sgd = joint_network(pair), mlp(3), optax.sgd(0.1)
    objective = recipes.kd(alpha=1.0, temperature=2.0)
    step = make_train_step(student, objective, sgd, teacher=teacher, views=VIEWS)
    batch = Loader(images, VIEWS, 32)[0]
    inputs = VIEWS.render(dict(batch))["inputs"]
    expected = losses.kd(student(inputs)["logits"], teacher(inputs)["logits"], temperature=2.0)
    _, metrics = step(step.init(), batch)
    np.testing.assert_allclose(metrics["kd"], expected.mean(), rtol=1e-5)
