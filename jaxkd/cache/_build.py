"""Building a cache: the teacher runs once over every view, block by block."""

import collections
import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxkd._progress import ProgressLine
from jaxkd.cache._behavior import TeacherBehavior, outputs_of_teacher
from jaxkd.cache._cache import Cache
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._encode import check_invalid_rows
from jaxkd.cache._foreign import Teacher, runnable
from jaxkd.cache._location import normalized
from jaxkd.cache._plan import check_process, plan_build
from jaxkd.cache._record_format import Codecs
from jaxkd.cache._record_writer import RecordWriter
from jaxkd.cache._teacher import TeacherFn, make_teacher_fn
from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network
from jaxkd.networks._network import is_addressable
from jaxkd.views import Views

# Batches that are computed while an earlier one is being stored.
_AHEAD = 4


def build(
    path: str | pathlib.Path,
    teacher: Teacher,
    dataset: Examples,
    views: Views | None = None,
    *,
    name: str | None = None,
    codec: Codecs = None,
    num_views: int = 1,
    batch_size: int = 256,
    block_size: int | None = None,
    valid_classes: int | None = None,
    batch_sharding: jax.sharding.Sharding | None = None,
    process: tuple[int, int] | None = None,
    allow: Collection[str] = (),
    progress: bool = True,
) -> Cache:
    """Writes a teacher's outputs for all examples in all views; resumes what a kill cut short.

    A block of examples is computed, written under a temporary name and renamed, while the next one
    is being computed. Called again with the same arguments, it computes what is missing alone.

    Args:
      path: a directory, or any URL that TensorStore writes to.
      teacher: the network, in evaluation mode; its parameters may lie on any mesh. Or a teacher of
        `jaxkd.teachers` (PyTorch, ONNX), or any function of a NumPy batch of rendered views that
        returns the logits, or a dictionary of arrays.
      dataset: the examples. Their order makes no difference.
      views: how an example is rendered, by default unchanged.
      name: of a teacher that is a function, which has no parameters to be known by.
      codec: how an output is stored, by default the logits as `Dense("float32")`; or one codec for
        each output, `{"logits": TopK(16), "stage3": Pooled((4, 4))}`.
      num_views: views of each example, numbered from 0.
      batch_size: examples in a forward pass; what is stored differs by rounding alone.
      block_size: examples in a file; by default 8192, or fewer of such a size that a file is of at
        most 256 MB.
      valid_classes: how many of the logits are classes, where a vocabulary is padded: 151,936 of
        152,064. What is stored is of these alone; a student of another padding is cut to them by
        `jaxkd.networks.valid_classes`.
      batch_sharding: where batches are put, by default on one device. If it spans the devices of
        several processes, for a teacher that is sharded over them, all compute the same batches
        together and the first one stores the outputs.
      process: `(index, count)` of this process among those that share the work, each calling this
        function with a teacher of its own; by default those of `jax.distributed`. None waits for
        another: whoever has done its own share goes on with what is missing.
      allow: names of contract fields that may differ from those of a cache that is there.
      progress: whether to show a line of progress.

    Returns:
      The cache, opened with this data set and these views, as by `jaxkd.cache.open`.

    Raises:
      CacheError: there is a cache of another teacher, data set, view specification, codec or
        number of views at `path` (each differing field is named); or an output that the codec
        cannot store.
      TypeError: a model of another library, with the line that adapts it; a function without a
        name.
      ValueError: a teacher whose outputs are not those of each example by itself; sizes that are
        not positive, an empty data set, logits of the wrong rank; both `process` and a
        `batch_sharding` of several processes; a teacher that is sharded over several processes
        without one.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> cache.read(np.array([2, 0]), view=0).decode()["logits"].shape
      (2, 3)
    """
    contents = CacheContents.of_teacher(
        runnable(teacher, name), dataset, views, codec, valid_classes, batch_size
    )
    return _Build(
        normalized(path),
        contents,
        num_views=num_views,
        batch_size=batch_size,
        block_size=block_size,
        batch_sharding=batch_sharding,
        process=process,
        allow=allow,
        progress=progress,
    ).run()


