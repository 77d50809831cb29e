"""The order of the axes of images: channels last in views, often first in models elsewhere."""

from typing import Any

import numpy as np

LAYOUTS = ("NCHW", "NHWC")


def check_layout(layout: str | None) -> None:
    """Refuses a layout of another name."""
    if layout is not None and layout not in LAYOUTS:
        raise ValueError(f"layout must be 'NCHW', 'NHWC' or None, not {layout!r}")


def is_image(leaf: Any) -> bool:
    """Returns whether an array has the four axes of a batch of images."""
    return np.ndim(leaf) == 4


def arranged(leaf: Any, layout: str | None) -> Any:
    """Returns an array of channels last in another layout; what is no batch of images, as it is.

    Args:
      leaf: `[batch, height, width, channels]`, or of another number of axes.
      layout: `"NCHW"`, or `"NHWC"` or None for no change.
    """
    if layout != "NCHW" or not is_image(leaf):
        return leaf
    return np.ascontiguousarray(np.moveaxis(leaf, -1, 1))


def fits_both(teacher: str, shape: Any) -> ValueError:
    """Returns the error on images of which both layouts fit a teacher.

    Args:
      teacher: name of the teacher.
      shape: of the views.
    """
    return ValueError(
        f"the teacher {teacher} takes the images {tuple(shape)} both with channels last and with "
        "channels first, so nothing says which it was trained on: write layout='NCHW' (PyTorch's "
        "own), or layout='NHWC' if it takes them as the views have them"
    )
