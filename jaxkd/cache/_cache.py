"""Reading a cache: by example id and view, in any order, after its contract was checked."""

import collections
import functools
import pathlib
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd.cache import _contract, _rendering, _store
from jaxkd.cache._behavior import TeacherBehavior
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._contract import CacheError
from jaxkd.cache._contract_document import read_contract, warn_of_format_2
from jaxkd.cache._examples import FINGERPRINT, check_examples
from jaxkd.cache._foreign import RUNS
from jaxkd.cache._location import normalized
from jaxkd.cache._own_codecs import decoded_fields
from jaxkd.cache._pending_records import PendingRecords, begin_read
from jaxkd.cache._placement import Arrays
from jaxkd.cache._plan import common_ids_and_views
from jaxkd.cache._record_format import RecordFormat
from jaxkd.cache._segment_list import incomplete, read_segment_list
from jaxkd.cache._stored_records import check_records
from jaxkd.data import Examples
from jaxkd.data._examples import integer, integers
from jaxkd.networks import Network
from jaxkd.networks._arguments import names_to_allow
from jaxkd.networks._network import plural
from jaxkd.targets import EncodedOutputs
from jaxkd.teachers import ForeignTeacher
from jaxkd.views import Views

# Up to this size a cache is read into memory as its views come up.
MEMORY_LIMIT = 4 << 30
# Batches that `stream` reads ahead of the one that it hands out, and the most bytes of one.
_AHEAD = 4
_STREAM_BYTES = 64 << 20


class _Unchecked:
    """What is not given, and is not checked."""


_UNCHECKED = _Unchecked()


