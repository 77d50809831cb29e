"""Crops: photographs of any size become arrays of one size, on the host.

A crop is a frozen dataclass called as `crop(image, example_id, view)`. Its choices are a function
of these numbers and of its own seed, so a crop is replayed like any other view; its fields are part
of a cache's contract. What needs no decoding (flips, colors, normalizing, mixing) is left to
`jaxkd.Views`, inside the compiled step.
"""

import dataclasses
import math
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from jaxkd.data._decoding import convert

if TYPE_CHECKING:
    from PIL import Image

# An attempt takes four random numbers: area, aspect ratio, and the two coordinates of its corner.
_ATTEMPTS, _NUMBERS = 10, 4
_FILTERS = ("bilinear", "bicubic")


@runtime_checkable
class Crop(Protocol):
    """How `EncodedImages` are decoded: a frozen dataclass, whose fields a cache can store.

    Attributes:
      size: height and width of the arrays.

    Example:
      >>> @dataclasses.dataclass(frozen=True)
      ... class Squeezed:
      ...     size: int
      ...     def __call__(self, image, example_id, view):
      ...         return np.asarray(image.convert("RGB").resize((self.size, self.size)))
      >>> isinstance(Squeezed(32), Crop)
      True
    """

    @property
    def size(self) -> int:
        """Height and width of the arrays."""

    def __call__(self, image: "Image.Image", example_id: int, view: int) -> np.ndarray:
        """Returns uint8 `[size, size, 3]` of an opened image, decoded only if it had to be turned.

        Args:
          image: opened image: upright, 8 bits a channel, of any mode.
          example_id: id of the example.
          view: number of the view.
        """


