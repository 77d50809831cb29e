import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiers import few

from jaxkd.targets._packing import decode_ids, encode_ids, id_layout, pack, unpack


@few("width", sorted(range(1, 21), key=lambda width: width not in (1, 7, 8, 13, 20)), keep=5)
def test_every_width_comes_back(width):
    """Several counts, with the lowest and the highest id at all places."""
    generator = np.random.default_rng(width)
    for count in (1, 13):
        ids = generator.integers(0, 2**width, (3, 2, count))
        ids[0], ids[1, 0] = 2**width - 1, 0
        packed = np.asarray(jax.jit(pack, static_argnums=1)(ids, width))
        assert packed.dtype == np.uint8
        assert packed.shape == (3, 2, (count * width + 7) // 8)
        unpacked = jax.jit(unpack, static_argnums=(1, 2))(packed, width, count)
        np.testing.assert_array_equal(unpacked, ids)


@pytest.mark.parametrize("width", [3, 17, 25])
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_bits_follow_each_other(width, data):
    """As one large number in little-endian order."""
    ids = data.draw(st.lists(st.integers(0, 2**width - 1), min_size=5, max_size=5))
    packed = np.asarray(jax.jit(pack, static_argnums=1)(np.asarray(ids), width))
    number = sum(i << (width * place) for place, i in enumerate(ids))
    assert int.from_bytes(packed.tobytes(), "little") == number
    unpacked = jax.jit(unpack, static_argnums=(1, 2))(packed, width, 5)
    np.testing.assert_array_equal(unpacked, ids)


@pytest.mark.parametrize(
    ("classes", "expected"),
    [
        (256, (64, "uint8")),
        (257, (64, "uint16")),
        (65_536, (64, "uint16")),
        (65_537, (136, "uint8")),
        (128_256, (136, "uint8")),
        (151_936, (144, "uint8")),
    ],
)
def test_ids_take_the_smallest_width_that_fits(classes, expected):
    assert id_layout(64, classes) == expected
    ids = jnp.linspace(0, classes - 1, 64).astype(jnp.int32)
    stored = jax.jit(encode_ids, static_argnums=1)(ids, classes)
    assert (stored.shape[-1], stored.dtype.name) == expected
    decoded = decode_ids(stored, 64, classes)
    np.testing.assert_array_equal(decoded, ids)
    assert decoded.dtype == jnp.int32
    assert int(decoded[-1]) == classes - 1


def test_too_wide_is_refused():
    with pytest.raises(ValueError, match="not of 26"):
        pack(np.zeros(3, int), 26)
