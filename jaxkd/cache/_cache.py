"""Reading a cache: by example id and view, in any order, after its contract was checked."""

import pathlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _contract, _store
from jaxkd.cache._contract import CacheError
from jaxkd.cache._plan import (
    check_format,
    common_ids_and_views,
    compression_of,
    contract_codecs,
    layout_of,
)
from jaxkd.cache._segment import Segment, segments
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.targets import EncodedOutputs, bytes_per_record
from jaxkd.views import Views

# Up to this size a cache is read into memory as its views come up.
MEMORY_LIMIT = 4 << 30
# Stretches that `stream` reads ahead of the one that it hands out.
_AHEAD = 4
_STRETCH_BYTES = 64 << 20

Arrays = dict[str, np.ndarray]


class Cache:
    """A complete cache, open for reading.

    Args:
      path: where it was built.
      memory_limit: bytes; a cache up to this size is read into memory, view by view, as they come
        up; a larger one is read from its files.
      codecs: classes of one's own codecs, if it was built with any.

    Raises:
      CacheError: there is none, answers are missing, or its documents are damaged.

    Attributes:
      path: where it lies.
      ids: example ids, int32, ascending.
      codecs: output name → how it is kept.
      shapes: output name → shape of one answer.
      num_views: views of each example.
      in_memory: whether it is read into memory.
      segments: the parts that it was written in.
      document: the contract as it lies on disk.
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        *,
        memory_limit: int = MEMORY_LIMIT,
        codecs: Sequence[type] = (),
    ):
        """Opens a cache without checking whom it belongs to; `jaxkd.cache.open` checks."""
        self.path = str(path)
        document = _store.read_document(path, "contract.json")
        if document is None:
            raise CacheError(f"there is no cache at {path}: build one with jaxkd.cache.build")
        check_format(self.path, document)
        self.document = document
        self._fields = document["fields"]
        self._allowed: frozenset[str] = frozenset()
        self.codecs, self.shapes = contract_codecs(self._fields, codecs)
        layout = layout_of(self.codecs, self.shapes)
        found = segments(self.path, layout, compression_of(self.codecs))
        self.segments = [segment for segment in found if segment.sealed]
        if not self.segments:
            raise CacheError(_incomplete(self.path, found))
        if len(self.segments) < len(found):
            warnings.warn(
                f"{_incomplete(self.path, [s for s in found if not s.sealed])} Until then the "
                "cache is read as it was before it was extended.",
                stacklevel=2,
            )
        for segment in self.segments:
            segment.check_seal()
        self.ids, self.num_views = common_ids_and_views(self.segments)
        self.in_memory = self.bytes <= memory_limit
        self._memory: dict[int, Arrays] = {}
        self._ids_are_rows = bool(self.ids[-1] == len(self.ids) - 1)

    @property
    def contract(self) -> dict[str, Any]:
        """What the cache belongs to: field → value."""
        return dict(self._fields)

    @property
    def num_classes(self) -> int | None:
        """Of the teacher, without the padding of its logits; None if no logits are kept."""
        return self._fields.get("num_classes")

    @property
    def bytes_per_record(self) -> int:
        """Bytes of one answer in all its arrays, before compression."""
        return sum(bytes_per_record(c, self.shapes[name]) for name, c in self.codecs.items())

    @property
    def bytes(self) -> int:
        """Bytes of all records, checksums and indices aside."""
        return self.bytes_per_record * len(self.ids) * self.num_views

    @property
    def build_cost(self) -> dict[str, float]:
        """Seconds and records that it took: `{"seconds": …, "records": …}`, repetitions included.

        Blocks that a killed build had to compute again count twice.
        """
        total = {"seconds": 0.0, "records": 0}
        for name in _store.names(self.path, "effort/"):
            effort = _store.read_document(self.path, name) or {}
            total["seconds"] += effort.get("seconds", 0)
            total["records"] += effort.get("answers", 0)  # the name in format 2
        return total

    def allowing(self, fields: Collection[str]) -> "Cache":
        """The cache, with contract fields that later checks let differ."""
        self._allowed |= frozenset(fields)
        return self

    def check(
        self,
        *,
        teacher: Network | Mapping[str, str] | None = None,
        dataset: Examples | None = None,
        views: Views | None = None,
        num_classes: int | None = None,
        num_views: int | None = None,
        allow: Collection[str] = (),
    ) -> None:
        """Refuses what the cache does not belong to; see `jaxkd.cache.open`.

        Raises:
          CacheError: naming each field that differs, or the records that are missing.
        """
        allow = self._allowed | frozenset(allow)
        wanted: dict[str, Any] = {}
        if teacher is not None:
            wanted |= _contract.of_teacher(teacher)
        if dataset is not None:
            wanted |= _contract.of_dataset(dataset)
        if num_classes is not None:
            wanted["num_classes"] = num_classes
        if views is not None:
            if dataset is None:
                raise ValueError("views can only be checked together with their dataset")
            wanted |= _contract.of_views(dataset, views) | _contract.of_versions()
        _contract.check(self.path, self._fields, wanted, allow)
        if views is not None and dataset is not None:
            _contract.check_probe(self.path, self.document["probe"], dataset, views, allow)
        if dataset is not None:
            self.rows(dataset.ids)
        if num_views is not None and num_views > self.num_views:
            raise CacheError(
                f"missing records: {num_views} views of each example are wanted, the cache "
                f"{self.path} has {self.num_views}. jaxkd.cache.extend adds views"
            )

    def read(self, ids: np.ndarray, view: int) -> EncodedOutputs:
        """The answers to some examples in one view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view.

        Returns:
          `EncodedOutputs` of arrays `[batch, ...]`, to be decoded inside the compiled step.

        Raises:
          CacheError: an id or view that is not there, or a damaged file.
        """
        self._check_view(view)
        ids = np.asarray(ids)
        rows = self.rows(ids)
        if self.in_memory:
            # Each row of the index at once: half as fast again as indexing.
            arrays = {n: np.take(a, rows, axis=0) for n, a in self._view(view).items()}
        else:
            arrays = self._read(ids, view)
        return EncodedOutputs.from_flat(arrays, self.codecs, self.shapes)

    def stream(
        self, view: int, *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, EncodedOutputs]]:
        """All answers of one view, in order of the examples, read ahead.

        Args:
          view: number of the view.
          batch_size: examples in a stretch; by default 8192, or fewer if these are over 64 MB.

        Yields:
          Ids `[n]` and their `EncodedOutputs`.

        Raises:
          CacheError: a view that is not there, or a damaged file.
        """
        self._check_view(view)
        if batch_size is None:
            batch_size = max(1, min(8192, _STRETCH_BYTES // self.bytes_per_record))
        starts = range(0, len(self.ids), batch_size)
        under_way: list[Any] = []
        for start in starts:
            ids = self.ids[start : start + batch_size]
            under_way.append((ids, self._begin(ids, view)))
            if len(under_way) > _AHEAD:
                yield self._finished(*under_way.pop(0))
        for begun in under_way:
            yield self._finished(*begun)

    def _finished(self, ids: np.ndarray, begun: Any) -> tuple[np.ndarray, EncodedOutputs]:
        return ids, EncodedOutputs.from_flat(self._end(len(ids), begun), self.codecs, self.shapes)

    def _view(self, view: int) -> Arrays:
        if view not in self._memory:
            self._memory[view] = self._read(self.ids, view)
        return self._memory[view]

    def _read(self, ids: np.ndarray, view: int) -> Arrays:
        return self._end(len(ids), self._begin(ids, view))

    def _begin(self, ids: np.ndarray, view: int) -> list[tuple[np.ndarray, dict[str, Any]]]:
        """Begins to read: for each segment the positions in `ids`, and name → future."""
        begun = []
        for segment in self.segments:
            if not segment.first_view <= view < segment.first_view + segment.num_views:
                continue
            rows = np.minimum(np.searchsorted(segment.ids, ids), len(segment.ids) - 1)
            places = np.flatnonzero(segment.ids[rows] == ids)
            if places.size:
                begun.append((places, segment.read(view, _contiguous(rows[places]))))
        return begun

    def _end(self, count: int, begun: list[tuple[np.ndarray, dict[str, Any]]]) -> Arrays:
        parts = [
            (places, {n: _store.read_rows(self.path, n, f) for n, f in futures.items()})
            for places, futures in begun
        ]
        if len(parts) == 1 and len(parts[0][0]) == count:
            return parts[0][1]
        arrays = {n: np.empty((count, *a.shape[1:]), a.dtype) for n, a in parts[0][1].items()}
        for places, part in parts:
            for name, array in part.items():
                arrays[name][places] = array
        return arrays

    def _check_view(self, view: int) -> None:
        if not 0 <= view < self.num_views:
            raise CacheError(
                f"missing records: view {view} is wanted, the cache {self.path} has views 0 to "
                f"{self.num_views - 1}"
            )

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Where examples stand among `ids`.

        Raises:
          CacheError: an id that is not there.
        """
        if self._ids_are_rows:
            rows, found = ids, (ids >= 0) & (ids < len(self.ids))
        else:
            rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            found = self.ids[rows] == ids
        if not found.all():
            missing = np.asarray(ids)[~found]
            raise CacheError(
                f"missing records: {len(missing)} of {len(found)} example ids are not in the cache "
                f"{self.path}, {missing[:5].tolist()} first. Build a cache over these examples, or "
                "extend this one."
            )
        return rows


def _contiguous(rows: np.ndarray) -> Any:
    """A slice where the rows follow each other, which is read much faster than an index."""
    if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def _incomplete(path: str, found: Sequence[Segment]) -> str:
    present = [segment.present() for segment in found]
    there, total = (sum(int(f(p)) for p in present) for f in (np.sum, np.size))
    return (
        f"the cache {path} is not complete: {there} of {total} blocks are there. Run the build "
        "again with the same arguments; it computes the others."
    )
