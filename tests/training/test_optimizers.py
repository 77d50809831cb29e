"""Optimizers that have no effect, or another one, at their place of a chain are refused."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from optax import contrib

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.compression import cubic_sparsity, magnitude_pruning
from jaxkd.training import Population, dot

ADAM, PRUNE = optax.adam(0.1), magnitude_pruning(0.5)
HEAD = lambda path, leaf: path.endswith("head.kernel")  # noqa: E731
LATER = magnitude_pruning(cubic_sparsity(0.0, 0.8, 100, 5_000), every=100)


def student(seed=0):
    return jaxkd.from_function(
        lambda p, x: jnp.tanh(x @ p["kernel"]) @ p["head"]["kernel"],
        {
            "kernel": jax.random.normal(jax.random.key(seed), (12, 16)),
            "head": {"kernel": jnp.ones((16, 3))},
        },
    )


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(PRUNE, ADAM),
        optax.chain(PRUNE, optax.sgd(0.1)),
        optax.chain(LATER, ADAM),
        optax.chain(ADAM, PRUNE, optax.add_decayed_weights(0.1)),
        optax.chain(optax.chain(ADAM, LATER), optax.scale(0.5)),
        optax.apply_if_finite(optax.chain(PRUNE, ADAM), 3),
        optax.MultiSteps(optax.chain(PRUNE, ADAM), 4),
        optax.chain(magnitude_pruning(structure=(2, 4)), ADAM),
    ],
)
def test_pruning_that_something_follows_is_refused(optimizer):
    message = r"masked weights of \['student.*not zero.*Write it last, optax.chain"
    with pytest.raises(ValueError, match=message):
        make_train_step(student(), recipes.labels(), optimizer)


@pytest.mark.parametrize(
    "optimizer",
    [
        optax.chain(ADAM, PRUNE),
        optax.chain(ADAM, LATER),
        optax.chain(optax.clip(1.0), optax.chain(ADAM, LATER)),
        optax.apply_if_finite(optax.chain(ADAM, PRUNE), 3),
        optax.MultiSteps(optax.chain(ADAM, PRUNE), 4),
        optax.chain(ADAM, magnitude_pruning(structure=(2, 4))),
        optax.chain(ADAM, magnitude_pruning(structure=(4, 16), where=HEAD)),
    ],
)
def test_pruning_at_its_place_is_accepted(optimizer):
    make_train_step(student(), recipes.labels(), optimizer)


def test_an_optimizer_that_takes_no_further_arguments_is_called_without():
    adversary = optax.chain(contrib.normalize(), optax.sgd(0.05))
    step = make_train_step(student(), recipes.labels(), contrib.sam(ADAM, adversary, sync_period=2))
    batch = {"inputs": jnp.ones((4, 12)), "labels": jnp.arange(4) % 3}
    shapes, _ = jax.eval_shape(step.function, step.frozen, step.init(), batch)
    assert shapes.params["student"]["kernel"].shape == (12, 16)


def test_pruning_in_a_population_is_tried_as_well():
    def members(*order):
        make = {"prune": lambda rate: PRUNE, "sgd": optax.sgd}
        return Population(
            student,
            recipes.labels(),
            lambda rate: optax.chain(*(make[name](rate) for name in order)),
            {"rate": [0.1, 0.2]},
        )

    with pytest.raises(ValueError, match="pruning has no effect"):
        members("prune", "sgd")
    population = members("sgd", "prune")
    batch = {"inputs": jnp.ones((4, 12)), "labels": jnp.arange(4) % 3}
    state, _ = population.step(population.init(), batch)
    assert np.mean(np.asarray(state.params["student"]["kernel"]) == 0) > 0.3


def test_what_stands_before_dot_has_no_effect_and_is_refused():
    for before in (optax.add_decayed_weights(0.1), optax.clip_by_global_norm(1.0)):
        with pytest.raises(ValueError, match=r"no effect: write optax.chain\(dot\(…\), …\)"):
            make_train_step(
                student(), recipes.kd(), optax.chain(before, dot(0.1)), split_gradients=True
            )
    behind = optax.chain(dot(0.1), optax.clip(1.0), PRUNE)
    make_train_step(student(), recipes.kd(), behind, split_gradients=True)
    make_train_step(student(), recipes.kd(), optax.apply_if_finite(dot(0.1), 3))


@losses.returns_sum_and_count
def counted(student, labels, *, where=None):
    loss = losses.cross_entropy(student, labels)
    return jnp.sum(loss, where=where), jnp.sum(where)


def test_batches_of_unequal_counts_need_micro_batches():
    """The mean over all tokens is not the mean of the means of parts, which MultiSteps takes."""
    batch = {
        "inputs": jax.random.normal(jax.random.key(1), (4, 12)),
        "labels": jnp.arange(4) % 3,
        "where": jnp.array([True, True, True, False]),
    }
    halves = [jax.tree.map(lambda leaf, i=i: leaf[2 * i : 2 * i + 2], batch) for i in (0, 1)]
    objective, sgd = Objective(label=Term(counted)), optax.sgd(0.1)

    def trained(batches, optimizer, **options):
        step = make_train_step(student(), objective, optimizer, **options)
        state = step.init()
        for one in batches:
            state, _ = step(state, one)
        return np.asarray(state.params["student"]["kernel"])

    whole = trained([batch], sgd)
    np.testing.assert_allclose(trained([batch], sgd, micro_batches=2), whole, atol=1e-6)
    with pytest.warns(UserWarning, match=r"MultiSteps .*\['label'\].*micro_batches=k"):
        steps = trained(halves, optax.MultiSteps(sgd, 2))
    start = np.asarray(student().params["kernel"])
    error = np.abs(steps - whole).max() / np.abs(whole - start).max()
    assert error > 0.05
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        make_train_step(student(), recipes.labels(), optax.MultiSteps(sgd, 2))
