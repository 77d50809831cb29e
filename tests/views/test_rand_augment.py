import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from jaxkd.views import RandAugment
from jaxkd.views._rand_augment import OPERATIONS

MAGNITUDE = 17.0
STRENGTH = MAGNITUDE / 30
AUGMENT = RandAugment(1, MAGNITUDE)
PIXELS = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 9, 3), np.uint8)).resize((22, 18))
)
HEIGHT, WIDTH = PIXELS.shape[:2]


@pytest.fixture(scope="module")
def operations():
    """Every operation with both signs, `[14, 2, height, width, 3]`."""
    image = jnp.asarray(PIXELS, jnp.float32)
    numbers, signs = (
        jnp.repeat(jnp.arange(len(OPERATIONS)), 2),
        jnp.tile(jnp.array([1.0, -1.0]), 14),
    )
    run = jax.jit(jax.vmap(lambda number, sign: AUGMENT.apply(image, number, sign)))
    return np.asarray(run(numbers, signs)).reshape(len(OPERATIONS), 2, *PIXELS.shape)


def by_pillow(operation, sign):
    image = Image.fromarray(PIXELS)
    factor = 1 + sign * 0.9 * STRENGTH

    def affine(*matrix):
        nearest = Image.Resampling.NEAREST
        return image.transform(
            image.size, Image.Transform.AFFINE, matrix, nearest, fillcolor=(128,) * 3
        )

    return np.asarray(
        {
            "identity": lambda: image,
            "shear_x": lambda: affine(1, 0.3 * STRENGTH * sign, 0, 0, 1, 0),
            "shear_y": lambda: affine(1, 0, 0, 0.3 * STRENGTH * sign, 1, 0),
            "translate_x": lambda: affine(1, 0, int(150 / 331 * WIDTH * STRENGTH * sign), 0, 1, 0),
            "translate_y": lambda: affine(1, 0, 0, 0, 1, int(150 / 331 * HEIGHT * STRENGTH * sign)),
            "rotate": lambda: image.rotate(30 * STRENGTH * sign, fillcolor=(128,) * 3),
            "brightness": lambda: ImageEnhance.Brightness(image).enhance(factor),
            "color": lambda: ImageEnhance.Color(image).enhance(factor),
            "contrast": lambda: ImageEnhance.Contrast(image).enhance(factor),
            "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(factor),
            "posterize": lambda: ImageOps.posterize(image, 8 - round(4 * STRENGTH)),
            "solarize": lambda: ImageOps.solarize(image, 255 * (1 - STRENGTH)),
            "autocontrast": lambda: ImageOps.autocontrast(image),
            "equalize": lambda: ImageOps.equalize(image),
        }[operation]()
    )


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_operation_is_pillows(operation, operations):
    for column, sign in enumerate((1.0, -1.0)):
        own = operations[OPERATIONS.index(operation), column]
        # Pillow rounds where this stays in floats.
        np.testing.assert_allclose(own, by_pillow(operation, sign), atol=2)


def test_maps_move_with_their_image():
    augment = RandAugment(3, 25.0, fill=-1.0)
    ids = jnp.arange(16 * 16).reshape(16, 16, 1)
    keys = jax.random.split(jax.random.key(0), 12)
    moved = jax.jit(jax.vmap(lambda key: augment.on_map(key, ids, -1)))(keys)
    assert moved.dtype == ids.dtype and set(np.unique(moved)) <= set(range(-1, 256))
    moves = (np.asarray(moved) != np.asarray(ids)).any(axis=(1, 2, 3))
    assert 4 <= moves.sum() < 12  # nine of the fourteen operations move nothing


def test_what_moves_an_image_moves_its_map_to_the_same_place():
    augment = RandAugment(2, 30.0, fill=0.0)
    image = jnp.zeros((12, 12, 1)).at[3:9, 4:8].set(255.0)
    label_map = (image > 0).astype(jnp.int32)
    keys = [k for k in jax.random.split(jax.random.key(1), 60) if _only_moves(augment, k)][:4]
    assert len(keys) == 4
    run = jax.jit(lambda key: (augment(key, image), augment.on_map(key, label_map, -1)))
    for key in keys:
        seen, moved = run(key)
        assert (np.asarray(moved) != np.asarray(label_map)).any()
        np.testing.assert_array_equal(np.asarray(seen) > 0, np.asarray(moved) == 1)


def _only_moves(augment, key):
    return all(int(operation) < 5 for operation, _ in augment.choices(key))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RandAugment(0), "num_ops must be at least 1, not 0"),
        (lambda: RandAugment(magnitude=31), r"magnitude must lie in \[0, 30\], not 31"),
        (lambda: RandAugment(interpolation="cubic"), "one of .*'bilinear'.*, not 'cubic'"),
        (
            lambda: RandAugment()(jax.random.key(0), jnp.zeros((4, 4, 2))),
            r"takes images \[height, width, 1 or 3 channels\], not \[4, 4, 2\]",
        ),
        (
            lambda: RandAugment()(jax.random.key(0), jnp.zeros((4, 4, 3), jnp.int32)),
            "takes images of uint8, or floats from 0 to 255, not int32",
        ),
    ],
)
def test_bad_arguments_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
