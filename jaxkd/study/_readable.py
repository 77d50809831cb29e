"""Held-out images that cannot be decoded, found before anything is trained."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxkd.data import EncodedImages, Examples

_READ = 512


def check_readable(parts: Iterable[Examples]) -> None:
    """Decodes all images of some data once, where they are decoded as they are read.

    A file that is replaced makes other data, whose results are not those of the folder of a study:
    what was trained until then would be lost.

    Args:
      parts: held-out data.

    Raises:
      ValueError: an image that cannot be decoded; names its file.
    """  # noqa: DOC502 - of `EncodedImages.read`
    for part in parts:
        if isinstance(part, EncodedImages):
            for ids in np.split(part.ids, range(_READ, len(part), _READ)):
                part.read(ids, 0)
