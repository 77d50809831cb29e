import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd import losses
from jaxkd.targets import Dense, Record, TopK, bytes_per_record, damaged, from_specification

LOGITS = jnp.asarray(np.random.default_rng(0).normal(size=(7, 30)) * 4, jnp.float32)


def roundtrip(codec, logits=LOGITS):
    return Record(jax.jit(codec.encode)(logits), codec, logits.shape[-1]).decode()["logits"]


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 0), ("bfloat16", 2**-8), ("float16", 2**-11)]
)
def test_dense_is_as_exact_as_its_type(dtype, tolerance):
    decoded = roundtrip(Dense(dtype))
    assert decoded.dtype == jnp.float32
    np.testing.assert_allclose(decoded, LOGITS, rtol=tolerance)


@settings(max_examples=20, deadline=None)
@given(k=st.integers(1, 30), temperature=st.sampled_from([0.5, 1.0, 4.0]))
def test_top_k_keeps_the_largest_and_the_exact_tail(k, temperature):
    sparse = roundtrip(TopK(k, temperatures=(0.5, 1.0, 4.0), dtype="float32"))
    p = jax.nn.softmax(LOGITS / temperature)
    kept = jnp.take_along_axis(p, sparse.indices, -1)
    np.testing.assert_allclose(kept, -np.sort(-p, axis=-1)[:, :k], rtol=1e-5)
    column = sparse.temperatures.index(temperature)
    tail = sparse.tail[:, column]
    total = jnp.logaddexp(tail, jax.nn.logsumexp(sparse.logits / temperature, axis=-1))
    np.testing.assert_allclose(jnp.exp(tail - total), 1 - kept.sum(-1), atol=2e-6)


def test_top_k_of_all_classes_is_the_dense_target():
    sparse = roundtrip(TopK(30, temperatures=(4.0,), dtype="float32"))
    student = LOGITS[::-1]
    np.testing.assert_allclose(
        losses.kd(student, sparse, temperature=4.0),
        losses.kd(student, LOGITS, temperature=4.0),
        rtol=1e-5,
    )


@pytest.mark.parametrize(
    ("classes", "dtype"), [(256, "uint8"), (257, "uint16"), (70_000, "uint32")]
)
def test_ids_take_the_smallest_type_that_fits(classes, dtype):
    assert TopK(2).layout(classes)["indices"] == ((2,), dtype)
    logits = jnp.zeros((1, classes)).at[0, classes - 1].set(5.0)
    assert int(roundtrip(TopK(2), logits).indices[0, 0]) == classes - 1


def test_layout_says_what_encode_makes():
    for codec in (Dense("bfloat16"), TopK(5, temperatures=(1.0, 2.0))):
        arrays = codec.encode(LOGITS)
        assert codec.layout(30) == {
            name: (array.shape[1:], array.dtype.name) for name, array in arrays.items()
        }
        assert bytes_per_record(codec, 30) * 7 == sum(a.nbytes for a in arrays.values())


def test_specifications_come_back():
    for codec in (Dense("float16"), TopK(3, temperatures=(1.0, 4.0))):
        assert from_specification(codec.specification()) == codec
    with pytest.raises(ValueError, match="unknown codec 'Zip'"):
        from_specification({"name": "Zip"})


def test_rows_that_cannot_be_kept_are_reported():
    logits = jnp.array([[1.0, 2.0], [7e4, 0.0], [jnp.nan, 0.0], [-jnp.inf, 0.0], [jnp.inf, 0.0]])
    np.testing.assert_array_equal(damaged(Dense("float16"), logits), [0, 1, 1, 0, 1])
    np.testing.assert_array_equal(damaged(Dense("bfloat16"), logits), [0, 0, 1, 0, 1])
    np.testing.assert_array_equal(damaged(TopK(1), logits), [0, 0, 1, 0, 1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense("int8"), "not 'int8'"),
        (lambda: TopK(0), "k must be at least 1, not 0"),
        (lambda: TopK(2, temperatures=(0.0,)), "must be positive"),
        (lambda: TopK(31).encode(LOGITS), "k=31 classes, the teacher has 30"),
    ],
)
def test_bad_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
