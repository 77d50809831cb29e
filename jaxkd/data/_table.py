"""A table of paths and labels as a data set."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal

from jaxkd._files import local_path
from jaxkd.data._columns import read_columns
from jaxkd.data._crops import Crop
from jaxkd.data._encoded_images import EncodedImages
from jaxkd.data._files import checked_crop, images_from_files


def from_table(
    table: Any,
    *,
    path: str = "path",
    label: str | Sequence[str] | None = None,
    id: str | None = None,  # noqa: A002 - as the batch calls it
    root: str | os.PathLike[str] | None = None,
    size: int | None = None,
    crop: Crop | None = None,
    class_names: Any = (),
    num_classes: Any = None,
    corrupt: Literal["refuse", "skip"] = "refuse",
    index: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: str = "1",
    split: str = "all",
) -> EncodedImages:
    """Opens images that a table lists.

    Args:
      table: path of a `.csv`, `.tsv` or `.parquet` file, a data frame, a PyArrow table, or a
        dictionary of columns.
      path: column of the paths of the images.
      label: column of the labels: names of classes, numbers of classes, or values with a decimal
        point; nothing, or NaN: unlabeled. Several columns are as many label sets, of their names.
        None: all unlabeled.
      id: column of the example ids, integers or texts that stay. None: of the paths, as of
        `folder`.
      root: folder that the paths are relative to, by default that of the table.
      size: height and width of what is read, by default 224.
      crop: what is done to an image. None: `CenterCrop(size)`.
      class_names: names in the order of their ids; by label set where there are several. Empty:
        those that occur, in the order of text.
      num_classes: number of classes where labels are numbers; by label set where there are several.
      corrupt: as of `folder`; a file that is not there counts as well.
      index: as of `folder`.
      name: name of the data set, by default that of the table's file.
      version: version of the data set.
      split: name of the split.

    Returns:
      The images; `paths` has their paths.

    Raises:
      FileNotFoundError: files that are not there, unless `corrupt="skip"`.
      ImportError: a Parquet file without PyArrow.
      TypeError: labels that are neither names nor numbers, or no table.
      ValueError: no such column, a path or an id that is given twice, or as of `folder`.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> root = pathlib.Path(tempfile.mkdtemp())
      >>> for file in ("a.png", "b.png"):
      ...     Image.new("RGB", (60, 40)).save(root / file)
      >>> with open(root / "labels.csv", "w", encoding="utf-8") as file:
      ...     print("file,kind", "a.png,cat", "b.png,", sep=chr(10), file=file)
      >>> from_table(root / "labels.csv", path="file", label="kind", size=32)
      EncodedImages('labels' 1, split 'all': 2 images read as uint8[32, 32, 3], 1 labeled,
      1 classes)
    """
    file = local_path(table) if isinstance(table, str | os.PathLike) else None
    folder = local_path(root) if root is not None else file.parent if file else pathlib.Path.cwd()
    sets = [label] if isinstance(label, str) else list(label or ())
    columns = read_columns(table, [path, *sets, *([] if id is None else [id])])
    files = [_relative(folder, one, row) for row, one in enumerate(columns[path])]
    if len(set(files)) < len(files):
        twice = next(one for one in files if files.count(one) > 1)
        raise ValueError(
            f"{files.count(twice)} rows have the path {twice}: an example is listed once, so "
            "remove the others"
        )
    if corrupt != "skip":
        _check_there(folder, files)
    labels: Any = columns[sets[0]] if sets else [None] * len(files)
    if label is not None and not isinstance(label, str):
        labels = {one: columns[one] for one in sets}
    return images_from_files(
        folder,
        files,
        labels,
        ids=None if id is None else columns[id],
        crop=checked_crop(size, crop),
        class_names=class_names,
        num_classes=num_classes,
        corrupt=corrupt,
        index=index,
        name=name or (file.stem if file else "table"),
        version=version,
        split=split,
    )


def _relative(folder: pathlib.Path, path: Any, row: int) -> str:
    if path is None or path != path:
        raise ValueError(f"row {row} of the table has no path")
    given = pathlib.PurePath(os.path.normpath(str(path)))
    # Of a table that was written on this machine; it would not be found on another one.
    inside = given.is_absolute() and given.is_relative_to(folder)
    return (given.relative_to(folder) if inside else given).as_posix()


def _check_there(folder: pathlib.Path, files: Sequence[str]) -> None:
    missing = [file for file in files if not os.path.exists(folder / file)]
    if missing:
        raise FileNotFoundError(
            f"{len(missing)} of {len(files)} files of the table are not in {folder}, {missing[0]} "
            'first: say what paths are relative to, root="…", or leave these out, corrupt="skip"'
        )
