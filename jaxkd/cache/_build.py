"""Building a cache: the teacher runs once over every view, block by block."""

import math
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract, _store
from jaxkd.cache._cache import Cache, open_contract
from jaxkd.data import Dataset, raw_batch
from jaxkd.networks import Network
from jaxkd.targets import Codec, Dense, damaged, from_specification
from jaxkd.views import Views


def build(
    path: str | pathlib.Path,
    teacher: Network,
    dataset: Dataset,
    views: Views | None = None,
    *,
    codec: Codec | None = None,
    num_views: int = 1,
    batch_size: int = 256,
    block_size: int = 8192,
    progress: bool = True,
) -> Cache:
    """Writes a teacher's answers to all examples in all views; resumes what a kill cut short.

    A block of examples is computed, written under a temporary name and renamed, while the next one
    is being computed. Called again with the same arguments, it computes the missing blocks alone.

    Args:
      path: a directory, or any URL that TensorStore writes to.
      teacher: the network to ask, in evaluation mode.
      dataset: the examples. Their order makes no difference.
      views: how an example is seen, by default as it is.
      codec: how an answer is kept, by default `Dense("float32")`.
      num_views: views of each example, numbered from 0.
      batch_size: examples in a forward pass; what is stored differs by rounding alone.
      block_size: examples in a file, the most work that a kill can lose.
      progress: whether to show a progress bar.

    Returns:
      The opened cache.

    Raises:
      CacheError: there is a cache of another teacher, data set, view specification, codec or
        number of views at `path` (each differing field is named); or an answer that the codec
        cannot keep.
      ValueError: sizes that are not positive, an empty data set, logits of the wrong rank.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> cache.read(np.array([2, 0]), view=0).decode()["logits"].shape
      (2, 3)
    """
    views, codec = views or Views(), codec or Dense()
    for name, size in {
        "num_views": num_views,
        "batch_size": batch_size,
        "block_size": block_size,
        "the number of examples": len(dataset),
    }.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")
    example = raw_batch(dataset, views, dataset.ids[:1], np.zeros(1, np.int32))
    num_classes = _num_classes(teacher, views, example)
    layout = codec.layout(num_classes)
    from_specification(codec.specification())  # what cannot be read back is not written
    contract = {
        **_contract.of_teacher(teacher),
        **_contract.of_dataset(dataset),
        **_contract.of_views(dataset, views),
        "num_classes": num_classes,
        "codec": codec.specification(),
        "num_views": num_views,
        "examples": _contract.of_ids(dataset.ids),
    }
    document = _store.read_document(path, "contract.json")
    if document is None:
        document = {
            "format": 1,
            "fields": contract,
            "probe": _contract.probe(dataset, views),
            "block_size": min(block_size, math.ceil(len(dataset) / 256) * 256),
            "versions": {"jax": jax.__version__, "numpy": np.__version__},
        }
        _store.open_ids(path, dataset.ids)
        _store.write_document(path, "contract.json", document)
    else:
        document = open_contract(path)
        _contract.check(str(path), document["fields"], contract)
        _contract.check_probe(str(path), document["probe"], dataset, views)

    block = document["block_size"]
    arrays = _store.open_arrays(path, layout, num_views, len(dataset), block, create=True)
    blocks = math.ceil(len(dataset) / block)
    missing = np.argwhere(~_store.blocks_present(path, layout, num_views, blocks))
    effort = _store.read_document(path, "effort.json") or {"seconds": 0.0, "answers": 0}
    started = time.perf_counter()
    writing: list[Any] = []
    ask = _asker(teacher, views, codec)
    for view, index in _shown(missing, progress, unit=min(block, len(dataset))):
        rows = slice(index * block, min((index + 1) * block, len(dataset)))
        records = _answers(ask, dataset, views, dataset.ids[rows], view, batch_size, codec)
        for future in writing:
            future.result()
        writing = [arrays[name][view, rows].write(record) for name, record in records.items()]
        now = time.perf_counter()
        effort["seconds"] += now - started
        effort["answers"] += rows.stop - rows.start
        started = now
        _store.write_document(path, "effort.json", effort)
    for future in writing:
        future.result()
    return Cache(path)


def _num_classes(teacher: Network, views: Views, example: dict[str, np.ndarray]) -> int:
    def logits(batch):
        inputs = views.render(batch)["inputs"]
        return teacher.apply(teacher.params, teacher.state, inputs)[0]["logits"]

    shape = jax.eval_shape(logits, example).shape
    if len(shape) != 2:
        raise ValueError(f"the teacher's logits must be [batch, num_classes], not {shape}")
    return shape[1]


def _asker(teacher: Network, views: Views, codec: Codec) -> Any:
    @jax.jit
    def ask(params, state, batch):
        logits = teacher.apply(params, state, views.render(batch)["inputs"])[0]["logits"]
        return codec.encode(logits), damaged(codec, logits)

    # Arguments rather than constants, which the compiler would copy into the program.
    return lambda batch: ask(teacher.params, teacher.state, batch)


def _answers(
    ask: Any,
    dataset: Dataset,
    views: Views,
    ids: np.ndarray,
    view: int,
    batch_size: int,
    codec: Codec,
) -> dict[str, np.ndarray]:
    parts = []
    for start in range(0, len(ids), batch_size):
        some = ids[start : start + batch_size]
        # The last batch is filled up, so that one compiled program serves them all.
        full = np.concatenate([some, np.full(batch_size - len(some), some[0], some.dtype)])
        batch = raw_batch(dataset, views, full, np.full(batch_size, view, np.int32))
        parts.append((some, ask(batch)))
    records = []
    for some, (record, lost) in parts:
        if (bad := np.flatnonzero(np.asarray(lost)[: len(some)])).size:
            raise _contract.CacheError(
                f"{codec} cannot keep the teacher's logits of {bad.size} examples, ids "
                f"{some[bad][:5].tolist()} first, in view {view}: they are not finite or overflow. "
                "Mend the teacher or choose a wider dtype."
            )
        records.append({name: np.asarray(value)[: len(some)] for name, value in record.items()})
    return {name: np.concatenate([r[name] for r in records]) for name in records[0]}


def _shown(missing: np.ndarray, progress: bool, unit: int) -> Iterator[tuple[int, int]]:
    pairs = [(int(view), int(index)) for view, index in missing]
    if not progress or not pairs:
        yield from pairs
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("asking the teacher"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} answers"),
        TimeRemainingColumn(),
    )
    with Progress(*columns) as bar:
        task = bar.add_task("", total=len(pairs) * unit)
        for pair in pairs:
            yield pair
            bar.advance(task, unit)