@dataclasses.dataclass(frozen=True)
class RandomResizedCrop:
    """A random part of an image, resized: how ImageNet networks are trained.

    The part has a random area and a random aspect ratio (Szegedy et al., Going Deeper with
    Convolutions, 2015; the rule of torchvision's `RandomResizedCrop`: ten attempts, then the
    largest part in the middle whose aspect ratio is allowed).

    Attributes:
      size: height and width of the result in pixels.
      scale: smallest and largest area, as a fraction of the image's.
      ratio: smallest and largest aspect ratio, width over height.
      seed: seed of the choices, which are a function of `(seed, example_id, view)`.
      interpolation: `"bilinear"` or `"bicubic"`, both with antialiasing.
      draft: whether a JPEG of which at most half the pixels in each direction are wanted is decoded
        at 1/2, 1/4 or 1/8 of its size, which is faster and differs by a little in the pixels. False
        gives what torchvision gives for the same part.

    Example:
      >>> from PIL import Image
      >>> crop = RandomResizedCrop(32)
      >>> image = Image.new("RGB", (80, 60))
      >>> crop(image, example_id=7, view=0).shape, crop.box(80, 60, example_id=7, view=0)
      ((32, 32, 3), (43, 18, 69, 40))
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    seed: int = 0
    interpolation: str = "bilinear"
    draft: bool = True

    def __post_init__(self) -> None:
        _check(self.size, self.interpolation)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(
                f"scale must be (low, high) with 0 < low <= high <= 1, not {self.scale}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"ratio must be (low, high), both positive, not {self.ratio}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")

    def box(self, width: int, height: int, example_id: int, view: int) -> tuple[int, ...]:
        """Returns the part that is cut out of an image of this size.

        Args:
          width: width of the image in pixels.
          height: height of the image in pixels.
          example_id: id of the example.
          view: number of the view.

        Returns:
          `(left, upper, right, lower)` in pixels.
        """
        # NumPy guarantees the raw stream of a bit generator, not the results of its samplers.
        raw = np.random.PCG64((self.seed, example_id, view)).random_raw(_ATTEMPTS * _NUMBERS)
        uniform = ((raw >> np.uint64(11)) * 2.0**-53).tolist()
        log_ratio = math.log(self.ratio[0]), math.log(self.ratio[1])
        for attempt in range(_ATTEMPTS):
            area, aspect, x, y = uniform[_NUMBERS * attempt : _NUMBERS * (attempt + 1)]
            target = width * height * _interpolate(self.scale, area)
            ratio = math.exp(_interpolate(log_ratio, aspect))
            wide, high = round(math.sqrt(target * ratio)), round(math.sqrt(target / ratio))
            if 0 < wide <= width and 0 < high <= height:
                left, upper = int(x * (width - wide + 1)), int(y * (height - high + 1))
                return left, upper, left + wide, upper + high
        wide, high = width, height
        if width < self.ratio[0] * height:
            high = max(1, round(width / self.ratio[0]))
        elif width > self.ratio[1] * height:
            wide = max(1, round(height * self.ratio[1]))
        left, upper = (width - wide) // 2, (height - high) // 2
        return left, upper, left + wide, upper + high

    def __call__(self, image: "Image.Image", example_id: int, view: int) -> np.ndarray:
        """Decodes the part of an image that this view shows.

        Args:
          image: opened image of any mode.
          example_id: id of the example.
          view: number of the view.

        Returns:
          uint8 `[size, size, 3]`.
        """
        width, height = image.size
        left, upper, right, lower = self.box(width, height, example_id, view)
        x = y = 1.0
        if self.draft:
            x, y = _drafted(image, self.size / (right - left), self.size / (lower - upper))
        box = left * x, upper * y, right * x, lower * y
        # Cut first, at whole pixels, so that nothing outside of the part colors its border.
        corner = math.floor(box[0]), math.floor(box[1])
        part = convert(image, "RGB").crop((*corner, math.ceil(box[2]), math.ceil(box[3])))
        inside = tuple(side - corner[axis % 2] for axis, side in enumerate(box))
        return _resized(part, self.size, self.size, self.interpolation, inside)


@dataclasses.dataclass(frozen=True)
class CenterCrop:
    """The middle of an image whose shorter side was resized: how ImageNet networks are evaluated.

    As torchvision's `Resize(resize)` and `CenterCrop(size)`. Every view shows the same.

    Attributes:
      size: height and width of the result in pixels.
      resize: length of the shorter side before the crop, at least `size`; None: 8/7 of the size,
        the usual 256 for 224 and 342 for 299.
      interpolation: `"bilinear"` or `"bicubic"`, both with antialiasing.
      draft: whether a JPEG is decoded at a fraction of its size, as of `RandomResizedCrop`.

    Example:
      >>> from PIL import Image
      >>> CenterCrop(224).resize, CenterCrop(299).resize
      (256, 342)
      >>> CenterCrop(32)(Image.new("L", (80, 60)), example_id=7, view=0).shape
      (32, 32, 3)
    """

    size: int = 224
    resize: int | None = None
    interpolation: str = "bilinear"
    draft: bool = True

    def __post_init__(self) -> None:
        _check(self.size, self.interpolation)
        if self.resize is None:
            object.__setattr__(self, "resize", round(self.size * 8 / 7))
        assert self.resize is not None
        if self.resize < self.size:
            raise ValueError(f"resize must be at least the size {self.size}, not {self.resize}")

    def __call__(self, image: "Image.Image", example_id: int, view: int) -> np.ndarray:
        """Decodes the middle of an image.

        Args:
          image: opened image of any mode.
          example_id: makes no difference.
          view: makes no difference.

        Returns:
          uint8 `[size, size, 3]`.
        """
        del example_id, view
        width, height = image.size
        shorter = min(width, height)
        assert self.resize is not None
        wide, high = (int(self.resize * side / shorter) for side in (width, height))
        x = y = 1.0
        if self.draft:
            x, y = _drafted(image, wide / width, high / height)
        box = 0.0, 0.0, width * x, height * y
        resized = _resized(convert(image, "RGB"), wide, high, self.interpolation, box)
        upper, left = round((high - self.size) / 2.0), round((wide - self.size) / 2.0)
        return resized[upper : upper + self.size, left : left + self.size]


def _check(size: int, interpolation: str) -> None:
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, not {size}")
    if interpolation not in _FILTERS:
        raise ValueError(f"interpolation must be one of {_FILTERS}, not {interpolation!r}")


def _interpolate(bounds: tuple[float, float], fraction: float) -> float:
    return bounds[0] + (bounds[1] - bounds[0]) * fraction


def _drafted(image: "Image.Image", x: float, y: float) -> tuple[float, float]:
    """Has a JPEG decoded no smaller than these parts of its width and height, but near them.

    Returns:
      The parts of both at which it will be decoded: 1, 1/2, 1/4 or 1/8.
    """
    width, height = image.size
    larger = max(x, y)
    drafted = image.draft("RGB", (math.ceil(width * larger), math.ceil(height * larger)))
    if drafted is None:  # another format
        return 1.0, 1.0
    return drafted[1][2] / width, drafted[1][3] / height


def _resized(
    image: "Image.Image", wide: int, high: int, interpolation: str, box: tuple[float, ...]
) -> np.ndarray:
    from PIL import Image

    method = Image.Resampling[interpolation.upper()]
    return np.asarray(image.resize((wide, high), method, box=box))  # type: ignore[arg-type]
