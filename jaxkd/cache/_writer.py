"""Writing a cache from answers in NumPy arrays, from whatever gave them."""

import functools
import pathlib
import time
from collections.abc import Collection, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

import jax
import numpy as np

from jaxkd.cache import _store
from jaxkd.cache._blocks import Blocks
from jaxkd.cache._cache import Cache
from jaxkd.cache._encode import check_invalid_rows, encode
from jaxkd.cache._plan import Plan, make_plan
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.targets import Codec, Dense
from jaxkd.views import Views

# A cut costs the answers of this many seconds at most.
_FLUSH_SECONDS = 30.0


class Writer:
    """Writes the answers of any teacher, in any order, by example id and view.

    The teacher may be a network in another framework, a service or a file of answers: whatever
    hands over NumPy arrays. Killed and made again with the same arguments, `missing` names what has
    not been written. Several writers may work on one cache at the same time, in one process or on
    many hosts, each with its own `process`; the last one to finish seals the cache.

    Args:
      path: a directory, or any URL that TensorStore writes to (`s3://`, `gs://`).
      teacher: what names this very teacher, such as `{"name": "resnet50.onnx", "sha256": "…"}`: a
        cache is refused to whoever opens it with another fingerprint.
      dataset: the examples.
      views: how an example is seen, by default as it is.
      shapes: output name → shape of one answer, `{"logits": (1000,)}`.
      codec: how an answer is kept, by default the logits as `Dense("float32")`; or one codec for
        each output, `{"logits": TopK(16), "embedding": Dense("float16")}`.
      num_views: views of each example, numbered from 0.
      num_logits: width of the teacher's logits where it is larger than the number of classes, as in
        padded vocabularies; what lies beyond is cut off.
      block_size: examples in a file; by default as in `jaxkd.cache.build`.
      process: `(index, count)` of this writer among those that share the work.
      extend: whether a cache that is there may grow by views and examples.
      allow: names of contract fields that may differ from those of a cache that is there.

    Raises:
      CacheError: a cache of something else at `path`.
      ValueError: sizes that are not positive, codecs that do not fit.

    Example:
      >>> import tempfile, numpy as np, jaxkd
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> sums = {"name": "sums"}
      >>> with Writer(tempfile.mkdtemp(), sums, data, shapes={"logits": (3,)}) as writer:
      ...     for ids, view in writer.missing(batch_size=2):
      ...         writer.write(ids, view, data.inputs[data.rows(ids)] @ np.ones((4, 3)))
      >>> writer.cache().read(np.array([2]), view=0).decode()["logits"]
      Array([[1., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        path: str | pathlib.Path,
        teacher: Network | Mapping[str, str],
        dataset: Examples,
        views: Views | None = None,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        codec: Codec | Mapping[str, Codec] | None = None,
        num_views: int = 1,
        num_logits: int | None = None,
        block_size: int | None = None,
        process: tuple[int, int] = (0, 1),
        extend: bool = False,
        allow: Collection[str] = (),
    ):
        if not 0 <= process[0] < process[1]:
            raise ValueError(f"process must be (index, count) with index < count, not {process}")
        self.plan: Plan = make_plan(
            str(path),
            teacher=teacher,
            dataset=dataset,
            views=views or Views(),
            codecs=by_output(codec),
            shapes={name: tuple(shape) for name, shape in shapes.items()},
            num_logits=num_logits,
            num_views=num_views,
            block_size=block_size,
            extend=extend,
            allow=allow,
        )
        self._process = process
        self._blocks = Blocks(self.plan.segments, f"writer{process[0]}")
        self._effort_name = f"effort/{process[0]}.json"
        self._effort = {"seconds": 0.0, "answers": 0}
        self._effort |= _store.read_document(self.plan.path, self._effort_name) or {}
        self._since = time.monotonic()

    def remaining(self) -> int:
        """How many answers of this writer's share have not come in."""
        return sum(len(self._blocks.wanted(*key)) for key in self._share())

    def missing(self, batch_size: int) -> Iterator[tuple[np.ndarray, int]]:
        """Which answers are wanted: batches of ids, with the number of their view.

        First those of this writer's share; then, instead of waiting for them, those that the other
        writers have not written yet.

        Args:
          batch_size: examples at most.

        Yields:
          int32 ids `[n]` and the view.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        asked = set()
        for share in (self._share, self._others):
            for number, block in share():
                if (number, block) in asked or (number, block) not in self._blocks.missing:
                    continue
                asked.add((number, block))
                ids = self._blocks.wanted(number, block)
                for start in range(0, len(ids), batch_size):
                    yield ids[start : start + batch_size], block.view

    def write(
        self, ids: np.ndarray, view: int, outputs: np.ndarray | Mapping[str, np.ndarray]
    ) -> None:
        """Takes in the answers to some examples in one view.

        Args:
          ids: example ids `[n]`, in any order.
          view: number of the view.
          outputs: logits `[n, num_classes]`, or name → array `[n, ...]`; more than the codecs keep
            may be given.

        Raises:
          CacheError: values that a codec cannot keep, or examples that are not in the data set.
          ValueError: arrays of another shape, or an output that is missing.
        """
        ids = np.asarray(ids, np.int32)
        named = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        plan = self.plan
        values = {name: self._checked(named, name, len(ids)) for name in plan.codecs}
        if not len(ids):
            return
        # Few sizes, so that few programs are compiled.
        size = 1 << max(0, len(ids) - 1).bit_length()
        pad = np.minimum(np.arange(size), len(ids) - 1)
        labels = plan.dataset.labels[plan.dataset.rows(ids[pad])]
        records, invalid = self._encoder(
            {name: value[pad] for name, value in values.items()},
            ids=ids[pad],
            view=np.full(size, view, np.int32),
            labels=labels,
            present=plan.dataset.token_mask(ids[pad]),
        )
        check_invalid_rows(jax.device_get(invalid), plan.codecs, ids, view)
        arrays = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
        self.write_records(ids, view, arrays)

    def write_records(self, ids: np.ndarray, view: int, arrays: dict[str, np.ndarray]) -> None:
        """Takes in answers that are encoded already."""
        self._effort["answers"] += self._blocks.put(ids, view, arrays)
        now = time.monotonic()
        self._effort["seconds"] += now - self._since
        self._since = now
        self._blocks.flush_if_older(_FLUSH_SECONDS)

    def flush(self) -> None:
        """Puts everything that has come in on disk, incomplete blocks too.

        Done by itself now and then; call it where answers are dear.
        """
        self._blocks.flush()

    def stored(self, view: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Everything of one view that has come in so far.

        Returns:
          `<output>.<array>` → `[examples, ...]` in the order of the data set's ids, and bool
          `[examples]`, where there is something.
        """
        return self._blocks.table(self.plan.dataset.ids, view)

    def close(self) -> bool:
        """Writes what has come in; seals the cache if nothing is missing.

        Returns:
          Whether the cache is complete.
        """
        complete = self._blocks.settle()
        _store.write_document(self.plan.path, self._effort_name, self._effort)
        return complete

    def cache(self) -> Cache:
        """The finished cache.

        Raises:
          CacheError: answers are missing.
        """
        return Cache(self.plan.path, codecs=[type(codec) for codec in self.plan.codecs.values()])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @functools.cached_property
    def _encoder(self) -> Any:
        plan = self.plan
        return jax.jit(functools.partial(encode, codecs=plan.codecs, shapes=plan.shapes))

    def _share(self) -> list[Any]:
        index, count = self._process
        # A block belongs to one writer by its place, whatever has been written so far.
        keys = sorted(self._blocks.missing, key=_order)
        return [key for key in keys if (key[1].view + key[1].index) % count == index]

    def _others(self) -> list[Any]:
        if self._process[1] == 1:
            return []
        self._blocks.refresh()
        left = sorted(self._blocks.missing, key=_order)
        # Each begins at another place, so that two do not follow each other.
        start = len(left) * self._process[0] // self._process[1]
        return left[start:] + left[:start]

    def _checked(self, outputs: Mapping[str, np.ndarray], name: str, count: int) -> np.ndarray:
        if name not in outputs:
            raise ValueError(f"the cache keeps {name!r}, the answers have {sorted(outputs)}")
        value, shape = np.asarray(outputs[name]), self.plan.shapes[name]
        if name == "logits":
            shape = (*shape[:-1], self._num_logits)
        if value.shape != (count, *shape):
            raise ValueError(
                f"{name} of {count} examples must have the shape {(count, *shape)}, not "
                f"{value.shape}"
            )
        return value

    @functools.cached_property
    def _num_logits(self) -> int:
        document = _store.read_document(self.plan.path, "contract.json")
        assert document is not None
        return int(document["fields"]["num_logits"])


def by_output(codec: Codec | Mapping[str, Codec] | None) -> dict[str, Codec]:
    """Codecs by the output that they keep."""
    if codec is None:
        return {"logits": Dense()}
    if isinstance(codec, Mapping):
        return dict(codec)
    return {"logits": codec}


def _order(key: Any) -> tuple[int, int, int]:
    number, block = key
    return number, block.view, block.index
