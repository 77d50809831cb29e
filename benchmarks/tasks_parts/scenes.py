"""Scenes that are composed of Fashion-MNIST's images, and its images turned by an angle."""

import dataclasses

import numpy as np

from jaxkd.data import Dataset

SIZE = 32
"""Height and width of a scene in pixels."""

NUM_CLASSES = 10
BACKGROUND = 0
LARGEST_ANGLE = 60.0
"""Images are turned by at most so many degrees, which is the value 1 of a label."""

_ITEM, _CELL = 14, SIZE // 2
# Pixels of an item brighter than the one are of its class, those darker than the other are not; in
# between lies its soft edge, which does not count.
_INSIDE, _OUTSIDE = 48, 8


@dataclasses.dataclass(frozen=True)
class Scenes:
    """Images with one to three items of clothing on an empty ground, none of which covers another.

    Attributes:
      images: uint8 `[n, SIZE, SIZE, 1]`.
      classes: 0 or 1 for each class, whether an item of it is there, int32 `[n, 10]`.
      maps: class of each pixel plus 1, `BACKGROUND`, or -1 on the edges, int32 `[n, SIZE, SIZE]`.
    """

    images: np.ndarray
    classes: np.ndarray
    maps: np.ndarray


def compose(source: Dataset, count: int, seed: int) -> Scenes:
    """Places items at half their size in different quarters of a scene.

    Args:
      source: images of 28×28 pixels with their classes.
      count: number of scenes.
      seed: seed of the choices.

    Returns:
      The scenes.
    """
    generator = np.random.default_rng(seed)
    images = np.zeros((count, SIZE, SIZE, 1), np.uint8)
    classes = np.zeros((count, NUM_CLASSES), np.int32)
    maps = np.full((count, SIZE, SIZE), BACKGROUND, np.int32)
    items = _halved(source.inputs)
    for scene in range(count):
        cells = generator.permutation(4)[: generator.integers(1, 4)]
        for cell in cells:
            row = generator.integers(len(items))
            top, left = (
                _CELL * part + generator.integers(_CELL - _ITEM + 1) for part in divmod(cell, 2)
            )
            place = (scene, slice(top, top + _ITEM), slice(left, left + _ITEM))
            item, label = items[row], int(source.labels[row])
            images[place] = item[..., None]
            classes[scene, label] = 1
            edge = np.where(item > _OUTSIDE, -1, BACKGROUND)
            maps[place] = np.where(item > _INSIDE, label + 1, edge)
    return Scenes(images, classes, maps)


def turned(source: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Turns each image by an angle of its own.

    Args:
      source: images of 28×28 pixels.
      seed: seed of the angles, which are uniform.

    Returns:
      The images, uint8 of the same shape, and the angles over `LARGEST_ANGLE`, float32 `[n]`.
    """
    from scipy import ndimage

    shares = np.random.default_rng(seed).uniform(-1, 1, len(source)).astype(np.float32)
    images = np.stack(
        [
            ndimage.rotate(image[..., 0], LARGEST_ANGLE * share, reshape=False, order=1)
            for image, share in zip(source.inputs, shares, strict=True)
        ]
    )
    return images[..., None], shares


def _halved(images: np.ndarray) -> np.ndarray:
    """Returns the means of squares of two by two pixels, `[n, 14, 14]`."""
    blocks = images.reshape(len(images), _ITEM, 2, _ITEM, 2).astype(np.float32)
    return np.round(blocks.mean((2, 4))).astype(np.uint8)
