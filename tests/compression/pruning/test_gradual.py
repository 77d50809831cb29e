import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import models, recipes
from jaxkd.compression import cubic_sparsity, magnitude_pruning, sparsity
from jaxkd.training import Checkpoints, Partitioning, make_mesh


def _student(seed=0):
    return jaxkd.from_nnx(models.MLP(4, (8,), 3, rngs=nnx.Rngs(seed)))


def _batch(seed=0):
    key = jax.random.key(seed)
    return {"inputs": jax.random.normal(key, (8, 4)), "labels": jnp.arange(8) % 3}


def _state_of(opt_state):
    return next(part for part in opt_state if hasattr(part, "masks"))


@pytest.fixture(scope="module")
def trained():
    """Four steps at growing sparsity: the step, its states from the first on, the optimizer."""
    student, objective = _student(), recipes.labels()
    schedule = cubic_sparsity(0.0, 0.75, begin=0, end=3)
    optimizer = optax.chain(optax.adam(0.05), magnitude_pruning(schedule, every=2))
    step = jaxkd.make_train_step(student, objective, optimizer)
    states = [step.init()]
    for number in range(6):
        copy = jax.tree.map(jnp.copy, states[-1])
        states.append(step(copy, _batch(number))[0])
    return step, states


def test_cubic_values():
    schedule = cubic_sparsity(0.2, 0.8, begin=10, end=30)
    found = [float(schedule(step)) for step in (0, 10, 15, 20, 30, 99)]
    expected = [0.2, 0.2, 0.8 - 0.6 * 0.75**3, 0.8 - 0.6 * 0.5**3, 0.8, 0.8]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_parameters_are_exactly_masked_at_every_step(trained):
    _, states = trained
    shares = []
    for state in states[1:]:
        masks = _state_of(state.opt_state).masks
        for path, mask in masks.items():
            values = state.params["student"][path.removeprefix("student.")]
            np.testing.assert_array_equal(values == 0, ~mask)
        shares.append(sparsity(state.params).total)
    # Masks of the updates 0, 2 and 4; the schedule ended at 3.
    made = [0.0, 0.0, 0.75 - 0.75 / 27, 0.75 - 0.75 / 27, 0.75, 0.75]
    np.testing.assert_allclose(shares, np.round(np.array(made) * 56) / 56, atol=1e-7)


def test_masks_stay_once_the_schedule_has_ended(trained):
    step, states = trained
    before = _state_of(states[-1].opt_state)
    after = step(jax.tree.map(jnp.copy, states[-1]), _batch(9))[0]
    chex.assert_trees_all_equal(before.masks, _state_of(after.opt_state).masks)
    assert not jnp.array_equal(
        states[-1].params["student"]["head.bias"], after.params["student"]["head.bias"]
    )


def test_what_is_pruned_stays_pruned(trained):
    _, states = trained
    for path, early in _state_of(states[3].opt_state).masks.items():
        late = _state_of(states[-1].opt_state).masks[path]
        assert not (late & ~early).any()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_nothing_pruned_returns_however_large_its_updates(scope):
    keys = jax.random.split(jax.random.key(0), 6)
    params = {"kernel": 0.05 * jax.random.normal(keys[0], (8, 8)).at[0].set(0.0)}
    schedule = cubic_sparsity(0.2, 0.8, begin=0, end=5)
    optimizer = optax.chain(optax.sgd(0.1), magnitude_pruning(schedule, scope=scope))
    state, update = optimizer.init(params), jax.jit(optimizer.update)
    for number, key in enumerate(keys):
        before = state[1].masks["kernel"]
        # Some weights have no gradient, and zeros among them stay zeros that are not pruned.
        gradients = {"kernel": jax.random.normal(key, (8, 8)).at[0].set(0.0)}
        updates, state = update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        mask = state[1].masks["kernel"]
        assert not (mask & ~before).any()
        assert int((~mask).sum()) == round(64 * float(schedule(number)))


