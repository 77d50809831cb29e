import inspect

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from experiments.common import methods
from jaxkd import recipes
from jaxkd.models import MLP, ConvNet, ResNet
from jaxkd.recipes import Pair

IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(8, 16, 16, 1)), jnp.float32)
BATCH = {"inputs": IMAGES, "labels": jnp.array([0, 1, 2, 3, 4, 5, 6, -1]), "id": jnp.arange(8)}
OPTIONS = {"crd": {"num_examples": 20, "num_negatives": 4}}


@pytest.fixture(scope="module")
def pair():
    """A student of other widths, sizes and depth than its teacher."""
    return Pair(
        jaxkd.from_nnx(ConvNet(1, 10, rngs=nnx.Rngs(0))),
        jaxkd.from_nnx(ResNet(8, 1, 10, rngs=nnx.Rngs(1))),
        IMAGES,
    )


def step_and_state(name, pair, seed=0):
    method = recipes.create(name, pair, steps=48, seed=seed, **OPTIONS.get(name, {}))
    rate = optax.warmup_cosine_decay_schedule(0.0, 0.05, 2, 48)
    if method.make_optimizer is None:
        optimizer = optax.sgd(rate, momentum=0.9, nesterov=True)
    else:
        optimizer = method.make_optimizer(rate)
    step = jaxkd.make_train_step(
        method.student,
        method.objective,
        optimizer,
        teacher=method.teacher,
        split_gradients=method.split_gradients,
    )
    return step, step.init()


CLASSES = recipes.names(language=False, task="classes")


@pytest.mark.parametrize("name", sorted({*CLASSES} - {"deit"}))
def test_every_recipe_makes_a_step(name, pair):
    """Traced, not compiled: shapes, names and connectors fit, the state's structure stays."""

    def first_step():
        step, state = step_and_state(name, pair)
        return state, *step.function(step.frozen, state, BATCH)

    state, new_state, metrics = jax.eval_shape(first_step)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    for new, old in zip(jax.tree.leaves(new_state), jax.tree.leaves(state), strict=True):
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
    assert {"loss", "accuracy"} < set(metrics)


@few("name", ["simkd", "ctkd", "dot", "crd", "reviewkd"], keep=3)
def test_recipes_of_every_kind_learn(name, pair):
    step, state = step_and_state(name, pair)
    first = None
    before = jax.tree.map(np.asarray, state.params)
    for _ in range(6):
        state, metrics = step(state, BATCH)
        assert all(np.isfinite(float(value)) for value in metrics.values())
        first = first or float(metrics["loss"])
    if name != "simkd":
        assert float(metrics["label"]) < 2.6
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), before, dict(state.params))
    if name == "simkd":  # The student's own last layer is replaced by the teacher's.
        network = moved["student"]["network"]
        assert not network.pop("head.kernel") and not network.pop("head.bias")
    assert all(jax.tree.leaves(moved))


def test_connectors_differ_by_seed(pair):
    for name in ("fitnet", "vid", "crd"):
        one, two = (
            jax.tree.leaves(step_and_state(name, pair, seed)[1].params["connectors"])
            for seed in (0, 1)
        )
        assert any(np.any(a != b) for a, b in zip(one, two, strict=True))


def test_warm_ups_and_initial_stages_take_their_share():
    def weights(objective, term):
        weight = objective.terms[term].weight
        return [float(weight(step)) for step in (0, 10, 20, 240)]

    assert weights(recipes.dkd(steps=240), "dkd") == [0, 0.5, 1, 1]
    assert recipes.dkd().terms["dkd"].weight == 1.0
    with pytest.raises(ValueError, match="at least 1, not 0"):
        recipes.dkd(steps=0)


def test_initial_stages_give_way_to_labels(pair):
    objective = recipes.ab(pair, steps=240)
    assert [float(objective.terms["label"].weight(s)) for s in (0, 29, 30)] == [0, 0, 1]
    assert [float(objective.terms["ab3"].weight(s)) for s in (0, 29, 30)] == pytest.approx(
        [3e-3, 3e-3, 0]
    )
    assert float(objective.terms["ab1"].weight(0)) == pytest.approx(3e-3 / 4)


def test_every_recipe_documents_its_arguments():
    for name in recipes.names():
        recipe = recipes.get(name).objective
        for parameter in inspect.signature(recipe).parameters:
            assert f"\n  {parameter}: " in inspect.getdoc(recipe), (name, parameter)


def test_a_pair_measures_and_matches(pair):
    assert pair.stages() == [(f"stage{i}", f"stage{i}") for i in (1, 2, 3)]
    assert pair.shape("teacher", "stage2") == (8, 8, 8, 32)
    assert pair.size("student", "stage1") == (8, 8) and pair.num_classes == 10
    shallow = ConvNet(1, 10, widths=(8, 16), strides=(2, 2), rngs=nnx.Rngs(0))
    matched = Pair(jaxkd.from_nnx(shallow), pair.teacher, IMAGES).stages()
    assert matched == [("stage1", "stage2"), ("stage2", "stage3")]


def test_what_a_recipe_misses_is_named(pair):
    perceptron = jaxkd.from_nnx(MLP(256, (16,), 10, rngs=nnx.Rngs(0)))
    flat = Pair(perceptron, pair.teacher, IMAGES)
    with pytest.raises(ValueError, match=r"needs the student's output 'stage1'; it has \['emb"):
        recipes.at(flat)
    with pytest.raises(ValueError, match="'class_maps'"):
        recipes.cat_kd(pair)
    with pytest.raises(ValueError, match="'projected'"):
        recipes.simkd(pair)
    cnn = jaxkd.models.CNN((16, 16, 1), (4, 4), 8, 10, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="takes 8 features, its last map has 4 channels"):
        Pair(jaxkd.from_nnx(cnn), pair.teacher, IMAGES).with_class_maps()


def test_methods_are_found_by_name():
    assert {"kd", "dkd", "crd", "dot", "simkd", "reviewkd"} <= set(methods.names())
    assert not {"labels", "deit", "language.gkd", "binary_kd"} & set(methods.names())
    with pytest.raises(ValueError, match="must be one of .*, not 'magic'"):
        methods.check("magic")
