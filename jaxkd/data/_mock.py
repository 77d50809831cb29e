"""Synthetic images with classes that can be learned, where the real ones are not available."""

import io

import numpy as np

_GRID = 4  # patches of a class's pattern in each direction
_CLASSES, _EXAMPLES = 0, 1  # uses of a stream of random numbers


def mock_labels(n: int, num_classes: int, split: str, seed: int) -> np.ndarray:
    """Returns labels, as many of each class as of the others, in random order.

    Args:
      n: number of examples.
      num_classes: number of classes.
      split: name of the split, each of which has an order of its own.
      seed: seed of the order.

    Returns:
      int32 `[n]`.
    """
    raw = np.random.PCG64(_stream(seed, _CLASSES, split)).random_raw(n)
    return (np.argsort(raw, kind="stable") % num_classes).astype(np.int32)


def mock_images(labels: np.ndarray, shape: tuple[int, ...], split: str, seed: int) -> np.ndarray:
    """Returns images of their class's pattern, which all splits share, half covered by noise.

    Args:
      labels: int `[n]`.
      shape: shape of an image, `(height, width, channels)`.
      split: name of the split, each of which has noise of its own.
      seed: seed of patterns and noise.

    Returns:
      uint8 `[n, height, width, channels]`.
    """
    height, width, channels = shape
    raw = _bytes((seed, _CLASSES), (int(labels.max(initial=0)) + 1) * _GRID * _GRID * channels)
    patches = raw.reshape(-1, _GRID, _GRID, channels)
    rows, columns = (np.arange(size) * _GRID // size for size in (height, width))
    images = _bytes(_stream(seed, _EXAMPLES, split), len(labels) * height * width * channels)
    images = images.reshape(len(labels), *shape) // 2
    for image, label in zip(images, labels, strict=True):
        image += patches[label][rows[:, None], columns] // 2
    return images


def mock_jpegs(labels: np.ndarray, split: str, seed: int, side: int = 500) -> list[bytes]:
    """Returns JPEG files of many sizes, of landscape and portrait format, some of them gray.

    Args:
      labels: int `[n]`.
      split: as in `mock_images`.
      seed: as in `mock_images`.
      side: length of the longer side in pixels.

    Returns:
      The content of `n` files, deterministic up to Pillow's encoder.
    """
    from PIL import Image

    # Noise of a third of the size gives files as large as photographs have.
    coarse = mock_images(labels, (side // 4, side // 3, 3), split, seed)
    raw = np.random.PCG64(_stream(seed, _EXAMPLES + 1, split)).random_raw(len(labels))
    files = []
    for image, number in zip(coarse, raw.tolist(), strict=True):
        shorter = side * (60 + number % 41) // 100
        portrait, gray = number // 64 % 4 == 0, number // 1024 % 64 == 0
        size = (shorter, side) if portrait else (side, shorter)
        photo = Image.fromarray(image).resize(size, Image.Resampling.BICUBIC)
        file = io.BytesIO()
        (photo.convert("L") if gray else photo).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def check_mock(mock: int, split: str) -> None:
    """Refuses a negative number of examples, and a split without a name."""
    if mock < 0:
        raise ValueError(f"mock must be the number of examples to make up, or 0, got {mock}")
    if not split:
        raise ValueError("split must name a split, got an empty string")


def _stream(seed: int, use: int, split: str) -> tuple[int, ...]:
    return (seed, use, *split.encode())


def _bytes(entropy: tuple[int, ...], n: int) -> np.ndarray:
    raw = np.random.PCG64(entropy).random_raw(-(-n // 8))
    return raw.astype("<u8").view(np.uint8)[:n]
