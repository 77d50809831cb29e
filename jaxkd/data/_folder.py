"""A folder of image files as a data set, class by folder."""

import os
import pathlib
import warnings
from collections.abc import Callable, Sequence
from typing import Any, Literal

from jaxkd._files import local_path
from jaxkd.data._crops import Crop
from jaxkd.data._encoded_images import EncodedImages
from jaxkd.data._files import checked_crop, images_from_files
from jaxkd.data._image_files import list_images

_SHOWN = 5  # folders that a message names
_SPLITS = ("train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval")


def folder(
    path: str | os.PathLike[str],
    *,
    size: int | None = None,
    crop: Crop | None = None,
    labels: Callable[[str], str | int | None] | None = None,
    class_names: Sequence[str] = (),
    num_classes: int | None = None,
    corrupt: Literal["refuse", "skip"] = "refuse",
    index: str | os.PathLike[str] | None = None,
    name: str | None = None,
    version: str = "1",
    split: str | None = None,
) -> EncodedImages:
    """Opens a folder of images, each of the class of the folder that it lies in.

    Files are listed, not opened: an image is decoded when a batch has it. Its id is a hash of its
    path relative to the folder, so a folder may grow, and what a cache holds of it stays right.
    Hidden files, and those that are no images by their suffix, are passed over; links are followed.
    A cache reads all files once to name their contents.

    Args:
      path: the folder, such as `"pets/train"`. The class of `cats/tabby/1.jpg` is `cats`; where
        there are no folders in it, the images are unlabeled.
      size: height and width of what is read, by default 224.
      crop: what is done to an image. None: `CenterCrop(size)`, the same in every view; for training
        on random parts, `RandomResizedCrop(size)`.
      labels: class of a file by its relative path, such as
        `lambda path: path.split("/")[-2]` or `table.get`: a name, a number, or None for unlabeled.
      class_names: names in the order of their ids, such as those of the training split. Empty: the
        folders, or whatever `labels` returns, in the order of text.
      num_classes: number of classes, where `labels` returns numbers.
      corrupt: `"refuse"` raises an error at the first file that cannot be decoded, when it is read.
        `"skip"` decodes all files now, leaves out those that cannot be, and names them in a warning
        and in `source.skipped`.
      index: a file that remembers which files decode, the digests of their contents and their ids.
        It is created by reading all of them; afterwards only files that are new or changed are read
        here, and caches open without reading any. All files that cannot be decoded are named now.
      name: name of the data set, by default that of the folder, or of the one above `train`, `test`
        and the like.
      version: version of the data set.
      split: name of the split, by default `train`, `test` or the like if the folder has such a
        name, and `all` otherwise.

    Returns:
      The images, read as uint8 `[batch, size, size, 3]`; `paths` has their paths.

    Raises:
      FileNotFoundError: no such folder, or no image in it.
      NotADirectoryError: a file, such as an archive or a table.
      TypeError: labels that are neither names nor integers.
      ValueError: images beside class folders, a class that is not in `class_names`, with an index
        files that cannot be decoded, or a crop of another size.

    Example:
      >>> import tempfile
      >>> from PIL import Image
      >>> root = pathlib.Path(tempfile.mkdtemp(), "pets", "train")
      >>> for kind, color in {"cats": "gray", "dogs": "brown"}.items():
      ...     (root / kind).mkdir(parents=True)
      ...     Image.new("RGB", (60, 40), color).save(root / kind / "1.JPG")
      >>> photos = folder(root, size=32)
      >>> photos
      EncodedImages('pets' 1, split 'train': 2 images read as uint8[32, 32, 3], 2 labeled,
      2 classes)
      >>> sorted(photos.paths), photos.class_names
      (['cats/1.JPG', 'dogs/1.JPG'], ('cats', 'dogs'))
    """
    root = local_path(path)
    if not root.is_dir():
        what = "a file" if root.exists() else "nothing"
        raise (NotADirectoryError if root.exists() else FileNotFoundError)(
            f"{root.absolute()} is no folder of images, there is {what}: data.folder takes the "
            'folder that holds one of each class, data.folder("pets/train", size=224)'
        )
    files, folders = list_images(str(root))
    if not files:
        raise FileNotFoundError(
            f"{root} has no image: looked for .jpg, .png, .webp and other formats in it and in "
            f"its {len(folders)} folders"
        )
    if labels is not None:
        classes: list[Any] = [labels(file) for file in files]
    else:
        classes = _classes(root, files, folders)
        class_names = class_names or (folders if len(folders) and "/" in files[0] else ())
    found_name, found_split = _names(root)
    return images_from_files(
        root,
        files,
        classes,
        crop=checked_crop(size, crop),
        class_names=class_names,
        num_classes=num_classes,
        corrupt=corrupt,
        index=index,
        name=name or found_name,
        version=version,
        split=split or found_split,
    )


def _classes(root: pathlib.Path, files: Sequence[str], folders: Sequence[str]) -> list[str | None]:
    beside = [file for file in files if "/" not in file]
    if len(beside) == len(files):
        return [None] * len(files)
    if beside:
        raise ValueError(
            f"{len(beside)} of {len(files)} images in {root} lie beside the folders of the "
            f"classes, {beside[0]} first: move them into one, or say what the class of a file is, "
            'as labels=lambda path: path.split("/")[0] if "/" in path else None'
        )
    classes = [file.partition("/")[0] for file in files]
    if empty := sorted(set(folders) - set(classes)):
        warnings.warn(
            f"{len(empty)} of {len(folders)} folders in {root} have no image and are classes "
            f"nevertheless: {', '.join(empty[:_SHOWN])}",
            stacklevel=3,
        )
    return list(classes)


def _names(root: pathlib.Path) -> tuple[str, str]:
    """Name and split of a folder."""
    if root.name.lower() in _SPLITS and root.parent.name:
        return root.parent.name, root.name
    return root.name or "folder", "all"