def test_where_the_sparsity_falls_the_largest_come_back():
    params = {"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]])}
    optimizer = magnitude_pruning(lambda step: jnp.where(step == 0, 0.75, 0.25))
    updates, state = optimizer.update({"kernel": jnp.zeros((2, 2))}, optimizer.init(params), params)
    params = optax.apply_updates(params, updates)
    updates, state = optimizer.update(
        {"kernel": jnp.array([[0.5, 0.1], [0.2, 0.0]])}, state, params
    )
    np.testing.assert_allclose(
        optax.apply_updates(params, updates)["kernel"], [[0.5, 0.0], [0.2, 4.0]]
    )


def test_a_saved_run_goes_on_with_its_masks(trained, tmp_path):
    step, states = trained
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(states[3])
        restored, _ = checkpoints.restore(states[0])
    for number in range(3, 6):
        restored = step(restored, _batch(number))[0]
    chex.assert_trees_all_equal(restored.params, states[-1].params)
    chex.assert_trees_all_equal(restored.opt_state, states[-1].opt_state)


def test_connectors_are_left_alone():
    student, teacher = _student(), _student(1)
    objective = recipes.srd(recipes.Pair(student, teacher, jnp.ones((8, 4))))
    optimizer = optax.chain(optax.sgd(0.0), magnitude_pruning(0.5))
    state = jaxkd.make_train_step(student, objective, optimizer).init()
    connectors = jax.tree.map(jnp.copy, state.params["connectors"])
    assert any(leaf.ndim == 2 for leaf in jax.tree.leaves(connectors))
    assert all(path.startswith("student.") for path in _state_of(state.opt_state).masks)
    zeros = jax.tree.map(jnp.zeros_like, state.params)
    updates, _ = jax.jit(optimizer.update)(zeros, state.opt_state, state.params)
    new = optax.apply_updates(state.params, updates)
    chex.assert_trees_all_equal(new["connectors"], connectors)
    assert sparsity(new).total == 0.5


def test_spread_over_devices_the_masks_are_those_of_one():
    student, objective = _student(), recipes.labels()
    optimizer = optax.chain(optax.sgd(0.1), magnitude_pruning(0.5))
    partitioning = Partitioning(make_mesh(fsdp=4), min_size=0)
    ends = []
    for layout in (None, partitioning):
        step = jaxkd.make_train_step(student, objective, optimizer, partitioning=layout)
        state = step.init()
        ends.append(step(state, jax.device_get(_batch()))[0])
    one, spread = (_state_of(state.opt_state).masks for state in ends)
    assert len(spread["student.head.kernel"].sharding.device_set) > 1
    chex.assert_trees_all_equal(jax.device_get(one), jax.device_get(spread))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float32])
def test_what_stays_moves_as_without_pruning(dtype):
    params = {"kernel": jax.random.normal(jax.random.key(0), (16, 8)).astype(dtype)}
    gradients = {"kernel": jax.random.normal(jax.random.key(1), (16, 8)).astype(dtype)}
    plain, pruned = optax.sgd(0.1), optax.chain(optax.sgd(0.1), magnitude_pruning(structure=(2, 4)))
    update = jax.jit(pruned.update)
    updates, state = update(gradients, pruned.init(params), params)
    new = optax.apply_updates(params, updates)["kernel"]
    free = optax.apply_updates(params, plain.update(gradients, plain.init(params))[0])["kernel"]
    mask = state[1].masks["kernel"]
    assert new.dtype == dtype and int(mask.sum()) == 64
    np.testing.assert_array_equal(new, jnp.where(mask, free, 0))


def test_members_of_a_population_have_masks_of_their_own():
    params = {"kernel": jax.random.normal(jax.random.key(0), (3, 4, 4))}
    optimizer = magnitude_pruning(0.5)
    state = jax.vmap(optimizer.init)(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    updates, state = jax.jit(jax.vmap(optimizer.update))(zeros, state, params)
    new = optax.apply_updates(params, updates)["kernel"]
    np.testing.assert_array_equal((new == 0).sum(axis=(1, 2)), 8)
    assert not jnp.array_equal(state.masks["kernel"][0], state.masks["kernel"][1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: magnitude_pruning(0.5, every=0), "every must be at least 1 update, not 0"),
        (lambda: magnitude_pruning(), "either a sparsity or a structure"),
        (lambda: magnitude_pruning(-0.1), "not -0.1"),
        (lambda: magnitude_pruning(jnp.float32(1.5)), r"in \[0, 1\], not 1.5"),
        (lambda: cubic_sparsity(0.0, 1.2, 0, 10), "final_value=1.2"),
        (lambda: cubic_sparsity(0.0, 0.5, 10, 10), "begin=10 and end=10"),
        (lambda: magnitude_pruning(0.5).init({"w": jnp.ones((2, 2))}), r"selects none of \['w'\]"),
        (lambda: magnitude_pruning(0.5).update({}, None, None), "pass params"),
    ],
)
def test_invalid_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