class Cache:
    """A complete cache, open for reading.

    Args:
      path: where it was built.
      memory_limit: bytes; a cache up to this size is read into memory, view by view, as they come
        up; a larger one is read from its files.
      codecs: classes of one's own codecs, if it was built with any.
      document: the contract, if it has been read already; None: it is read.

    Raises:
      CacheError: there is none, records are missing, or its documents are damaged.

    Attributes:
      path: where it lies.
      ids: example ids, int32, ascending.
      codecs: output name → codec.
      shapes: output name → shape of the output for one example.
      num_views: views of each example.
      dataset: the examples that it was built or opened with; None if it was not checked.
      views: how they are rendered; None as `dataset`.
      in_memory: whether it is read into memory.
      segments: the parts that it was written in.
      document: the contract as it lies on disk.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> cache.num_views, cache.shapes
      (1, {'logits': (3,)})
      >>> cache.read(np.array([2, 0]), view=0).decode()["logits"]
      Array([[0., 0., 1.],
             [1., 0., 0.]], dtype=float32)
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        *,
        memory_limit: int = MEMORY_LIMIT,
        codecs: Sequence[type] = (),
        document: Mapping[str, Any] | None = None,
    ):
        """Opens a cache without checking whom it belongs to; `jaxkd.cache.open` checks."""
        self.path = normalized(path)
        document = document or read_contract(self.path)
        if document is None:
            raise CacheError(f"there is no cache at {path}: build one with jaxkd.cache.build")
        warn_of_format_2(self.path, document)
        self.document = document
        self._fields = document["fields"]
        self._allowed: frozenset[str] = frozenset()
        self.dataset: Examples | None = None
        self.views: Views | None = None
        self._format = RecordFormat.from_fields(self._fields, codecs)
        self.codecs, self.shapes = self._format.codecs, self._format.shapes
        listed = read_segment_list(self.path, document)
        found = listed.open(self._format.layout, self._format.compression)
        self.segments = [segment for segment in found if segment.check_seal()]
        if not self.segments:
            raise CacheError(incomplete(self.path, found))
        if len(self.segments) < len(listed.entries):
            warnings.warn(
                f"{incomplete(self.path, [s for s in found if s not in self.segments])} Until "
                "then the cache is read as it was before it was extended.",
                stacklevel=2,
            )
        self.ids, self.num_views = common_ids_and_views(self.segments)
        if not len(self.ids):
            # Further views are there; view 0, without which nothing is read, is not.
            raise CacheError(incomplete(self.path, found))
        self.in_memory = self.bytes <= memory_limit
        self._memory: dict[int, Arrays] = {}
        self._ids_are_rows = bool(self.ids[-1] == len(self.ids) - 1)

    def __repr__(self) -> str:
        outputs = ", ".join(
            f"{name} {list(shape)} as {self.codecs[name]!r}" for name, shape in self.shapes.items()
        )
        return (
            f"Cache({self.path!r}: {len(self.ids):,} examples in {plural(self.num_views, 'view')}, "
            f"{outputs}, {self.bytes / 1e6:,.1f} MB)"
        )

    @property
    def contract(self) -> dict[str, Any]:
        """What the cache belongs to: field → value."""
        return dict(self._fields)

    @property
    def num_classes(self) -> int | None:
        """Number of the teacher's classes, without padding; None if no logits are stored."""
        return self._fields.get("num_classes")

    @property
    def bytes_per_record(self) -> int:
        """Bytes of one record in all its arrays, before compression."""
        return self._format.bytes_per_record

    @property
    def bytes(self) -> int:
        """Bytes of all records, without checksums and indices."""
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

    def bind(self, dataset: Examples, views: Views, allow: Collection[str] = ()) -> "Cache":
        """Remembers what the cache was built or opened with, for the loaders that read it.

        Args:
          dataset: the examples.
          views: how they are rendered.
          allow: names of contract fields that later checks let differ.

        Returns:
          The cache itself.
        """
        self.dataset, self.views = dataset, views
        self._allowed |= names_to_allow(allow)
        return self

    def check(
        self,
        *,
        teacher: Network | ForeignTeacher | Mapping[str, str] | _Unchecked = _UNCHECKED,
        dataset: Examples | None = None,
        views: Views | None = None,
        num_classes: int | None = None,
        num_views: int | None = None,
        allow: Collection[str] = (),
    ) -> None:
        """Refuses what the cache does not belong to; see `jaxkd.cache.open`.

        Args:
          teacher: whose outputs are wanted: one that runs, together with the data set and the views
            that its outputs are compared on, or a fingerprint. What is not given is not checked.
          dataset: the examples.
          views: how they are rendered; together with their data set only.
          num_classes: number of the student's classes.
          num_views: number of views that will be read.
          allow: names of contract fields that may differ.

        Raises:
          CacheError: each field that differs, or the records that are missing.
          TypeError: a teacher that is None.
          ValueError: views without their data set, a network without both.
        """
        dataset, views = self._bound(teacher, dataset, views)
        allow = self._allowed | names_to_allow(allow)
        wanted: dict[str, Any] = dict(self._decoded)
        if not isinstance(teacher, _Unchecked):
            wanted |= _contract.of_teacher(teacher)
        if dataset is not None:
            wanted |= _contract.of_dataset(dataset)
            del wanted[FINGERPRINT]  # compared with that of each segment
        if num_classes is not None:
            wanted["num_classes"] = num_classes
        if views is not None:
            if dataset is None:
                raise ValueError("views can only be checked together with their dataset")
            wanted |= _contract.of_views(dataset, views) | _contract.of_versions()
        behavior = self._behavior(teacher, dataset, views)
        if behavior is not None:
            allow |= behavior.described_otherwise(self.path, self.document, wanted)
        _contract.check(self.path, self._fields, wanted, allow)
        if dataset is not None:
            changed = check_examples(
                self.path, self._fields, self.segments, dataset, self.codecs, allow
            )
            if views is not None:
                _rendering.check(self.path, self.document, dataset, views, allow, changed)
            if behavior is not None:
                compare = functools.partial(check_records, self, behavior.contents, allow)
                behavior.check(self.path, self.document, wanted, allow, changed, compare)
            self.rows(dataset.ids)
        if num_views is not None and num_views > self.num_views:
            raise CacheError(
                f"missing records: {num_views} views of each example are wanted, the cache "
                f"{self.path} has {self.num_views}. jaxkd.cache.extend adds views"
            )

    def _behavior(
        self, teacher: Any, dataset: Examples | None, views: Views | None
    ) -> TeacherBehavior | None:
        """What a teacher computes on the examples of the cache; None of a fingerprint."""
        if not isinstance(teacher, RUNS) or dataset is None or views is None:
            return None
        return TeacherBehavior(CacheContents(teacher, dataset, views, self._format))

    def _bound(
        self, teacher: Any, dataset: Examples | None, views: Views | None
    ) -> tuple[Examples | None, Views | None]:
        """The data set and views to check, for a network by default those of the cache."""
        if not isinstance(teacher, RUNS):
            return dataset, views
        dataset = self.dataset if dataset is None else dataset
        views = self.views if views is None else views
        if dataset is None or views is None:
            raise ValueError(
                "a teacher's outputs are compared on examples: give dataset= and views= with it "
                "(views=Views() where there are none), or its fingerprint() instead"
            )
        return dataset, views

    @functools.cached_property
    def _decoded(self) -> dict[str, Any]:
        """What codecs of one's own decode in this process, as the contract has it."""
        return decoded_fields(self._format, self._fields.get("codec.decoded", ()))

    def read(self, ids: np.ndarray, view: int) -> EncodedOutputs:
        """Reads the outputs for some examples in one view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view.

        Returns:
          Encoded outputs of arrays `[batch, ...]`, to be decoded inside the compiled step.

        Raises:
          CacheError: an id or view that is not there, or a damaged file.
          TypeError: ids or a view that are not integers.
        """
        self._check_view(view)
        ids = integers(ids, "ids")
        rows = self.rows(ids)
        if self.in_memory:
            # np.take copies whole rows, which is half as fast again as indexing.
            arrays = {n: np.take(a, rows, axis=0) for n, a in self._view(view).items()}
        else:
            arrays = begin_read(self.segments, ids, view).arrays()
        return EncodedOutputs.from_flat(arrays, self.codecs, self.shapes)

    def stream(
        self, view: int, *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, EncodedOutputs]]:
        """Reads all records of one view, in order of the examples, ahead of what is used.

        Args:
          view: number of the view.
          batch_size: examples at once; by default 8192, or fewer if these are over 64 MB.

        Yields:
          Ids `[n]` and their encoded outputs.

        Raises:
          CacheError: a view that is not there, or a damaged file.
          ValueError: a batch_size below 1.
        """
        self._check_view(view)
        if batch_size is None:
            batch_size = max(1, min(8192, _STREAM_BYTES // self.bytes_per_record))
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        pending: collections.deque[tuple[np.ndarray, PendingRecords]] = collections.deque()
        for start in range(0, len(self.ids), batch_size):
            ids = self.ids[start : start + batch_size]
            pending.append((ids, begin_read(self.segments, ids, view)))
            if len(pending) > _AHEAD:
                yield self._outputs(*pending.popleft())
        while pending:
            yield self._outputs(*pending.popleft())

    def _outputs(
        self, ids: np.ndarray, pending: PendingRecords
    ) -> tuple[np.ndarray, EncodedOutputs]:
        return ids, EncodedOutputs.from_flat(pending.arrays(), self.codecs, self.shapes)

    def _view(self, view: int) -> Arrays:
        if view not in self._memory:
            self._memory[view] = begin_read(self.segments, self.ids, view).arrays()
        return self._memory[view]

    def _check_view(self, view: int) -> None:
        if not 0 <= integer(view, "view") < self.num_views:
            raise CacheError(
                f"missing records: view {view} is wanted, the cache {self.path} has views 0 to "
                f"{self.num_views - 1}"
            )

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Finds the positions of examples among `ids`.

        Args:
          ids: example ids `[n]`.

        Returns:
          Positions `[n]`.

        Raises:
          CacheError: an id that is not there.
          TypeError: ids that are not integers.
        """
        ids = integers(ids, "ids")
        if self._ids_are_rows:
            rows, found = ids, (ids >= 0) & (ids < len(self.ids))
        else:
            rows = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            found = self.ids[rows] == ids
        if not found.all():
            missing = ids[~found]
            raise CacheError(
                f"missing records: {len(missing)} of {len(found)} example ids are not in the cache "
                f"{self.path}, {missing[:5].tolist()} first. Add them by jaxkd.cache.extend(path, "
                "teacher, dataset, views), or build another cache over these examples."
            )
        return rows