def extend(
    path: str | pathlib.Path,
    teacher: Teacher,
    dataset: Examples,
    views: Views | None = None,
    *,
    name: str | None = None,
    num_views: int | None = None,
    batch_size: int = 256,
    block_size: int | None = None,
    batch_sharding: jax.sharding.Sharding | None = None,
    process: tuple[int, int] | None = None,
    allow: Collection[str] = (),
    codecs: Sequence[type] = (),
    progress: bool = True,
) -> Cache:
    """Adds views, examples or both to a cache; what is there is not touched.

    Until the addition is complete, the cache opens as it was before.

    Args:
      path: of the cache.
      teacher: the one that it was built with.
      dataset: the same data set, or a selection of it that has the examples to be added (and, for
        more views, those that are there).
      views: those that it was built with.
      name: of a teacher that is a function, as in `build`.
      num_views: how many views each example has afterwards; by default as many as before.
      batch_size: as in `build`, like what follows.
      block_size: examples in a file of the addition, as in `build`.
      batch_sharding: where batches are put.
      process: `(index, count)` of this process.
      allow: names of contract fields that may differ.
      codecs: classes of one's own codecs, if it was built with any.
      progress: whether to show a line of progress.

    Returns:
      The cache, opened as by `build`.

    Raises:
      CacheError: there is no cache, or one of another teacher, data set or views.
      ValueError: as `build`.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> extend(cache.path, teacher, data, num_views=2, progress=False).num_views
      2
    """
    existing = Cache(path, codecs=codecs)
    num_classes = existing.contract.get("num_classes")
    contents = CacheContents.of_teacher(
        runnable(teacher, name), dataset, views, existing.codecs, num_classes, batch_size
    )
    return _Build(
        normalized(path),
        contents,
        num_views=existing.num_views if num_views is None else num_views,
        batch_size=batch_size,
        block_size=block_size,
        batch_sharding=batch_sharding,
        process=process,
        allow=allow,
        progress=progress,
        existing=existing,
    ).run()


