import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd.views import ColorJitter, RandomErasing
from jaxkd.views._color import brightness, contrast, saturation, turn_hue

PIXELS = np.random.default_rng(0).integers(0, 256, (5, 6, 3)).astype(np.float32)
PIXELS[0, 0], PIXELS[0, 1] = 0, 77  # black and gray have no hue
LUMA = PIXELS @ np.array([0.299, 0.587, 0.114], np.float32)


@pytest.mark.parametrize("factor", [0.3, 1.6])
def test_blends_are_what_they_say(factor):
    def between(other):
        return np.clip(factor * PIXELS + (1 - factor) * other, 0, 255)

    blend = jax.jit(lambda x, factor: [f(x, factor) for f in (brightness, contrast, saturation)])
    own = blend(PIXELS, factor)
    wanted = [between(0), between(LUMA.mean()), between(LUMA[..., None])]
    for a, b in zip(own, wanted, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("turn", [0.3, -0.2])
def test_hue_is_turned_as_by_the_standard_library(turn):
    wanted = np.empty_like(PIXELS)
    for place in np.ndindex(5, 6):
        hue, chroma, value = colorsys.rgb_to_hsv(*(PIXELS[place] / 255))
        wanted[place] = colorsys.hsv_to_rgb((hue + turn) % 1, chroma, value)
    np.testing.assert_allclose(jax.jit(turn_hue)(PIXELS, turn), 255 * wanted, atol=1e-2)


def test_jitter_scales_at_random_within_its_strength():
    image, keys = jnp.full((2, 2, 3), 100, jnp.uint8), jax.random.split(jax.random.key(0), 200)
    scaled = jax.jit(jax.vmap(lambda key: ColorJitter(0.3, 0, 0, 0)(key, image)))(keys)
    factors = np.asarray(scaled)[:, 0, 0, 0] / 100
    assert scaled.dtype == jnp.float32 and 0.7 <= factors.min() < 0.72 < 1.28 < factors.max() <= 1.3
    np.testing.assert_array_equal(ColorJitter(0, 0, 0, 0)(keys[0], image), image)


def test_the_order_of_the_operations_is_random():
    # Between brightness, which clips, and contrast the order tells.
    jitter, image = ColorJitter(1.0, 1.0, 0, 0), jnp.asarray(PIXELS)
    keys = jax.random.split(jax.random.key(1), 20)
    jittered = np.asarray(jax.jit(jax.vmap(lambda key: jitter(key, image)))(keys))

    @jax.jit
    @jax.vmap
    def in_both_orders(key):
        one, two = (jax.random.uniform(jax.random.fold_in(key, n), maxval=2.0) for n in range(2))
        return contrast(brightness(image, one), two), brightness(contrast(image, two), one)

    orders = set()
    for *both, own in zip(*in_both_orders(keys), jittered, strict=True):
        fits = [np.allclose(own, wanted, atol=0.05) for wanted in both]
        assert any(fits)
        orders.add(tuple(fits))
    assert {(True, False), (False, True)} <= orders


def test_gray_images_have_no_hue_and_values_stay_in_their_range():
    gray = jnp.asarray(PIXELS[..., :1])
    np.testing.assert_array_equal(ColorJitter(0, 0, 0.9, 0.5)(jax.random.key(0), gray), gray)
    strong = jax.jit(ColorJitter(2.0, 2.0, 2.0, 0.5))(jax.random.key(0), jnp.asarray(PIXELS))
    assert strong.min() >= 0 and strong.max() <= 255


def test_erasing_covers_one_rectangle_with_its_probability():
    erase, keys = RandomErasing(0.7, scale=(0.1, 0.3)), jax.random.split(jax.random.key(0), 300)
    image = jnp.ones((20, 16, 2), jnp.uint8)
    covered = np.asarray(jax.jit(jax.vmap(lambda key: erase(key, image)))(keys)) == 0
    shares = covered.mean(axis=(1, 2, 3))
    assert 0.6 < (shares > 0).mean() < 0.8
    assert 0.07 < shares[shares > 0].min() < 0.15 < 0.25 < shares.max() < 0.33
    for hole in covered[shares > 0]:
        rows, columns = hole.any(axis=(1, 2)), hole.any(axis=(0, 2))
        np.testing.assert_array_equal(hole, (rows[:, None] & columns)[..., None] & [True, True])
        assert np.diff(np.flatnonzero(rows)).max(initial=1) == 1
    filled = RandomErasing(1.0, fill=7.0)(keys[0], image)
    assert filled.dtype == jnp.uint8 and set(np.unique(filled)) == {1, 7}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ColorJitter(brightness=-1), "brightness must not be negative, not -1"),
        (lambda: ColorJitter(hue=0.6), "hue must not be negative, and at most 0.5, not 0.6"),
        (lambda: RandomErasing(2.0), r"probability must lie in \[0, 1\], not 2.0"),
        (lambda: RandomErasing(scale=(0.5, 2.0)), r"scale must be .* <= 1, not \(0.5, 2.0\)"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
