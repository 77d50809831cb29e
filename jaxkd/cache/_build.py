"""Building a cache: the teacher runs once over every view, block by block."""

import collections
import contextlib
import functools
import pathlib
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxkd.cache._cache import Cache
from jaxkd.cache._encode import check_invalid_rows, encode
from jaxkd.cache._writer import Writer, by_output
from jaxkd.data import Examples, raw_batch
from jaxkd.data._examples import check_vocabulary
from jaxkd.networks import Network
from jaxkd.targets import Codec
from jaxkd.views import Views

# Batches that are computed while an earlier one is being stored.
_AHEAD = 4


def build(
    path: str | pathlib.Path,
    teacher: Network,
    dataset: Examples,
    views: Views | None = None,
    *,
    codec: Codec | Mapping[str, Codec] | None = None,
    num_views: int = 1,
    batch_size: int = 256,
    block_size: int | None = None,
    valid_classes: int | None = None,
    batch_sharding: jax.sharding.Sharding | None = None,
    process: tuple[int, int] | None = None,
    allow: Collection[str] = (),
    progress: bool = True,
) -> Cache:
    """Writes a teacher's answers to all examples in all views; resumes what a kill cut short.

    A block of examples is computed, written under a temporary name and renamed, while the next one
    is being computed. Called again with the same arguments, it computes what is missing alone.

    Args:
      path: a directory, or any URL that TensorStore writes to.
      teacher: the network to ask, in evaluation mode; its parameters may lie on any mesh.
      dataset: the examples. Their order makes no difference.
      views: how an example is seen, by default as it is.
      codec: how an answer is kept, by default the logits as `Dense("float32")`; or one codec for
        each output, `{"logits": TopK(16), "stage3": Pooled((4, 4))}`.
      num_views: views of each example, numbered from 0.
      batch_size: examples in a forward pass; what is stored differs by rounding alone.
      block_size: examples in a file; by default 8192, or fewer of such a size that a file is of at
        most 256 MB.
      valid_classes: how many of the logits are classes, where a vocabulary is padded: 151,936 of
        152,064. What is kept is of these alone; a student of another padding is cut to them by
        `jaxkd.networks.valid_classes`.
      batch_sharding: where batches are put, by default on one device. If it spans the devices of
        several processes, for a teacher that is spread over them, all ask it the same batches
        together and the first one stores the answers.
      process: `(index, count)` of this process among those that share the work, each calling this
        function with a teacher of its own; by default those of `jax.distributed`. None waits for
        another: whoever has done its own share goes on with what is missing.
      allow: names of contract fields that may differ from those of a cache that is there.
      progress: whether to show a progress bar.

    Returns:
      The opened cache.

    Raises:
      CacheError: there is a cache of another teacher, data set, view specification, codec or
        number of views at `path` (each differing field is named); or an answer that the codec
        cannot keep.
      ValueError: sizes that are not positive, an empty data set, logits of the wrong rank; both
        `process` and a `batch_sharding` of several processes; a teacher that is spread over
        several processes without one.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> cache.read(np.array([2, 0]), view=0).decode()["logits"].shape
      (2, 3)
    """
    return _fill(
        path, teacher, dataset, views or Views(), codec, num_views, batch_size, block_size,
        valid_classes, batch_sharding, process, allow, progress, extend=False,
    )  # fmt: skip


