import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from codec_calls import QUICK, roundtrip
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses
from jaxkd.targets import TopK

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(7, 30)) * 4, jnp.float32)
TEMPERATURES = (0.5, 1.0, 4.0)


@pytest.mark.parametrize("k", [1, 4, 29, 30])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.01, 100))
def test_keeps_the_largest_and_the_exact_tail(k, seed, scale):
    logits = np.random.default_rng(seed).normal(size=(3, 30)).astype(np.float32) * scale
    sparse = roundtrip(TopK(k, TEMPERATURES, values="float32"), logits.astype(np.float32))
    order = np.argsort(-logits, axis=-1, kind="stable")
    np.testing.assert_array_equal(sparse.indices, order[:, :k])
    shifted = np.take_along_axis(logits.astype(np.float64), order, -1)
    shifted -= shifted[:, :1]
    np.testing.assert_allclose(sparse.logits, shifted[:, :k], rtol=1e-6, atol=1e-6 * scale)
    for place, temperature in enumerate(TEMPERATURES):
        with np.errstate(divide="ignore"):
            tail = np.logaddexp.reduce(shifted[:, k:] / temperature, axis=-1)
        np.testing.assert_allclose(sparse.tail[:, place], tail, rtol=1e-5, atol=1e-6 + 1e-5 * scale)


@pytest.mark.parametrize(("values", "tolerance"), [("float16", 2**-11), ("int8", 1 / 507)])
def test_kept_logits_are_as_exact_as_their_type(values, tolerance):
    exact, decoded = (roundtrip(TopK(9, values=v), LOGITS).logits for v in ("float32", values))
    exact, decoded = np.asarray(exact), np.asarray(decoded)
    scale = np.abs(exact) if values == "float16" else -exact[:, -1:]
    assert np.all(np.abs(exact - decoded) <= tolerance * scale)
    np.testing.assert_array_equal(decoded[:, 0], 0)
    # The mass of the others is no coarser for it.
    tails = (roundtrip(TopK(9, values=v), LOGITS).tail for v in ("float32", values))
    np.testing.assert_array_equal(*tails)


def test_all_classes_are_the_dense_target():
    sparse = roundtrip(TopK(30, (4.0,), values="float32"), LOGITS)
    student = LOGITS[::-1]
    kd = jax.jit(functools.partial(losses.kd, temperature=4.0), compiler_options=QUICK)
    np.testing.assert_allclose(kd(student, sparse), kd(student, LOGITS), rtol=1e-5)


@pytest.mark.parametrize("classes", [256, 257, 65_536, 70_000])
def test_the_last_class_has_an_id(classes):
    logits = jnp.zeros((1, classes)).at[0, classes - 1].set(5.0)
    assert int(roundtrip(TopK(2), logits).indices[0, 0]) == classes - 1


@pytest.mark.parametrize("values", ["float32", "float16", "int8"])
def test_masked_classes_and_ties_survive(values):
    logits = jnp.array([[2.0, -jnp.inf, 0.5, -jnp.inf], [3.0, 3.0, 3.0, 3.0]])
    sparse = roundtrip(TopK(3, values=values), logits)
    np.testing.assert_allclose(sparse.logits, [[0, -1.5, -np.inf], [0, 0, 0]])
    np.testing.assert_allclose(sparse.tail[:, 0], [-np.inf, 0], atol=1e-6)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_the_class_of_the_label_is_kept(k):
    """Each class as the label of the same row, then an unknown one."""
    logits, labels = np.repeat(LOGITS[:1], 31, axis=0), np.arange(-1, 30)
    plain = roundtrip(TopK(k, values="float32"), logits)
    sparse = roundtrip(TopK(k, values="float32", label=True), logits, labels=labels)
    assert np.all(sparse.indices[:, : k - 1] == plain.indices[:, : k - 1])
    np.testing.assert_array_equal(sparse.indices[0], plain.indices[0])
    where = np.asarray(sparse.indices)[1:] == labels[1:, None]
    np.testing.assert_array_equal(where.sum(-1), 1)
    total = np.logaddexp(sparse.tail[:, 0], np.logaddexp.reduce(sparse.logits, axis=-1))
    log_p = np.asarray(sparse.logits)[1:][where] - total[1:]
    np.testing.assert_allclose(log_p, jax.nn.log_softmax(LOGITS)[0], atol=1e-5)


def test_a_label_far_below_stays_finite():
    codec = TopK(1, label=True)
    sparse = roundtrip(codec, jnp.array([[1e5, 0.0, 0.0]]), labels=jnp.array([2]))
    np.testing.assert_array_equal(sparse.indices, [[2]])
    assert np.isfinite(sparse.logits[0, 0])


def test_labels_of_tokens():
    tokens = jnp.stack([LOGITS, LOGITS[::-1]])
    labels = jnp.arange(14).reshape(2, 7)
    sparse = roundtrip(TopK(2, label=True), tokens, labels=labels)
    assert np.all(np.any(sparse.indices == labels[..., None], axis=-1))
    assert sparse.tail.shape == (2, 7, 1)
