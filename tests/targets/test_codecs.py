"""What every codec promises."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from codec_calls import decode, encode

from jaxkd import targets
from jaxkd.targets import (
    Dense,
    Pooled,
    Sampled,
    TopK,
    TopP,
    _specification,
    bytes_per_record,
    from_specification,
)

BATCH = 4
CODECS = [
    (Dense(), (30,)),
    (Dense("bfloat16"), ()),
    (Dense("float16"), (3, 7)),
    (Dense("int8"), (3, 7)),
    (Pooled((2, 3), "int8"), (4, 6, 5)),
    (Pooled((2, 2)), (7, 5, 3)),
    (TopK(5, (1.0, 2.0)), (30,)),
    (TopK(5, values="float32"), (2, 300)),
    (TopK(5, values="int8"), (70_000,)),
    (TopK(30, label=True), (30,)),
    (TopP(0.9, 8), (30,)),
    (TopP(0.5, 3, (1.0, 4.0), "int8"), (2, 70_000)),
    (Sampled(6), (30,)),
    (Sampled(6, 2.0), (2, 70_000)),
]
each_codec = pytest.mark.parametrize(("codec", "shape"), CODECS, ids=str)


def given(codec, shape):
    """Random values and what the codec wants beside them."""
    generator = np.random.default_rng(0)
    wants = {"keys": jax.random.split(jax.random.key(0), BATCH)}
    wants["labels"] = jnp.asarray(generator.integers(0, 9, (BATCH, *shape[:-1])))
    values = jnp.asarray(generator.normal(size=(BATCH, *shape)), jnp.float32)
    return values, {name: wants[name] for name in codec.needs}


def test_every_codec_is_public_and_held_to_these_promises():
    known = {codec.__name__ for codec in _specification._CODECS}
    assert {type(codec).__name__ for codec, _ in CODECS} == known, "add it to CODECS"
    assert known <= set(targets.__all__)


@each_codec
def test_layout_says_what_encode_makes(codec, shape):
    values, wants = given(codec, shape)
    arrays = jax.eval_shape(codec.encode, values, **wants)
    assert codec.layout(shape) == {
        name: (array.shape[1:], array.dtype.name) for name, array in arrays.items()
    }
    stored = sum(array.size * array.dtype.itemsize for array in arrays.values())
    assert bytes_per_record(codec, shape) * BATCH == stored
    assert not any("." in name for name in arrays)


@pytest.mark.parametrize(
    ("codec", "shape"),
    [(Dense("int8"), (7,)), (TopK(5, values="int8"), (70_000,)), (TopP(0.9, 8), (30,))],
    ids=str,
)
def test_what_was_read_from_a_cache_is_decoded_as_it_was_before(codec, shape):
    values, wants = given(codec, shape)
    arrays = encode(codec, values, wants)
    of_numpy = codec.decode(jax.device_get(arrays), shape)
    compiled = decode(codec, arrays, shape)
    assert jax.tree.structure(of_numpy) == jax.tree.structure(compiled)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(of_numpy))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), of_numpy, compiled)


@each_codec
def test_specifications_come_back_through_json(codec, shape):
    specification = json.loads(json.dumps(codec.specification()))
    assert specification["name"] == type(codec).__name__
    assert from_specification(specification) == codec
    assert hash(from_specification(specification)) == hash(codec)


@each_codec
def test_describes_itself_in_one_line(codec, shape):
    assert isinstance(codec.description, str)
    assert "\n" not in codec.description
    assert codec.needs <= {"labels", "keys"}


@dataclasses.dataclass(frozen=True)
class Mean:
    places: tuple[int, ...]


def test_codecs_of_ones_own():
    with pytest.raises(ValueError, match="unknown codec 'Mean'; known are .*'TopP'"):
        from_specification({"name": "Mean", "places": [1, 2]})
    assert from_specification({"name": "Mean", "places": [1, 2]}, (Mean,)) == Mean((1, 2))


INF = np.inf
ROWS = {
    "fine": [1.0, 2.0, 0.0],
    "large": [7e4, 0.0, 0.0],
    "not a number": [np.nan, 0.0, 1.0],
    "a masked class": [-INF, 0.0, 1.0],
    "all masked": [-INF, -INF, -INF],
    "infinite": [INF, 0.0, 1.0],
    "a mask of large numbers": [-1e9, 0.0, 1.0],
}
BAD = ["not a number", "infinite"]


@pytest.mark.parametrize(
    ("codec", "invalid"),
    [
        (Dense(), BAD),
        (Dense("bfloat16"), BAD),
        (Dense("int8"), BAD),
        (Dense("float16"), [*BAD, "large", "a mask of large numbers"]),
        (TopK(1), [*BAD, "all masked"]),
        (TopK(2), [*BAD, "all masked", "large"]),
        (TopK(2, values="int8"), [*BAD, "all masked"]),
        (TopK(3), [*BAD, "all masked", "large", "a mask of large numbers"]),
        (TopP(0.9, 3), [*BAD, "all masked"]),
        (Sampled(2), [*BAD, "all masked"]),
    ],
    ids=str,
)
def test_rows_that_cannot_be_encoded_are_reported(codec, invalid):
    values = np.asarray(list(ROWS.values()), np.float32)
    expected = [name in invalid for name in ROWS]
    np.testing.assert_array_equal(codec.invalid_rows(values), expected)
    tokens = np.stack([np.zeros_like(values), values], axis=1)
    np.testing.assert_array_equal(codec.invalid_rows(tokens), expected)


def test_maps_that_cannot_be_encoded_are_reported():
    maps = jnp.ones((4, 4, 4, 2)).at[1, 0, 0, 0].set(jnp.nan).at[2].set(1e5)
    maps = maps.at[3, 0, 0, 0].set(1e5)  # its bin's mean is 25,001 and fits
    np.testing.assert_array_equal(Pooled((2, 2)).invalid_rows(maps), [False, True, True, False])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Dense("int4"), "not 'int4'"),
        (lambda: Dense("int8").layout(()), "one number"),
        (lambda: Pooled((0, 2)), "at least 1"),
        (lambda: Pooled((2,)), "height, width"),
        (lambda: Pooled((2, 2), "int4"), "not 'int4'"),
        (lambda: Pooled((2, 2)).layout((30,)), r"shape \(30,\)"),
        (lambda: Pooled((4, 4)).layout((2, 8, 3)), r"at least \(4, 4\).*\(2, 8, 3\)"),
        (lambda: TopK(0), "k must be at least 1, not 0"),
        (lambda: TopK(2, temperatures=(0.0,)), "must be positive"),
        (lambda: TopK(2, temperatures=()), "must be positive"),
        (lambda: TopK(2, values="bfloat16"), "not 'bfloat16'"),
        (lambda: TopK(31).layout((30,)), "k=31 classes, the teacher has 30"),
        (lambda: TopK(31).encode(jnp.zeros((2, 30))), "k=31 classes, the teacher has 30"),
        (lambda: TopK(1).layout(()), "one number"),
        (lambda: TopK(1).layout((2**25 + 1,)), "of 26"),
        (lambda: TopK(2, label=True).encode(jnp.zeros((2, 30))), "labels of shape .2,., got None"),
        (
            lambda: TopK(2, label=True).encode(jnp.zeros((2, 5, 30)), labels=jnp.zeros(2, int)),
            r"labels of shape \(2, 5\), got \(2,\)",
        ),
        (lambda: TopP(0.0, 2), r"\(0, 1\], not 0.0"),
        (lambda: TopP(1.1, 2), r"\(0, 1\], not 1.1"),
        (lambda: TopP(0.5, 0), "cap must be at least 1"),
        (lambda: TopP(0.5, 31).layout((30,)), "cap=31 classes, the teacher has 30"),
        (lambda: Sampled(0), "num_samples must be at least 1"),
        (lambda: Sampled(1, float("inf")), "positive number, not inf"),
        (lambda: Sampled(1).encode(jnp.zeros((2, 30))), r"keys of shape \(2,\).*got None"),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