@dataclasses.dataclass(frozen=True)
class _Build:
    """One run of the teacher over what is missing in a cache.

    `build` and `extend` differ in where the number of views and the codecs come from, and in
    whether a cache may grow. Everything after that depends on the same arguments, several of them
    on each other (who stores, who shares, which batches), so the run owns them.

    Attributes:
      path: of the cache.
      contents: the teacher, its inputs, and the format of its outputs.
      num_views: number of views of each example.
      batch_size: examples in a forward pass.
      block_size: examples in a file.
      batch_sharding: where batches are put.
      process: `(index, count)` of this process, if the caller says so.
      allow: names of contract fields that may differ.
      progress: whether to show a line of progress.
      existing: the cache that is to be extended.
    """

    path: str
    contents: CacheContents
    num_views: int
    batch_size: int
    block_size: int | None
    batch_sharding: jax.sharding.Sharding | None
    process: tuple[int, int] | None
    allow: Collection[str]
    progress: bool
    existing: Cache | None = None

    @property
    def _together(self) -> bool:
        """Whether all processes compute every batch together, on a mesh of all their devices."""
        return self.batch_sharding is not None and not self.batch_sharding.is_fully_addressable

    @property
    def _share(self) -> tuple[int, int]:
        """`(index, count)`: which part of the blocks this process computes."""
        if self._together:
            return 0, 1
        return self.process or (jax.process_index(), jax.process_count())

    def run(self) -> Cache:
        """Computes and stores what is missing; returns the opened cache."""
        self._check()
        teacher_fn = make_teacher_fn(self.contents, self.batch_sharding)
        outputs = outputs_of_teacher(self.contents, teacher_fn, self.batch_size)
        plan = plan_build(
            self.path,
            self.contents,
            num_views=self.num_views,
            block_size=self.block_size,
            extend=self.existing is not None,
            allow=self.allow,
            document=None if self.existing is None else self.existing.document,
            behavior=TeacherBehavior(self.contents, outputs, self._together),
        )
        writer = RecordWriter(plan, self._share)
        if self._together:
            # Every process has seen the same blocks missing before the first one writes any.
            multihost_utils.sync_global_devices(f"building {self.path}")
        stores = not self._together or jax.process_index() == 0
        with writer if stores else contextlib.nullcontext():
            self._compute(writer, teacher_fn, _store if stores else _checked_records, stores)
        if self._together:
            multihost_utils.sync_global_devices(f"built {self.path}")
        return writer.cache()

    def _check(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")
        if self._together and self.process is not None:
            raise ValueError(
                f"process={self.process} with a batch_sharding over the devices of several "
                "processes: these share every batch, so leave process out"
            )
        check_process(self._share)
        network = self.contents.teacher
        if not isinstance(network, Network):
            if self.batch_sharding is not None:
                raise ValueError(
                    "batch_sharding places batches of a network; the teacher runs outside of JAX: "
                    "leave batch_sharding out, and share the work by process=(index, count)"
                )
            return
        if not self._together and not all(map(is_addressable, jax.tree.leaves(network.params))):
            raise ValueError(
                "the teacher's parameters are sharded over several processes, and batch_sharding "
                f"is {self.batch_sharding}: give one of the same mesh, such as "
                "NamedSharding(mesh, P('data')), so that all processes compute together"
            )

    def _compute(
        self,
        writer: RecordWriter,
        teacher_fn: TeacherFn,
        take: Callable[..., Any],
        progress: bool,
    ) -> None:
        """Runs the teacher over what is missing, a few batches ahead of what is stored."""
        dataset, views, size = self.contents.dataset, self.contents.views, self.batch_size
        take = functools.partial(take, writer)
        # A call returns before the device is done, so the host reads, encodes and writes meanwhile.
        pending: collections.deque[Any] = collections.deque()
        try:
            for ids, view in _with_progress(writer, size, self.progress and progress):
                # The last batch of a block is filled up, so that one program serves them all.
                full = np.concatenate([ids, np.full(size - len(ids), ids[0], ids.dtype)])
                batch = raw_batch(dataset, views, full, np.full(size, view, np.int32))
                pending.append((ids, view, teacher_fn(batch)[:2]))
                if len(pending) > _AHEAD:
                    take(*pending.popleft())
        except BaseException:
            # A server that is gone, or an interrupt: what was computed before is kept.
            with contextlib.suppress(Exception):
                _take_all(take, pending)
            raise
        _take_all(take, pending)


def _take_all(take: Callable[..., Any], pending: collections.deque[Any]) -> None:
    while pending:
        take(*pending.popleft())


def _store(writer: RecordWriter, ids: np.ndarray, view: int, outputs: Any) -> None:
    records = _checked_records(writer, ids, view, outputs)
    arrays = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
    writer.write_records(ids, view, arrays)


def _checked_records(
    writer: RecordWriter, ids: np.ndarray, view: int, outputs: Any
) -> dict[str, Any]:
    """Waits for a batch of encoded outputs; refuses values that cannot be stored."""
    records, invalid = jax.device_get(outputs)
    check_invalid_rows(invalid, writer.plan.contents.record_format, ids, view)
    return records


def _with_progress(
    writer: RecordWriter, batch_size: int, progress: bool
) -> Iterator[tuple[np.ndarray, int]]:
    batches, total = writer.missing(batch_size), writer.remaining()
    if not progress or not total:
        yield from batches
        return
    done = 0
    with ProgressLine("running the teacher", total, unit="records") as line:
        for ids, view in batches:
            yield ids, view
            done += len(ids)
            line.update(done)
