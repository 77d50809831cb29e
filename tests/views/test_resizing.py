import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxkd.views import CenterCrop, RandomResizedCrop, Resize

KEY = jax.random.key(0)
PIXELS = np.random.default_rng(0).integers(0, 256, (13, 18, 3), np.uint8)
FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def by_pillow(box, size, interpolation):
    top, left, height, width = map(int, box)
    part = Image.fromarray(PIXELS).crop((left, top, left + width, top + height))
    return np.asarray(part.resize(size[::-1], FILTERS[interpolation]), float)


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("size", [(5, 7), (20, 31)])
def test_resizing_is_pillows(size, interpolation):
    own = jax.jit(Resize(size, interpolation))(KEY, PIXELS)
    assert own.dtype == jnp.float32 and own.min() >= 0 and own.max() <= 255
    # Pillow rounds after each of two passes.
    np.testing.assert_allclose(own, by_pillow((0, 0, 13, 18), size, interpolation), atol=1.7)


def test_one_number_is_the_shorter_side():
    resize, labels = Resize(26), jnp.zeros((18, 13, 1), jnp.int32)
    assert jax.eval_shape(resize, KEY, PIXELS).shape == (26, 36, 3)
    moved = jax.eval_shape(lambda labels: resize.on_map(KEY, labels, -1), labels)
    assert moved.shape == (36, 26, 1)


@pytest.mark.parametrize("interpolation", FILTERS)
def test_a_random_part_is_pillows_crop_and_resize(interpolation):
    crop = RandomResizedCrop(8, scale=(0.1, 0.6), interpolation=interpolation)
    run = jax.jit(lambda key: (crop(key, jnp.asarray(PIXELS)), crop.box(key, 13, 18)))
    for seed in range(4):
        own, box = run(jax.random.key(seed))
        np.testing.assert_allclose(own, by_pillow(box, (8, 8), interpolation), atol=1.7)


def test_parts_have_areas_and_ratios_within_their_bounds():
    crop = RandomResizedCrop(8, scale=(0.1, 0.5), ratio=(0.5, 2.0))
    keys = jax.random.split(KEY, 500)
    boxes = jax.jit(jax.vmap(lambda key: crop.box(key, 130, 180)))
    top, left, high, wide = map(np.asarray, boxes(keys))
    area, ratio = high * wide / (130 * 180), wide / high
    assert 0.09 < area.min() < 0.15 and 0.45 < area.max() < 0.52
    assert 0.48 < ratio.min() < 0.6 and 1.7 < ratio.max() < 2.05
    assert top.min() >= 0 and (top + high).max() <= 130
    assert left.min() >= 0 and (left + wide).max() <= 180
    assert len(set(zip(top.tolist(), left.tolist(), strict=True))) > 400


def test_where_no_attempt_fits_the_middle_is_shown():
    crop = RandomResizedCrop(8, scale=(1.0, 1.0), ratio=(0.75, 4 / 3))
    assert [int(x) for x in crop.box(KEY, 30, 90)] == [0, 25, 30, 40]
    assert [int(x) for x in crop.box(KEY, 80, 30)] == [20, 0, 40, 30]


def test_maps_take_the_nearest_values_of_the_same_part():
    crop, places = RandomResizedCrop(6, scale=(0.1, 0.6)), jnp.arange(13 * 18).reshape(13, 18, 1)
    run = jax.jit(lambda key: (crop.box(key, 13, 18), crop.on_map(key, places, None)))
    for seed in range(3):
        box, moved = run(jax.random.key(seed))
        top, left, high, wide = (int(x) for x in box)
        rows = np.floor(top + (np.arange(6) + 0.5) * high / 6).astype(int)
        columns = np.floor(left + (np.arange(6) + 0.5) * wide / 6).astype(int)
        wanted = np.asarray(places)[rows][:, columns]
        np.testing.assert_array_equal(moved, wanted)


def test_the_middle_is_cut_out_of_image_and_map():
    for size, wanted in ((5, PIXELS[4:9, 6:11]), ((13, 4), PIXELS[:, 7:11])):
        np.testing.assert_array_equal(CenterCrop(size)(KEY, jnp.asarray(PIXELS)), wanted)
        np.testing.assert_array_equal(CenterCrop(size).on_map(KEY, PIXELS, -1), wanted)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Resize(0), r"size must be a positive number .* not 0"),
        (lambda: Resize((3, 4, 5)), r"\(height, width\), not \(3, 4, 5\)"),
        (lambda: Resize(8, "nearest"), "interpolation must be one of .* not 'nearest'"),
        (lambda: RandomResizedCrop(8, scale=(0.5, 0.1)), r"scale must be .* not \(0.5, 0.1\)"),
        (lambda: RandomResizedCrop(8, ratio=(0.0, 1.0)), r"ratio must be .* not \(0.0, 1.0\)"),
        (lambda: CenterCrop(20)(KEY, PIXELS), r"resize it before, Resize\(20\)"),
        (lambda: Resize(8)(KEY, PIXELS[0]), r"takes images \[height, width, channels\], not"),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
