"""Streamed data sets of Hugging Face as batches, shard by shard, with ids and a position."""

from collections.abc import Iterator, Sequence
from typing import Any, Self

import jax
import numpy as np

from jaxkd.data import _decoding
from jaxkd.data._crops import Crop
from jaxkd.data._examples import integer
from jaxkd.data._files import checked_crop
from jaxkd.data._huggingface import (
    content_of,
    encoded_images,
    image_column,
    is_streamed,
    label_columns,
    names_of,
)
from jaxkd.data._label_values import encode_labels
from jaxkd.data._read_contents import map_threads

_IDS = 2**31


class stream_huggingface(Iterator[dict[str, Any]]):  # noqa: N801 - called like from_huggingface
    """Batches of images of a streamed data set, in the order in which its shards hold them.

    Row r of shard s has the id `s * (2**31 // num_shards) + r`, in every process and epoch, as long
    as the data set has the same shards. An epoch reads the shards in an order that depends on
    `(seed, epoch)`; the rows of a shard come in theirs, one batch at a time in memory. A batch may
    hold the end of one epoch and the beginning of the next. Epoch e shows view e.

    A training that is resumed goes on where it was: `state_dict` has the position, up to which the
    rows of one shard are read again and not decoded.

    Args:
      dataset: a `datasets.IterableDataset`, as `load_dataset(…, streaming=True)` returns.
      batch_size: examples in a batch of this process.
      image: column of the images; None: the only one.
      label: column of the labels; None: the only column of classes with names, if there is one.
      size: height and width of the images, by default 224.
      crop: what is done to an image. None: `CenterCrop(size)`.
      class_names: names in the order of their ids, by default those of the column.
      num_classes: number of classes, where labels are numbers without names.
      seed: seed of the order of the shards.
      process: `(index, count)` of this process, which reads every count-th shard; by default that
        of `jax.distributed`.

    Raises:
      TypeError: a data set that is not streamed.
      ValueError: no such column, or fewer shards than processes.

    Example:
      >>> import datasets  # doctest: +SKIP
      >>> rows = datasets.load_dataset("food101", split="train", streaming=True)  # doctest: +SKIP
      >>> batches = stream_huggingface(rows, 64, size=224)  # doctest: +SKIP
      >>> next(batches)["inputs"].shape  # doctest: +SKIP
      (64, 224, 224, 3)
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        *,
        image: str | None = None,
        label: str | None = None,
        size: int | None = None,
        crop: Crop | None = None,
        class_names: Sequence[str] = (),
        num_classes: int | None = None,
        seed: int = 0,
        process: tuple[int, int] | None = None,
    ):
        if not is_streamed(dataset):
            raise TypeError(
                f"{type(dataset).__name__} is not streamed: data.from_huggingface opens it"
            )
        _decoding.check_pillow()
        if integer(batch_size, "batch_size") < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        self._process = process or (jax.process_index(), jax.process_count())
        if dataset.num_shards < self._process[1]:
            raise ValueError(
                f"{self._process[1]} processes cannot share {dataset.num_shards} shards: each "
                "reads some of its own"
            )
        self.batch_size, self.crop, self._seed = batch_size, checked_crop(size, crop), seed
        self._image = image_column(dataset, image)
        self._labels = label_columns(dataset, label)
        self._names, self._num_classes = tuple(class_names), num_classes
        if self._labels and not self._names:
            self._names = names_of(dataset, self._labels[0])
        self._dataset = encoded_images(dataset, self._image)
        # Epoch, place in the order of its shards, and row of the next example.
        self._position = (0, 0, 0)
        self._rows: Iterator[tuple[tuple[int, int, int], int, Any]] | None = None

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> dict[str, Any]:
        """Returns the next batch, NumPy arrays: `"id"`, `"view"`, `"inputs"` and `"labels"`."""
        if self._rows is None:
            self._rows = self._read(self._position)
        taken = [next(self._rows) for _ in range(self.batch_size)]
        ids = np.array([example_id for _, example_id, _ in taken], np.int32)
        views = np.array([position[0] for position, _, _ in taken], np.int32)
        rows = [row for _, _, row in taken]
        images = map_threads(
            self._decode, list(zip(rows, ids.tolist(), views.tolist(), strict=True))
        )
        batch = {"id": ids, "view": views, "inputs": np.stack(list(images))}
        batch["labels"] = self._encode(rows, ids)
        epoch, place, row = taken[-1][0]
        self._position = (epoch, place, row + 1)
        return batch

    def state_dict(self) -> dict[str, int]:
        """Returns the position of the next batch, plain data for a checkpoint."""
        return dict(zip(("epoch", "place", "row"), self._position, strict=True))

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on at a position.

        Args:
          state: as of `state_dict`, of the same data set, seed and process.
        """
        self._position = (int(state["epoch"]), int(state["place"]), int(state["row"]))
        self._rows = None

    def _read(
        self, position: tuple[int, int, int]
    ) -> Iterator[tuple[tuple[int, int, int], int, Any]]:
        """Yields position, id and row of every example from a position on, without end."""
        epoch, begun, row = position
        shards = int(self._dataset.num_shards)
        stride = _IDS // shards
        while True:
            raw = np.random.PCG64((self._seed, epoch)).random_raw(shards)
            own = np.argsort(raw, kind="stable")[self._process[0] :: self._process[1]].tolist()
            found = row > 0 or begun > 0
            for place in range(begun, len(own)):
                part = self._dataset.shard(num_shards=shards, index=own[place])
                for number, content in enumerate(part.skip(row) if row else part, start=row):
                    if number >= stride:
                        raise ValueError(
                            f"shard {own[place]} has more than {stride} rows, which is what ids "
                            f"have room for with {shards} shards: divide it into more of them"
                        )
                    found = True
                    yield (epoch, place, number), own[place] * stride + number, content
                row = 0
            if not found:
                raise ValueError(f"the {len(own)} shards of this process hold no row")
            epoch, begun = epoch + 1, 0

    def _decode(self, taken: tuple[Any, int, int]) -> np.ndarray:
        row, example_id, view = taken
        try:
            with _decoding.open_image(content_of(row[self._image])) as image:
                return self.crop(image, example_id, view)
        except Exception as error:
            raise ValueError(f"example id {example_id} cannot be read: {error}") from error

    def _encode(self, rows: list[Any], ids: np.ndarray) -> np.ndarray:
        values = [row[self._labels[0]] if self._labels else None for row in rows]
        if self._names:  # -1 is the number of no class
            values = [None if value == -1 else value for value in values]
        labels, _ = encode_labels(
            values, self._names, self._num_classes, lambda place: f"example id {ids[place]}"
        )
        return labels.astype(np.int32) if labels.dtype.kind == "i" else labels