def extend(
    path: str | pathlib.Path,
    teacher: Network,
    dataset: Examples,
    views: Views | None = None,
    *,
    num_views: int | None = None,
    batch_size: int = 256,
    block_size: int | None = None,
    batch_sharding: jax.sharding.Sharding | None = None,
    process: tuple[int, int] | None = None,
    allow: Collection[str] = (),
    progress: bool = True,
) -> Cache:
    """Adds views, examples or both to a cache; what is there is not touched.

    Until the addition is complete, the cache opens as it was before.

    Args:
      path: of the cache.
      teacher: the network that it was built with.
      dataset: the same data set, or a selection of it that has the examples to be added (and, for
        more views, those that are there).
      views: those that it was built with.
      num_views: how many views each example has afterwards; by default as many as before.
      batch_size: as in `build`, like all that follow.
      block_size: examples in a file of the addition, as in `build`.
      batch_sharding: where batches are put.
      process: `(index, count)` of this process.
      allow: names of contract fields that may differ.
      progress: whether to show a progress bar.

    Returns:
      The opened cache.

    Raises:
      CacheError: there is no cache, or one of another teacher, data set or views.
      ValueError: as `build`.
    """
    there = Cache(path)
    fields = there.contract
    return _fill(
        path, teacher, dataset, views or Views(), there.codecs, num_views or there.num_views,
        batch_size, block_size, fields.get("num_classes"), batch_sharding, process, allow,
        progress, extend=True,
    )  # fmt: skip


def make_teacher_fn(
    teacher: Network,
    dataset: Examples,
    views: Views,
    codecs: Mapping[str, Codec],
    shapes: Mapping[str, tuple[int, ...]],
    sharding: jax.sharding.Sharding | None = None,
) -> Callable[[dict[str, Any]], Any]:
    """The compiled program that a teacher answers with: raw batch → (records, invalid rows)."""

    def ask(params: Any, state: Any, batch: Any) -> Any:
        labels, present = batch["labels"], batch.pop("present", None)
        rendered = views.render(batch)
        outputs = teacher.apply(params, state, rendered["inputs"])[0]
        numbers = {"ids": batch["id"], "view": batch["view"], "labels": labels}
        return encode(outputs, codecs, shapes, present=present, **numbers)

    def with_present(batch: dict[str, Any]) -> dict[str, Any]:
        present = dataset.token_mask(batch["id"])
        return batch if present is None else {**batch, "present": present}

    # Arguments rather than constants, which the compiler would copy into the program.
    variables = teacher.params, teacher.state
    if not isinstance(sharding, NamedSharding):
        compiled = jax.jit(ask)

        def asked_here(batch: dict[str, Any]) -> Any:
            batch = with_present(batch)
            return compiled(
                *variables, batch if sharding is None else jax.device_put(batch, sharding)
            )

        return asked_here
    mesh, everywhere = sharding.mesh, PartitionSpec()
    assert isinstance(mesh, Mesh)
    if mesh.explicit_axes:
        # Networks are written without regard to a mesh.
        spread = jax.jit(jax.sharding.auto_axes(ask, out_sharding=everywhere))
    else:
        spread = jax.jit(ask, out_shardings=NamedSharding(mesh, everywhere))

    def asked(batch: dict[str, Any]) -> Any:
        placed = jax.tree.map(
            lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, leaf.__getitem__),
            with_present(batch),
        )
        with jax.set_mesh(mesh):
            return spread(*variables, placed)

    return asked


def answer_shapes(
    teacher: Network,
    dataset: Examples,
    views: Views,
    codecs: Mapping[str, Codec],
    valid_classes: int | None,
) -> tuple[dict[str, tuple[int, ...]], int | None]:
    """The shape of one answer of each output that is kept, and the width of the teacher's logits.

    Raises:
      ValueError: an output that the teacher does not have, logits of the wrong rank, more valid
        classes than logits, more tokens than embeddings.
    """
    check_vocabulary(dataset, teacher=teacher.vocab_size)
    if not len(dataset):
        raise ValueError("the number of examples must be at least 1, not 0")
    example = raw_batch(dataset, views, dataset.ids[:1], np.zeros(1, np.int32))

    def outputs(batch: Any) -> Any:
        inputs = views.render(batch)["inputs"]
        return teacher.apply(teacher.params, teacher.state, inputs)[0]

    found = jax.eval_shape(outputs, example)
    shapes = {name: tuple(found[name].shape[1:]) for name in codecs if name in found}
    if absent := [name for name in codecs if name not in found]:
        raise ValueError(f"the teacher has no output {absent}; it has {sorted(found)}")
    if "logits" not in shapes:
        return shapes, None
    if not shapes["logits"]:
        raise ValueError(
            f"the teacher's logits must be [batch, ..., num_classes], not {found['logits'].shape}"
        )
    width = shapes["logits"][-1]
    if valid_classes is not None:
        if not 1 <= valid_classes <= width:
            raise ValueError(f"valid_classes must lie between 1 and {width}, not {valid_classes}")
        shapes["logits"] = (*shapes["logits"][:-1], valid_classes)
    return shapes, width


