"""Photographs that stay in their files and are decoded when they are read."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data import _decoding
from jaxkd.data._by_content import ByContent
from jaxkd.data._crops import Crop
from jaxkd.data._digests import content_digests
from jaxkd.data._examples import Examples, integers, refuse
from jaxkd.data._fields import take
from jaxkd.data._image_files import ImageFiles
from jaxkd.data._labels import check_fields, classes_of, describe_labels
from jaxkd.data._read_contents import HEADER, map_threads, read_all
from jaxkd.views._views import specification

_READ = 256  # files that are read at once to be hashed


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class EncodedImages(ByContent):
    """Examples whose images lie encoded in files, too many for memory.

    Everything that takes a `Dataset` takes `EncodedImages` as well: loaders, evaluation, caches. An
    image is decoded and cropped when it is read, as a function of its id and its view alone, in all
    threads of the processor: upright, as its EXIF says; 16 bits become 8; of an animation the first
    picture; transparency is left out. Build them with `EncodedImages.from_source`, or
    `jaxkd.data.imagenet.load`.

    A JPEG decoder may round otherwise than another: where a cache is opened, a few rendered images
    are compared with those that its teacher was run on, as is the crop that made them.

    Attributes:
      name: name of the data set.
      version: its version.
      split: name of the split.
      ids: int32 `[n]`, unique, ascending.
      positions: int `[n]`, where each example is in `source`.
      labels: int32 or float32 `[n, ...]`, or name → such an array, as of a `Dataset`.
      num_classes: number of classes, None of values; by name where labels are.
      source: encoded images by position. Read by several threads at once, and pickled for workers.
      crop: makes an array of an image.
      digest: fingerprint of the content; None: computed from the content when it is asked for.
      class_names: one name a class, or empty; by name where labels are.

    Example:
      >>> import io
      >>> from PIL import Image
      >>> from jaxkd.data import CenterCrop
      >>> file = io.BytesIO()
      >>> Image.new("RGB", (60, 40), "red").save(file, "JPEG")
      >>> photos = EncodedImages.from_source(
      ...     [file.getvalue()] * 3, [0, 1, 0], crop=CenterCrop(32), name="photos",
      ...     split="train", num_classes=2)
      >>> photos
      EncodedImages('photos' 1, split 'train': 3 images read as uint8[32, 32, 3], 3 labeled,
      2 classes)
      >>> photos.read([2, 0], view=0).shape
      (2, 32, 32, 3)
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    positions: npt.NDArray[np.integer]
    labels: Any
    num_classes: Any
    source: Sequence[bytes]
    crop: Crop
    digest: str | None
    class_names: Any = ()
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "positions", "labels")

    @classmethod
    def from_source(
        cls,
        source: Sequence[bytes],
        labels: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None = None,
        *,
        crop: Crop,
        name: str,
        version: str = "1",
        split: str,
        num_classes: int | Mapping[str, int | None] | None = None,
        ids: npt.ArrayLike | None = None,
        class_names: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
        ignore_label: int | None = None,
        fingerprint: str | None = None,
    ) -> Self:
        """Checks encoded images and their labels, and sorts them by id.

        Args:
          source: `source[position]` is the content of an image file, in any format that Pillow
            reads; anything with `__len__` and `__getitem__` that can be pickled. `ImageFiles` are
            read when a fingerprint is asked for, as by a cache, and not before.
          labels: integers in `[-1, num_classes)` or floats, `[n, ...]`, or several label sets by
            name, as of `Dataset.from_arrays`. None: all unlabeled.
          crop: `RandomResizedCrop`, `CenterCrop` or a frozen dataclass of one's own.
          name: name of the data set.
          version: version of the data set.
          split: name of the split.
          num_classes: number of classes, at least 1; by name where labels are. None where labels
            are values, or where there are none.
          ids: unique integers `[n]` in `[0, 2**31)`. None: positions in the source.
          class_names: one name a class, or empty; by name where labels are.
          ignore_label: an integer label that does not count; it becomes -1.
          fingerprint: name of the content; None reads all of it and hashes it with the ids.

        Returns:
          The images, in ascending order of ids.

        Raises:
          ImportError: Pillow, which decodes them, is not installed.
          TypeError: as of `Dataset.from_arrays`, and if the crop is no frozen dataclass.
          ValueError: as of `Dataset.from_arrays`.
        """
        _check_crop(crop)
        _decoding.check_pillow()
        n = len(source)
        ids, labels = check_fields(n, ids, labels, num_classes, class_names, ignore_label)
        positions = np.argsort(ids, kind="stable")
        ids, labels = ids[positions], take(labels, positions)
        refuse(np.append(False, ids[1:] == ids[:-1]), "id", ids, "must be unique")
        digests = None
        if fingerprint == "":
            raise ValueError(
                "fingerprint is empty, as that of every other data set would be: name the content, "
                "or leave it out, and it is read and hashed"
            )
        if fingerprint is None:
            if isinstance(source, ImageFiles):
                digests = source.digests
            else:
                fingerprint, digests = read_all(source, ids, positions)
        images = cls(
            name=name,
            version=version,
            split=split,
            ids=ids.astype(np.int32),
            positions=positions,
            labels=labels,
            source=source,
            crop=crop,
            digest=fingerprint,
            **classes_of(labels, num_classes, class_names),
        )
        images._remember(None if digests is None else digests[positions])
        return images

    def __repr__(self) -> str:
        return (
            f"EncodedImages({self.name!r} {self.version}, split {self.split!r}: {len(self)} images "
            f"read as uint8{list(self.shape)}, {describe_labels(self.labels, self.num_classes)})"
        )

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of each example's file in the order of `ids`, relative to its folder.

        Raises:
          AttributeError: the source has no files with names.
        """
        if not isinstance(self.source, ImageFiles):
            raise AttributeError(f"the images of {self.name} come from no files that have paths")
        return tuple(self.source.paths[position] for position in self.positions.tolist())

    def _read_digests(self, ids: np.ndarray) -> npt.NDArray[np.uint64]:
        positions = self.positions[self.rows(ids)]
        # A few at a time: all contents together may be larger than memory.
        parts = [
            content_digests(HEADER, map_threads(self.source.__getitem__, some.tolist()))
            for some in np.split(positions, range(_READ, len(positions), _READ))
        ]
        return np.concatenate(parts)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one image as it is read."""
        return (self.crop.size, self.crop.size, 3)

    def read_specification(self) -> dict[str, Any]:
        """Returns the crop's name and fields, for a cache's contract."""
        return specification(self.crop)

    def contract_fields(self) -> dict[str, Any]:
        """Returns the version of the decoding of files, for a cache's contract."""
        return {"decoding": _decoding.VERSION}

    def with_crop(self, crop: Crop) -> Self:
        """Returns the same images with another crop.

        Args:
          crop: as in `from_source`.

        Returns:
          Images of the same examples and fingerprint.

        Raises:
          TypeError: if the crop is no frozen dataclass.
        """
        _check_crop(crop)
        return self._of_same_source(crop=crop)

    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> np.ndarray:
        """Decodes and crops some examples.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view, `[batch]` or one for all.

        Returns:
          uint8 `[batch, size, size, 3]`, a function of each id and view.

        Raises:
          KeyError: if an id is not among the examples.
          TypeError: if ids or views are not integers.
          ValueError: if an image cannot be decoded; names its id.
        """
        rows = self.rows(ids)
        views = np.broadcast_to(integers(view, "view"), rows.shape)
        images = np.empty((len(rows), *self.shape), np.uint8)

        def decode(place: int) -> None:
            images[place] = self._image(int(rows[place]), int(views[place]))

        # In threads, since Pillow releases the interpreter's lock while it decodes and resizes.
        for _ in map_threads(decode, range(len(rows))):
            pass
        return images

    def _image(self, row: int, view: int) -> np.ndarray:
        example_id = int(self.ids[row])
        try:
            content = self.source[int(self.positions[row])]
            with _decoding.open_image(content) as image:
                array = self.crop(image, example_id, view)
        except Exception as error:
            place, remedy = f"position {self.positions[row]}", ""
            if isinstance(self.source, ImageFiles):
                place = self.source.full_path(int(self.positions[row]))
                remedy = '. Replace the file, or leave out what does not decode: corrupt="skip"'
            raise ValueError(
                f"example id {example_id} of {self.name} {self.split} ({place}) cannot be read as "
                f"view {view}: {error}{remedy}"
            ) from error
        if array.shape != self.shape or array.dtype != np.uint8:
            raise ValueError(
                f"{self.crop} made {array.dtype}{list(array.shape)} of example id {example_id}, "
                f"wanted is uint8{list(self.shape)}"
            )
        return array


def describe(dataset: Examples, ids: npt.ArrayLike) -> list[str]:
    """Names examples for a message: by their ids, and by their files where these have paths.

    Args:
      dataset: the examples.
      ids: example ids `[n]`.

    Returns:
      `n` texts.
    """
    wanted = integers(ids, "ids").tolist()
    if not isinstance(dataset, EncodedImages) or not isinstance(dataset.source, ImageFiles):
        return [str(one) for one in wanted]
    paths = dataset.select(wanted).paths
    named = dict(zip(np.sort(wanted).tolist(), paths, strict=True))
    return [f"{one} ({named[one]})" for one in wanted]


def _check_crop(crop: Any) -> None:
    if not dataclasses.is_dataclass(crop) or isinstance(crop, type) or not isinstance(crop, Crop):
        raise TypeError(
            f"a crop is a frozen dataclass with a size, called as crop(image, example_id, view); "
            f"{crop!r} is not"
        )
