import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.networks import as_connector

STUDENT = jax.random.normal(jax.random.key(0), (4, 3))
TEACHER = jax.random.normal(jax.random.key(1), (4, 5))
IDS = jnp.array([2, 7, 9, 0])
EVERYONE = jnp.ones(4, bool)
CLASSES = np.arange(12) % 3


def _crd(**options):
    arguments = {"dim": 6, "num_negatives": 5, "labels": CLASSES, "rngs": nnx.Rngs(0), **options}
    return connectors.CRD(3, 5, 12, **arguments)


@pytest.fixture(scope="module")
def crd():
    """A compiled call: arguments for the loss, and the new state."""
    connector = as_connector(_crd())
    assert connector.requires == {"teacher", "id", "where"}

    @jax.jit
    def call(state, seed, student=STUDENT, ids=IDS, where=EVERYONE):
        key = jax.random.key(seed)
        inputs = {"teacher": TEACHER, "id": ids, "where": where}
        arguments, state = connector.apply(
            connector.params, state, student, train=True, key=key, **inputs
        )
        return {**arguments, "loss": losses.crd(**arguments)}, state

    return connector, call


def test_banks_move_after_the_loss_and_z_stays(crd):
    connector, call = crd
    before = connector.state
    arguments, after = call(before, 1)
    np.testing.assert_array_equal(arguments["teacher_bank"], before["teacher_bank"])
    for side in ("student", "teacher"):
        expected = losses.update_bank(before[f"{side}_bank"], IDS, arguments[side], momentum=0.5)
        np.testing.assert_allclose(after[f"{side}_bank"], expected, rtol=1e-5, atol=1e-6)
    expected = losses.crd_normalizer(
        arguments["student"],
        before["teacher_bank"],
        ids=IDS,
        negatives=arguments["negatives"],
        temperature=arguments["temperature"],
    )
    np.testing.assert_allclose(arguments["student_normalizer"], expected, rtol=1e-5)
    again, later = call(after, 2)
    np.testing.assert_array_equal(later["log_z"], after["log_z"])
    np.testing.assert_array_equal(again["student_normalizer"], arguments["student_normalizer"])
    assert not np.array_equal(again["negatives"], arguments["negatives"])
    assert (CLASSES[arguments["negatives"]] != CLASSES[IDS][:, None]).all()
    assert jnp.isfinite(again["loss"]).all()


def test_rows_that_take_no_part_change_nothing(crd):
    connector, call = crd
    where = jnp.array([True, True, False, True])
    clean, state = call(connector.state, 1, where=where)
    dirty, dirty_state = call(
        connector.state, 1, STUDENT.at[2].set(jnp.nan), IDS.at[2].set(10**6), where
    )
    np.testing.assert_array_equal(clean["loss"], dirty["loss"])
    assert clean["loss"][2] == 0 and jnp.isfinite(clean["loss"]).all()
    for name in state:
        np.testing.assert_array_equal(state[name], dirty_state[name])
    np.testing.assert_array_equal(state["student_bank"][9], connector.state["student_bank"][9])
    _, unset = call(connector.state, 1, where=jnp.zeros(4, bool))
    assert not unset["has_z"] and jnp.all(unset["log_z"] == 0)


def test_evaluation_changes_nothing_and_both_embeddings_learn(crd):
    connector, _ = crd

    @jax.jit
    def gradient_and_state(params):
        def value(params):
            inputs = {"teacher": TEACHER, "id": IDS, "where": None}
            arguments, state = connector.apply(params, connector.state, STUDENT, **inputs)
            return jnp.sum(losses.crd(**arguments)), state

        return jax.grad(value, has_aux=True)(params)

    gradient, state = gradient_and_state(connector.params)
    for name, value in connector.state.items():
        np.testing.assert_array_equal(state[name], value)
    assert set(gradient) == {
        f"{side}.{x}" for side in ("student", "teacher") for x in ("kernel", "bias")
    }
    assert all(jnp.any(leaf != 0) for leaf in gradient.values())


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="rows 0 to 11 and no row 12"):
        _crd()(STUDENT, teacher=TEACHER, id=IDS.at[1].set(12), where=None)
    with pytest.raises(ValueError, match=r"each of 12 examples, not shape \(3,\)"):
        _crd(labels=[0, 1, 2])
    with pytest.raises(ValueError, match="temperature must be positive and finite, not 0"):
        _crd(temperature=0.0)
    with pytest.raises(ValueError, match="momentum must lie in"):
        _crd(momentum=1.5)
