"""A student without data: its terms by formula, where gradients go, and that it learns."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import losses, make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.strategies import (
    ImageGenerator,
    NormalNoise,
    data_free,
    differentiable_statistics,
    member_networks,
    multi_optimizer,
    noise_dataset,
)
from jaxkd.training import fit
from jaxkd.views import Views

LATENT = 8
KEY = jax.random.key(0)
ALL = {"one_hot": 1.0, "information": 2.0, "disagreement": 0.5, "statistics": 0.1}


def convnet(seed, momentum=0.9, opened=True):
    model = jaxkd.models.ConvNet(1, 4, widths=(4, 8), strides=(2, 2), rngs=nnx.Rngs(seed))
    for norm in model.norms:
        norm.momentum = momentum
    network = jaxkd.from_nnx(differentiable_statistics(model) if opened else model)
    # Statistics of its own, so that there is something to match.
    moved = {path: value + 0.3 + 0.1 * index for index, (path, value) in enumerate(
        sorted(network.state.items()))}  # fmt: skip
    return network.replace(params=network.params, state=moved)


def generator(seed=0, shape=(8, 8, 1), **options):
    return jaxkd.from_nnx(ImageGenerator(LATENT, shape, width=8, rngs=nnx.Rngs(seed), **options))


def noise(count=16):
    return jax.random.normal(jax.random.key(1), (count, LATENT))


def trained_once(network, inputs):
    """Outputs and new state in training mode."""
    apply = jax.jit(lambda params, state, x: network.apply(params, state, x, train=True, key=KEY))
    return apply(network.params, network.state, inputs)


def objective_value(network, objective, params, inputs, only=None):
    outputs, _ = network.apply(params, network.state, inputs, train=True, key=KEY)
    total, metrics, _ = objective(outputs, None, {})
    return metrics[only][0] / metrics[only][1] if only else total


def test_terms_follow_their_formulas():
    student, images, teacher = convnet(0), generator(), convnet(1)
    network, objective = data_free(student, images, teacher, latent=LATENT, **ALL)
    outputs, _ = trained_once(network, noise())
    logits = jax.jit(teacher)(outputs["images"])["logits"]
    np.testing.assert_allclose(outputs["teacher.logits"], logits, atol=1e-6)
    _, metrics, _ = objective(outputs, None, {})
    found = {name: float(total / count) for name, (total, count) in metrics.items()}
    p = np.asarray(jax.nn.softmax(outputs["teacher.logits"]), np.float64)
    assert found["one_hot"] == pytest.approx(-np.log(p.max(-1)).mean(), rel=1e-5)
    mean = p.mean(0)
    assert found["information"] == pytest.approx((mean * np.log(mean)).sum(), rel=1e-5)
    difference = np.abs(outputs["logits"] - outputs["teacher.logits"]).mean()
    assert found["disagreement"] == pytest.approx(-difference, rel=1e-5)
    kd = losses.kd(outputs["logits"], outputs["teacher.logits"], temperature=1.0).mean()
    assert found["kd"] == pytest.approx(float(kd), rel=1e-5)


@few("momentum", [0.9, 0.99, 0.0])
def test_statistics_are_those_of_the_batch_whatever_the_momentum(momentum):
    teacher = convnet(1, momentum)
    network, _ = data_free(convnet(0), generator(), teacher, latent=LATENT, statistics=1.0)
    outputs, _ = trained_once(network, noise())
    # By hand: what the two normalizations see, each behind the batch's own statistics.
    x, expected = np.asarray(outputs["images"]), 0.0
    shown, _ = trained_once(teacher, x)
    for number, before in enumerate((x, shown["stage1"])):
        kernel = teacher.params[f"convs.{number}.kernel"]
        maps = jax.lax.conv_general_dilated(
            before, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        for name, value in (("mean", maps.mean((0, 1, 2))), ("var", maps.var((0, 1, 2)))):
            expected += np.linalg.norm(value - teacher.state[f"norms.{number}.{name}"])
    np.testing.assert_allclose(outputs["statistics"], expected, rtol=1e-3)


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Conv(4, (3, 3))(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.8)(x)
        return nn.Dense(4)(x.mean((1, 2)))


def test_statistics_of_a_linen_teacher_and_of_none():
    module = Linen()
    teacher = jaxkd.from_linen(module, module.init(KEY, jnp.ones((1, 8, 8, 1))))
    network, _ = data_free(convnet(0), generator(), teacher, latent=LATENT, statistics=1.0)
    outputs, _ = trained_once(network, noise())
    assert outputs["statistics"] > 0.1
    closed = convnet(1, opened=False)
    with pytest.raises(ValueError, match="make it of jaxkd.strategies.differentiable_statistics"):
        data_free(convnet(0), generator(), closed, latent=LATENT, statistics=1.0)
    data_free(convnet(0), generator(), closed, latent=LATENT)
    plain = jaxkd.from_nnx(jaxkd.models.MLP(64, (8,), 4, rngs=nnx.Rngs(0)))
    with pytest.raises(ValueError, match="MLP has no running statistics"):
        data_free(convnet(0), generator(), plain, latent=LATENT, statistics=1.0)


def test_opened_layers_compute_the_same():
    opened, closed = convnet(1), convnet(1, opened=False)
    inputs = np.random.default_rng(0).normal(1, 2, (8, 8, 8, 1)).astype(np.float32)
    for train in (False, True):
        ours, theirs = (
            jax.jit(functools.partial(net.apply, train=train))(net.params, net.state, inputs)
            for net in (opened, closed)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), ours, theirs)


@few("term", ["kd", *ALL], keep=3)
def test_each_term_moves_whom_it_should(term):
    network, objective = data_free(convnet(0), generator(), convnet(1), latent=LATENT, **ALL)
    gradient = jax.jit(
        jax.grad(lambda params: objective_value(network, objective, params, noise(), term))
    )(network.params)
    moved = {name: any(np.abs(g).max() > 0 for g in part.values())
             for name, part in gradient.items()}  # fmt: skip
    assert moved == {"student": term == "kd", "generator": term != "kd"}
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


def test_a_term_without_weight_is_not_computed():
    network, objective = data_free(
        convnet(0), generator(), convnet(1), latent=LATENT, one_hot=0.0, information=0.0
    )
    assert list(objective.terms) == ["kd"]
    outputs, _ = trained_once(network, noise())
    assert not {"statistics", "fixed.logits"} & set(outputs)


@pytest.mark.parametrize("shape", [(8, 8, 1), (7, 10, 3), (3, 2, 1)])
def test_images_have_their_shape_and_scale(shape):
    network = generator(shape=shape, mean=0.3, std=0.2)
    outputs, state = trained_once(network, noise(64))
    images = outputs["logits"]
    assert images.shape == (64, *shape) and set(state) == set(network.state)
    np.testing.assert_allclose(images.mean(), 0.3, atol=0.15)
    with pytest.raises(ValueError, match="positive sizes"):
        ImageGenerator(0, (8, 8, 1), rngs=nnx.Rngs(0))


def test_noise_is_a_function_of_id_and_view():
    data, seen = noise_dataset(20, LATENT, seed=3)
    loader = Loader(data, seen, 10)
    first, again, later = (seen.render(loader[step])["inputs"] for step in (0, 0, 2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (10, LATENT) and not np.isclose(first, later).any()
    other = Views((NormalNoise(LATENT),), seed=3).render(loader[0])["inputs"]
    np.testing.assert_array_equal(first, other)
    with pytest.raises(ValueError, match="at least 1"):
        noise_dataset(0, LATENT)
    with pytest.raises(ValueError, match="at least 1"):
        noise_dataset(5, 0)


class Dense(nnx.Module):
    """A generator that costs nothing."""

    def __init__(self, *, rngs):
        self.hidden = nnx.Linear(LATENT, 32, rngs=rngs)
        self.norm = nnx.BatchNorm(64, use_scale=False, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(32, 64, rngs=rngs)

    def __call__(self, x):
        return self.norm(self.out(nnx.relu(self.hidden(x)))).reshape(-1, 8, 8, 1)


def blobs(count, seed):
    """Images of four classes: which quarter is bright."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, count)
    images = random.normal(0, 0.3, (count, 8, 8, 1))
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(label, 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 2
    return (images - images.mean()).astype(np.float32), labels


@pytest.mark.slow
def test_a_student_that_saw_no_image_comes_to_agree_with_its_teacher(tmp_path):
    def mlp(seed, width):
        return jaxkd.from_nnx(jaxkd.models.MLP(64, (width,), 4, rngs=nnx.Rngs(seed)))

    seen_by_teacher, labels = blobs(512, 0)
    teacher, adam, objective = mlp(0, 32), optax.adam(5e-3), recipes.labels()
    step = make_train_step(teacher, objective, adam)
    state = step.init()
    for _ in range(60):
        state, metrics = step(state, {"inputs": seen_by_teacher, "labels": labels})
    assert metrics["accuracy"] > 0.98
    teacher = state.network(teacher)

    images = jaxkd.from_nnx(Dense(rngs=nnx.Rngs(2)))
    network, objective = data_free(mlp(1, 16), images, teacher, latent=LATENT)
    optimizer = multi_optimizer(optax.adam(5e-3), {"generator": optax.adam(1e-3)})
    data, seen = noise_dataset(640, LATENT)
    step = make_train_step(network, objective, optimizer, views=seen)

    def run(steps, workdir):
        state = step.init()
        return fit(
            step, state, Loader(data, seen, 32), steps=steps, log_every=10, workdir=workdir,
            progress=None, tensorboard=False,
        ).state  # fmt: skip

    def agreement(student):
        unseen, _ = blobs(400, 1)
        classes = (jax.jit(net)(unseen)["logits"].argmax(-1) for net in (student, teacher))
        return float(np.mean(np.equal(*classes)))

    # In two parts: what lies in the state comes back from a checkpoint.
    for steps in (20, 200):
        trained = run(steps, tmp_path)
    student = member_networks(trained.network(network))["student"]
    assert agreement(mlp(1, 16)) < 0.5 and agreement(student) > 0.9
    after = trained.model_state["student"]["teacher"]["params"]
    jax.tree.map(np.testing.assert_array_equal, after, teacher.params)
