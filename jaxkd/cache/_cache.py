"""Reading a cache: by example id and view, in any order, after its contract was checked."""

import math
import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxkd.cache import _contract, _store
from jaxkd.cache._contract import CacheError
from jaxkd.data import Dataset
from jaxkd.networks import Network
from jaxkd.targets import Record, bytes_per_record, from_specification
from jaxkd.views import Views

# Up to this size a cache is read into memory as its views come up.
_MEMORY_LIMIT = 4 << 30


def open(  # noqa: A001 - read as jaxkd.cache.open
    path: str | pathlib.Path,
    *,
    teacher: Network | Mapping[str, str],
    dataset: Dataset,
    views: Views | None = None,
    num_classes: int | None = None,
    allow: Collection[str] = (),
) -> "Cache":
    """Opens a cache and checks that it belongs to this teacher, this data set and these views.

    Args:
      path: where it was built.
      teacher: the network whose answers are wanted, or its `fingerprint()` where the network
        itself is not at hand.
      dataset: the examples to be trained on: the cache's own data set or a selection of it.
      views: how they are seen, by default as they are.
      num_classes: of the student, if it is to be checked already here.
      allow: names of contract fields that may differ.

    Returns:
      The cache.

    Raises:
      CacheError: no cache there, an incomplete one, or one that belongs to something else: each
        differing field is named with both values.
    """
    cache = Cache(path)
    cache.check(
        teacher=teacher,
        dataset=dataset,
        views=views or Views(),
        num_classes=num_classes,
        allow=allow,
    )
    return cache


def open_contract(path: str | pathlib.Path) -> dict[str, Any]:
    """The contract document of a cache, refused if there is none or of an unknown format."""
    document = _store.read_document(path, "contract.json")
    if document is None:
        raise CacheError(f"there is no cache at {path}: build one with jaxkd.cache.build")
    if document["format"] != 1:
        raise CacheError(
            f"the cache {path} has the format {document['format']}, this release reads format 1: "
            "upgrade jaxkd-distill"
        )
    return document


class Cache:
    """A complete cache, open for reading.

    Attributes:
      path: where it lies.
      ids: example ids, int32, ascending.
      codec: how answers are kept.
      num_classes: of the teacher.
      num_views: views of each example.
    """

    def __init__(self, path: str | pathlib.Path):
        """Opens a cache without checking whom it belongs to; `jaxkd.cache.open` checks.

        Raises:
          CacheError: there is none, or blocks are missing.
        """
        self.path = str(path)
        self._document = open_contract(path)
        fields = self._document["fields"]
        self.codec = from_specification(fields["codec"])
        self.num_classes: int = fields["num_classes"]
        self.num_views: int = fields["num_views"]
        self.ids = _store.open_ids(path)
        if _contract.of_ids(self.ids) != fields["examples"]:
            raise CacheError(
                f"the cache {path} is damaged: it was built over {fields['examples']}, its ids are "
                f"those of {_contract.of_ids(self.ids)}. Delete it and build it again."
            )
        layout = self.codec.layout(self.num_classes)
        block = self._document["block_size"]
        blocks = math.ceil(len(self.ids) / block)
        present = _store.blocks_present(path, layout, self.num_views, blocks)
        if not present.all():
            raise CacheError(
                f"the cache {path} is not complete: {int(present.sum())} of {present.size} blocks "
                "are there. Run the build again with the same arguments; it computes the others."
            )
        self._arrays = _store.open_arrays(path, layout, self.num_views, len(self.ids), block)
        self._in_memory = self.bytes <= _MEMORY_LIMIT
        self._memory: dict[int, dict[str, np.ndarray]] = {}

    @property
    def contract(self) -> dict[str, Any]:
        """What the cache belongs to: field → value."""
        return dict(self._document["fields"])

    @property
    def bytes(self) -> int:
        """Bytes of all records, checksums and indices aside."""
        return bytes_per_record(self.codec, self.num_classes) * len(self.ids) * self.num_views

    @property
    def effort(self) -> dict[str, float]:
        """What it took: `{"seconds": …, "answers": …}`, with the blocks that kills made repeat."""
        return _store.read_document(self.path, "effort.json") or {"seconds": 0.0, "answers": 0}

    def check(
        self,
        *,
        teacher: Network | Mapping[str, str] | None = None,
        dataset: Dataset | None = None,
        views: Views | None = None,
        num_classes: int | None = None,
        num_views: int | None = None,
        allow: Collection[str] = (),
    ) -> None:
        """Refuses what the cache does not belong to; see `jaxkd.cache.open`.

        Raises:
          CacheError: naming each field that differs, or the records that are missing.
        """
        wanted: dict[str, Any] = {}
        stored = self.contract
        if teacher is not None:
            wanted |= _contract.of_teacher(teacher)
        if dataset is not None:
            wanted |= _contract.of_dataset(dataset)
        if num_classes is not None:
            wanted["num_classes"] = num_classes
        if views is not None:
            if dataset is None:
                raise ValueError("views can only be checked together with their dataset")
            wanted |= _contract.of_views(dataset, views)
        _contract.check(self.path, stored, wanted, allow)
        if views is not None and dataset is not None:
            _contract.check_probe(self.path, self._document["probe"], dataset, views, allow)
        if dataset is not None:
            self._rows(dataset.ids)
        if num_views is not None and num_views > self.num_views:
            raise CacheError(
                f"missing records: {num_views} views of each example are wanted, the cache "
                f"{self.path} has {self.num_views}"
            )

    def read(self, ids: np.ndarray, view: int) -> Record:
        """The answers to some examples in one view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view.

        Returns:
          A `Record` of arrays `[batch, ...]`, to be decoded inside the compiled step.

        Raises:
          CacheError: an id or view that is not there, or a damaged file.
        """
        if not 0 <= view < self.num_views:
            raise CacheError(
                f"missing records: view {view} is wanted, the cache {self.path} has views 0 to "
                f"{self.num_views - 1}"
            )
        rows = self._rows(ids)
        if self._in_memory:
            if view not in self._memory:
                self._memory[view] = self._read(view, slice(None))
            arrays = {name: array[rows] for name, array in self._memory[view].items()}
        else:
            arrays = self._read(view, rows)
        return Record(arrays, self.codec, self.num_classes)

    def _read(self, view: int, rows: Any) -> dict[str, np.ndarray]:
        return {
            name: _store.read_rows(self.path, name, array, (view, rows))
            for name, array in self._arrays.items()
        }

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        rows = np.searchsorted(self.ids, ids)
        found = self.ids[np.minimum(rows, len(self.ids) - 1)] == ids
        if not found.all():
            missing = np.asarray(ids)[~found]
            raise CacheError(
                f"missing records: {len(missing)} of {len(found)} example ids are not in the cache "
                f"{self.path}, {missing[:5].tolist()} first. Build a cache over these examples."
            )
        return rows