def _fill(
    path: str | pathlib.Path,
    teacher: Network,
    dataset: Examples,
    views: Views,
    codec: Codec | Mapping[str, Codec] | None,
    num_views: int,
    batch_size: int,
    block_size: int | None,
    valid_classes: int | None,
    batch_sharding: jax.sharding.Sharding | None,
    process: tuple[int, int] | None,
    allow: Collection[str],
    progress: bool,
    *,
    extend: bool,
) -> Cache:
    codecs = by_output(codec)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
    together = batch_sharding is not None and not batch_sharding.is_fully_addressable
    if together and process is not None:
        raise ValueError(
            f"process={process} with a batch_sharding over the devices of several processes: these "
            "share every batch, so leave process out"
        )
    if not together and not all(_is_here(leaf) for leaf in jax.tree.leaves(teacher.params)):
        raise ValueError(
            "the teacher's parameters are spread over several processes, and batch_sharding is "
            f"{batch_sharding}: give one of the same mesh, such as NamedSharding(mesh, P('data')), "
            "so that all processes ask together"
        )
    shapes, num_logits = answer_shapes(teacher, dataset, views, codecs, valid_classes)
    writer = Writer(
        path,
        teacher,
        dataset,
        views,
        shapes=shapes,
        codec=codecs,
        num_views=num_views,
        num_logits=num_logits,
        block_size=block_size,
        process=(0, 1) if together else process or (jax.process_index(), jax.process_count()),
        extend=extend,
        allow=allow,
    )
    ask = make_teacher_fn(teacher, dataset, views, codecs, shapes, batch_sharding)
    if together:
        # Everyone has seen the same blocks missing before the first one writes any.
        multihost_utils.sync_global_devices(f"asking for {path}")
    stores = not together or jax.process_index() == 0
    take = functools.partial(_store_one if stores else _received, writer)
    under_way: collections.deque[Any] = collections.deque()
    with writer if stores else contextlib.nullcontext():
        for ids, view in _shown(writer, batch_size, progress and stores):
            # The last batch of a block is filled up, so that one compiled program serves them all.
            full = np.concatenate([ids, np.full(batch_size - len(ids), ids[0], ids.dtype)])
            batch = raw_batch(dataset, views, full, np.full(batch_size, view, np.int32))
            under_way.append((ids, view, ask(batch)))
            if len(under_way) > _AHEAD:
                take(*under_way.popleft())
        while under_way:
            take(*under_way.popleft())
    if together:
        multihost_utils.sync_global_devices(f"stored in {path}")
    return writer.cache()


def _is_here(leaf: Any) -> bool:
    return not isinstance(leaf, jax.Array) or leaf.is_fully_addressable


def _store_one(writer: Writer, ids: np.ndarray, view: int, answer: Any) -> None:
    records = _received(writer, ids, view, answer)
    arrays = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
    writer.write_records(ids, view, arrays)


def _received(writer: Writer, ids: np.ndarray, view: int, answer: Any) -> dict[str, Any]:
    """Waits for a teacher's answer; refuses one that cannot be kept."""
    records, invalid = jax.device_get(answer)
    check_invalid_rows(invalid, writer.plan.codecs, ids, view)
    return records


def _shown(writer: Writer, batch_size: int, progress: bool) -> Iterator[tuple[np.ndarray, int]]:
    batches, total = writer.missing(batch_size), writer.remaining()
    if not progress or not total:
        yield from batches
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("asking the teacher"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} answers"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=total, rate="")
        for ids, view in batches:
            yield ids, view
            bar.advance(task, len(ids))
            speed = bar.tasks[0].speed
            bar.update(task, rate=f"{speed:,.0f}/s" if speed else "")
