"""A cache that is filled by the first training run that reads it."""

import pathlib
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._cache import MEMORY_LIMIT
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._contract import CacheError
from jaxkd.cache._encode import check_invalid_rows
from jaxkd.cache._examples import FINGERPRINT, check_examples
from jaxkd.cache._location import normalized
from jaxkd.cache._plan import check_process, plan_build
from jaxkd.cache._record_format import Codecs
from jaxkd.cache._record_writer import RecordWriter
from jaxkd.cache._teacher import make_teacher_fn
from jaxkd.data import Examples, raw_batch
from jaxkd.data._examples import integer
from jaxkd.networks import Network
from jaxkd.targets import EncodedOutputs
from jaxkd.teachers import ForeignTeacher
from jaxkd.views import Views


class WriteThroughCache:
    """Outputs from a cache where it has them, from the teacher where it does not.

    What the teacher computes is encoded, stored, and handed out as it was stored: a run that fills
    a cache and one that reads it train on the same numbers, up to the rounding of the teacher's
    batch size. Made by `jaxkd.cache.open(..., mode="fill")`; close it, or use it in a `with`
    statement.

    Args:
      path: a directory or URL.
      teacher: the teacher.
      dataset: the examples.
      views: how they are rendered.
      codec: how an output is stored; this and what follows as in `jaxkd.cache.build`.
      num_views: views of each example.
      valid_classes: number of logits that are classes.
      block_size: examples in a file.
      process: `(index, count)` of this process.
      allow: names of contract fields that may differ.
      memory_limit: bytes; all views must fit, since training reads in any order.

    Raises:
      CacheError: a cache of something else, or one that does not fit in memory.
      ValueError: as `jaxkd.cache.build`.

    Attributes:
      path: where it lies.
      document: the contract as it lies on disk.
      dataset: the examples.
      views: how they are rendered.
      num_views: views of each example.
      num_computed: number of records that the teacher computed in this run.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> path = tempfile.mkdtemp()
      >>> with jaxkd.cache.open(path, teacher=teacher, dataset=data, mode="fill") as cache:
      ...     for _ in range(2):  # the second time they are read
      ...         outputs = cache.read(np.array([0, 1]), view=0).decode()["logits"]
      >>> outputs.shape, cache.num_computed
      ((2, 3), 2)
    """

    in_memory = True

    def __init__(
        self,
        path: str | pathlib.Path,
        teacher: Network | ForeignTeacher,
        dataset: Examples,
        views: Views,
        *,
        codec: Codecs = None,
        num_views: int = 1,
        valid_classes: int | None = None,
        block_size: int | None = None,
        process: tuple[int, int] = (0, 1),
        allow: Collection[str] = (),
        memory_limit: int = MEMORY_LIMIT,
    ):
        contents = CacheContents.of_teacher(teacher, dataset, views, codec, valid_classes)
        size = contents.record_format.bytes_per_record * len(dataset) * num_views
        if size > memory_limit:
            raise CacheError(
                f"filling the cache {path} takes {size:,} bytes of memory, the limit is "
                f"{memory_limit:,}: build it with jaxkd.cache.build, or raise memory_limit"
            )
        check_process(process)
        plan = plan_build(
            normalized(path), contents, num_views=num_views, block_size=block_size, allow=allow
        )
        self.path, self.document = plan.path, plan.document
        self._writer = RecordWriter(plan, process)
        self._teacher_fn = make_teacher_fn(contents)
        self.dataset, self.views, self.num_views = dataset, views, num_views
        self.num_computed = 0
        # View → encoded arrays of all examples, and which of them have been computed.
        self._tables = {view: self._writer.stored(view) for view in range(num_views)}

    @property
    def contract(self) -> dict[str, Any]:
        """What the cache belongs to: field → value."""
        return dict(self.document["fields"])

    def check(self, *, dataset: Examples, views: Views, num_views: int | None = None) -> None:
        """Refuses another data set or other views than those that are filled in.

        Args:
          dataset: the examples that will be read.
          views: how they are rendered.
          num_views: number of views that will be read; None: those that there are.

        Raises:
          CacheError: each differing field, or the records that have no place in the cache.
        """
        plan = self._writer.plan
        own, wanted = (
            _contract.of_dataset(d) | _contract.of_views(d, v)
            for d, v in ((self.dataset, self.views), (dataset, views))
        )
        del wanted[FINGERPRINT]  # compared with that of each segment
        _contract.check(plan.path, own, wanted, plan.allow)
        fields, codecs = plan.document["fields"], plan.contents.record_format.codecs
        check_examples(plan.path, fields, plan.segments, dataset, codecs, plan.allow)
        if (absent := np.setdiff1d(dataset.ids, self.dataset.ids)).size:
            raise CacheError(
                f"{absent.size} examples have no place in the cache {plan.path}, ids "
                f"{absent[:5].tolist()} first: open it with the data set that has them all"
            )
        if num_views is not None and num_views > self.num_views:
            raise CacheError(
                f"{num_views} views of each example are wanted, the cache {plan.path} is filled "
                f"with {self.num_views}"
            )

    def read(self, ids: np.ndarray, view: int) -> EncodedOutputs:
        """Reads the outputs for some examples in one view; computes those that are missing.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view.

        Returns:
          Encoded outputs of arrays `[batch, ...]`.

        Raises:
          CacheError: a view that is not there, or an output that cannot be stored.
          KeyError: an id that is not in the data set.
          TypeError: ids or a view that are not integers.
        """
        if not 0 <= integer(view, "view") < self.num_views:
            raise CacheError(
                f"view {view} is wanted, the cache has views 0 to {self.num_views - 1}"
            )
        rows = self.dataset.rows(ids)
        arrays, computed = self._tables[view]
        if (missing := np.unique(rows[~computed[rows]])).size:
            self._compute(missing, view, len(rows))
        record_format = self._writer.plan.contents.record_format
        batch = {name: np.take(array, rows, axis=0) for name, array in arrays.items()}
        return EncodedOutputs.from_flat(batch, record_format.codecs, record_format.shapes)

    def close(self) -> bool:
        """Stores what has been computed, and seals the cache if it is complete.

        Returns:
          Whether it is complete.
        """
        return self._writer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _compute(self, rows: np.ndarray, view: int, batch_size: int) -> None:
        """Computes records, stores them and enters them in the tables."""
        ids = self.dataset.ids[rows]
        # Filled up to the batch, so that one compiled program serves all.
        full = np.resize(ids, batch_size)
        batch = raw_batch(self.dataset, self.views, full, np.full(batch_size, view, np.int32))
        records, invalid = jax.device_get(self._teacher_fn(batch)[:2])
        check_invalid_rows(invalid, self._writer.plan.contents.record_format, ids, view)
        encoded = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
        arrays, computed = self._tables[view]
        for name, array in encoded.items():
            arrays[name][rows] = array
        computed[rows] = True
        self.num_computed += len(ids)
        self._writer.write_records(ids, view, encoded)
