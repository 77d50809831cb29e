"""Image files and their labels become a data set, for every source that lists files."""

import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd._files import local_path
from jaxkd.data._crops import CenterCrop, Crop
from jaxkd.data._decoding import check_pillow
from jaxkd.data._encoded_images import EncodedImages
from jaxkd.data._fields import take
from jaxkd.data._file_checks import Checked, check_files, digests_of, read_index, write_index
from jaxkd.data._image_files import ImageFiles
from jaxkd.data._label_values import encode_labels
from jaxkd.data._path_ids import checked_ids, path_ids

_SHOWN = 5  # files that a message names


def images_from_files(
    root: pathlib.Path,
    files: Sequence[str],
    labels: Sequence[Any] | Mapping[str, Sequence[Any]],
    *,
    ids: Sequence[int | str] | None = None,
    crop: Crop,
    class_names: Any,
    num_classes: Any,
    corrupt: str,
    index: str | os.PathLike[str] | None,
    **names: Any,
) -> EncodedImages:
    """Makes images of files, ids of their paths and class ids of their labels; see `folder`.

    Args:
      root: folder of the files.
      files: their relative paths, each one once.
      labels: name or number of the class of each, None for unlabeled; or several such by name.
      ids: their example ids, or texts that ids are made of; None: made of the paths.
      crop: what is done to an image.
      class_names: names of the classes, or empty.
      num_classes: number of classes, or None.
      corrupt: `"refuse"` or `"skip"`.
      index: path of the index, or None.
      **names: name, version and split of the data set.

    Returns:
      The images.

    Raises:
      ValueError: as of `folder`.
    """
    if corrupt not in ("refuse", "skip"):
        raise ValueError(f'corrupt must be "refuse" or "skip", not {corrupt!r}')
    check_pillow()  # before the files are read, of which none could be decoded
    encoded, classes = encode_labels(labels, class_names, num_classes, files.__getitem__)
    entries = _entries(root, files, index, corrupt == "skip")
    own = checked_ids(ids) if ids is not None else [entries[file].id for file in files]
    errors = {file: entry.error for file, entry in entries.items() if entry.error}
    if errors and corrupt == "refuse":
        raise ValueError(
            f'{_listed(errors, len(files), root)}. Replace them, or leave them out: corrupt="skip"'
        )
    if errors:
        # Of the line that called `folder` or `from_table`.
        warnings.warn(f"left out: {_listed(errors, len(files), root)}", stacklevel=3)
    kept = np.array([place for place, file in enumerate(files) if file not in errors], int)
    paths = [files[place] for place in kept]
    checked = corrupt == "skip" or index is not None
    digests = digests_of(entries[file] for file in paths) if checked else None
    return EncodedImages.from_source(
        ImageFiles(str(root), paths, digests, errors),
        None if encoded is None else take(encoded, kept),
        crop=crop,
        ids=np.asarray(own)[kept],
        **classes,
        **names,
    )


def checked_crop(size: int | None, crop: Crop | None) -> Crop:
    """Returns the crop that a size or a crop asks for.

    Args:
      size: height and width, or None.
      crop: the crop, or None.

    Raises:
      ValueError: the crop is of another size.
    """
    if crop is None:
        return CenterCrop(224 if size is None else size)
    if size not in (None, crop.size):
        raise ValueError(f"the crop has size {crop.size}, size is {size}: leave one of them out")
    return crop


def _entries(
    root: pathlib.Path,
    files: Sequence[str],
    index: str | os.PathLike[str] | None,
    check: bool,
) -> dict[str, Checked]:
    """Ids of files, and what an index or a look at them says of each."""
    file = None if index is None else local_path(index)
    known = {} if file is None else read_index(file)
    ids = path_ids(files, {name: entry.id for name, entry in known.items()})
    entries = {
        name: known.get(name) or Checked(one) for name, one in zip(files, ids.tolist(), strict=True)
    }
    if check or file is not None:
        check_files(str(root), entries)
    if file is not None:
        write_index(file, known | entries)
    return entries


def _listed(errors: dict[str, str], total: int, root: pathlib.Path) -> str:
    first = "; ".join(f"{file}: {error}" for file, error in list(errors.items())[:_SHOWN])
    more = "; …" if len(errors) > _SHOWN else ""
    return f"{len(errors)} of {total} files in {root} cannot be decoded ({first}{more})"
