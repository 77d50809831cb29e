"""From the content of an image file to 8-bit pixels, upright, in the colors that were stored.

- The orientation of EXIF or XMP is applied, so that a photograph is read as viewers show it.
- Gray of 16 bits becomes gray of 8: `round(value / 257)`, so that black and white stay what they
  are. (Of colors of 16 bits Pillow keeps the upper 8.)
- Transparency is left out and the stored colors are kept, as `convert("RGB")` of torchvision's
  loader does. CMYK is converted by Pillow's formula; color profiles are not applied.
- Of animations and files of several pages the first picture is read.
- Integers of 32 bits and floating-point pixels have no range that is known, and are refused.
"""

import contextlib
import importlib.util
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL import Image

VERSION = 2
"""Raised whenever the pixels of any file change, as a cache's contract must notice."""

_ORIENTATION, _UPRIGHT = 0x0112, 1
# Formats that Pillow opens as 32 bits although they have 16.
_WIDENED = ("PNG", "PPM")


def check_pillow() -> None:
    """Refuses to open image files that could not be decoded.

    Raises:
      ImportError: Pillow is not installed; names the extra.
    """
    if importlib.util.find_spec("PIL") is None:
        raise ImportError(
            "Images in files are decoded by Pillow, which is not installed: "
            'pip install "jaxkd-distill[data]"'
        )


@contextlib.contextmanager
def open_image(content: bytes) -> Iterator["Image.Image"]:
    """Opens an image file for a crop: upright, 8 bits a channel, decoded as late as possible.

    Args:
      content: content of the file.

    Yields:
      The image, of any mode of 8 bits.

    Raises:
      ValueError: pixels of 32 bits.
    """  # noqa: DOC502 - of `_in_8_bits`
    from PIL import Image

    with Image.open(io.BytesIO(content)) as image:
        yield _in_8_bits(_upright(image))


def convert(image: "Image.Image", mode: str) -> "Image.Image":
    """Converts an image of any mode of 8 bits, without its transparency.

    Args:
      image: image from `open_image`.
      mode: `"RGB"`, or `"L"` for gray.

    Returns:
      The image in that mode.
    """
    image = _in_8_bits(image)
    if image.mode == mode:
        return image
    if image.mode in ("PA", "La", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        image = image.convert("RGBA")
    return image.convert(mode)


def _upright(image: "Image.Image") -> "Image.Image":
    from PIL import ImageOps

    try:
        orientation = image.getexif().get(_ORIENTATION, _UPRIGHT)
    except Exception:  # damaged metadata of a picture that is whole
        return image
    # Only then, since turning an image decodes all of it.
    return image if orientation == _UPRIGHT else ImageOps.exif_transpose(image)


def _in_8_bits(image: "Image.Image") -> "Image.Image":
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in _WIDENED):
        values = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    if image.mode in ("I", "F"):
        kind = "integers" if image.mode == "I" else "floating-point numbers"
        raise ValueError(
            f"its pixels are {kind} of 32 bits, whose black and white are not known: save it with "
            "8 or 16 bits"
        )
    return image
