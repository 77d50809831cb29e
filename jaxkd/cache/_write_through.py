"""A cache that is filled by the first training run that asks for its answers."""

import pathlib
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Self

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._build import answer_shapes, make_teacher_fn
from jaxkd.cache._cache import MEMORY_LIMIT
from jaxkd.cache._contract import CacheError
from jaxkd.cache._encode import check_invalid_rows
from jaxkd.cache._writer import Writer, by_output
from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network
from jaxkd.targets import Codec, EncodedOutputs, bytes_per_record
from jaxkd.views import Views


class WriteThroughCache:
    """Outputs from a cache where it has them, from the teacher where it does not.

    What the teacher answers is encoded, stored, and handed out as it was stored: a run that fills a
    cache and one that reads it train on the same numbers, up to the rounding of the teacher's batch
    size. Made by `jaxkd.cache.open(..., mode="fill")`; close it, or use it in a `with` statement.

    Args:
      path: a directory or URL.
      teacher: the network.
      dataset: the examples.
      views: how they are seen.
      codec: how an answer is kept; this and what follows as in `jaxkd.cache.build`.
      num_views: views of each example.
      valid_classes: how many of the logits are classes.
      block_size: examples in a file.
      process: `(index, count)` of this process.
      allow: names of contract fields that may differ.
      memory_limit: bytes; all views must fit, since training asks in any order.

    Raises:
      CacheError: a cache of something else, or one that does not fit in memory.
      ValueError: as `jaxkd.cache.build`.

    Attributes:
      num_views: views of each example.
      asked: how many answers the teacher gave.
    """

    in_memory = True

    def __init__(
        self,
        path: str | pathlib.Path,
        teacher: Network,
        dataset: Examples,
        views: Views,
        *,
        codec: Codec | Mapping[str, Codec] | None = None,
        num_views: int = 1,
        valid_classes: int | None = None,
        block_size: int | None = None,
        process: tuple[int, int] = (0, 1),
        allow: Collection[str] = (),
        memory_limit: int = MEMORY_LIMIT,
    ):
        codecs = by_output(codec)
        shapes, num_logits = answer_shapes(teacher, dataset, views, codecs, valid_classes)
        size = sum(bytes_per_record(c, shapes[n]) for n, c in codecs.items())
        if (total := size * len(dataset) * num_views) > memory_limit:
            raise CacheError(
                f"filling the cache {path} takes {total:,} bytes of memory, the limit is "
                f"{memory_limit:,}: build it with jaxkd.cache.build, or raise memory_limit"
            )
        self._writer = Writer(
            path,
            teacher,
            dataset,
            views,
            shapes=shapes,
            codec=codecs,
            num_views=num_views,
            num_logits=num_logits,
            block_size=block_size,
            process=process,
            allow=allow,
        )
        self._ask = make_teacher_fn(teacher, dataset, views, codecs, shapes)
        self._dataset, self._views, self._allowed = dataset, views, frozenset(allow)
        self.num_views, self.num_computed = num_views, 0
        self._tables = {view: self._writer.stored(view) for view in range(num_views)}

    def check(self, *, dataset: Examples, views: Views, num_views: int | None = None) -> None:
        """Refuses another data set or other views than those that are filled in.

        Raises:
          CacheError: naming each field that differs, or the records that have no place.
        """
        own, wanted = (
            _contract.of_dataset(d) | _contract.of_views(d, v)
            for d, v in ((self._dataset, self._views), (dataset, views))
        )
        _contract.check(self._writer.plan.path, own, wanted, self._allowed)
        if (absent := np.setdiff1d(dataset.ids, self._dataset.ids)).size:
            raise CacheError(
                f"{absent.size} examples have no place in the cache {self._writer.plan.path}, ids "
                f"{absent[:5].tolist()} first: open it with the data set that has them all"
            )
        if num_views is not None and num_views > self.num_views:
            raise CacheError(
                f"{num_views} views of each example are wanted, the cache "
                f"{self._writer.plan.path} is filled with {self.num_views}"
            )

    def read(self, ids: np.ndarray, view: int) -> EncodedOutputs:
        """The answers to some examples in one view; the teacher gives those that are missing.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: number of the view.

        Returns:
          `EncodedOutputs` of arrays `[batch, ...]`.

        Raises:
          CacheError: a view or an id that has no place, an answer that cannot be kept.
        """
        if not 0 <= view < self.num_views:
            raise CacheError(
                f"view {view} is wanted, the cache has views 0 to {self.num_views - 1}"
            )
        rows = self._dataset.rows(ids)
        arrays, have = self._tables[view]
        if (lacking := np.unique(rows[~have[rows]])).size:
            self._answer(lacking, view, len(rows))
        plan = self._writer.plan
        taken = {name: np.take(array, rows, axis=0) for name, array in arrays.items()}
        return EncodedOutputs.from_flat(taken, plan.codecs, plan.shapes)

    def close(self) -> bool:
        """Stores what has come in, and seals the cache if it is complete.

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

    def _answer(self, rows: np.ndarray, view: int, batch_size: int) -> None:
        ids = self._dataset.ids[rows]
        # Filled up to the batch, so that one compiled program serves all.
        full = np.resize(ids, batch_size)
        batch = raw_batch(self._dataset, self._views, full, np.full(batch_size, view, np.int32))
        records, invalid = jax.device_get(self._ask(batch))
        check_invalid_rows(invalid, self._writer.plan.codecs, ids, view)
        stored = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
        arrays, have = self._tables[view]
        for name, array in stored.items():
            arrays[name][rows] = array
        have[rows] = True
        self.num_computed += len(ids)
        self._writer.write_records(ids, view, stored)
