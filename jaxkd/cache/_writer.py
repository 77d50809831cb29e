"""Writing a cache from outputs in NumPy arrays, of a teacher of any kind."""

import functools
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd.cache._behavior import TeacherBehavior
from jaxkd.cache._contents import CacheContents
from jaxkd.cache._contract import checked_views
from jaxkd.cache._encode import check_invalid_rows, encode, encode_sketches
from jaxkd.cache._foreign import checked_outputs
from jaxkd.cache._location import normalized
from jaxkd.cache._plan import check_process, plan_build
from jaxkd.cache._record_format import Codecs, RecordFormat, by_output
from jaxkd.cache._record_writer import RecordWriter
from jaxkd.data import Examples
from jaxkd.data._examples import check_unique, integer, integers
from jaxkd.data._fields import take
from jaxkd.networks import Network
from jaxkd.networks._arguments import shown
from jaxkd.teachers import ForeignTeacher
from jaxkd.views import Views

SpotCheck = Callable[[np.ndarray, int], np.ndarray | Mapping[str, np.ndarray]]
"""(ids, view) → the teacher's outputs, as `Writer.write` takes them."""


class Writer(RecordWriter):
    """Writes the outputs of any teacher, in any order, by example id and view.

    The teacher may be a network in another framework, a service or a file of predictions: whatever
    yields NumPy arrays. Killed and made again with the same arguments, `missing` names what has not
    been written. Several writers may work on one cache at the same time, in one process or on many
    hosts, each with its own `process`; the last one to finish seals the cache.

    Args:
      path: a directory, or any URL that TensorStore writes to (`s3://`, `gs://`).
      teacher: what names this very teacher, such as `{"name": "resnet50.onnx", "sha256": "…"}`: a
        cache is refused to whoever opens it with another fingerprint.
      dataset: the examples.
      views: how an example is rendered, by default unchanged.
      shapes: output name → shape of the output for one example, `{"logits": (1000,)}`.
      codec: how an output is stored, by default the logits as `Dense("float32")`; or one codec for
        each output, `{"logits": TopK(16), "embedding": Dense("float16")}`.
      num_views: views of each example, numbered from 0.
      num_logits: width of the teacher's logits where it is larger than the number of classes, as in
        padded vocabularies; what lies beyond is cut off.
      block_size: examples in a file; by default as in `jaxkd.cache.build`.
      process: `(index, count)` of this writer among those that share the work.
      extend: whether a cache that is there may grow by views and examples.
      spot_check: function of `(ids, view)` that returns the teacher's outputs as `write` takes
        them. It is called for 64 examples: when the cache is created, to keep the outputs, and
        whenever a writer goes on with it, which is refused if they differ. Without it a teacher is
        known by its fingerprint alone.
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
        teacher: Network | ForeignTeacher | Mapping[str, str],
        dataset: Examples,
        views: Views | None = None,
        *,
        shapes: Mapping[str, tuple[int, ...]],
        codec: Codecs = None,
        num_views: int = 1,
        num_logits: int | None = None,
        block_size: int | None = None,
        process: tuple[int, int] = (0, 1),
        extend: bool = False,
        spot_check: SpotCheck | None = None,
        allow: Collection[str] = (),
    ):
        check_process(process)
        if spot_check is not None and not callable(spot_check):
            raise TypeError(
                f"spot_check must be a function (ids, view) → outputs, not {shown(spot_check)}"
            )
        record_format = RecordFormat(by_output(codec), _checked_shapes(shapes), num_logits)
        contents = CacheContents(teacher, dataset, checked_views(views), record_format)
        plan = plan_build(
            normalized(path),
            contents,
            num_views=num_views,
            block_size=block_size,
            extend=extend,
            allow=allow,
            behavior=_behavior(contents, spot_check),
        )
        super().__init__(plan, process)

    def write(
        self, ids: np.ndarray, view: int, outputs: np.ndarray | Mapping[str, np.ndarray]
    ) -> None:
        """Encodes the outputs for some examples in one view, and takes them in.

        Args:
          ids: unique example ids `[n]`, in any order.
          view: number of the view.
          outputs: logits `[n, num_classes]`, or name → array `[n, ...]`; outputs without a codec
            are left out.

        Raises:
          CacheError: values that a codec cannot store, or a view that is not in the cache.
          KeyError: examples that are not in the data set.
          TypeError: ids or a view that are not integers.
          ValueError: arrays of another shape, an output that is missing, or an id given twice.
        """
        ids, view = integers(ids, "ids"), integer(view, "view")
        if ids.ndim != 1:
            raise ValueError(f"ids must have the shape [n], not {list(ids.shape)}")
        named = outputs if isinstance(outputs, Mapping) else {"logits": outputs}
        contents = self.plan.contents
        dataset, record_format = contents.dataset, contents.record_format
        # Of the cache on disk: an allowed difference in num_logits leaves that in force.
        width = self.plan.document["fields"].get("num_logits")
        values = checked_outputs(named, record_format, width, len(ids))
        if not len(ids):
            return
        check_unique(ids)
        rows = dataset.rows(ids)
        ids = dataset.ids[rows]
        # Sizes that are powers of two, so that few programs are compiled.
        size = 1 << max(0, len(ids) - 1).bit_length()
        pad = np.minimum(np.arange(size), len(ids) - 1)
        records, invalid = self._encode(
            {name: value[pad] for name, value in values.items()},
            ids=ids[pad],
            view=np.full(size, view, np.int32),
            labels=take(dataset.labels, rows[pad]),
            token_mask=dataset.token_mask(ids[pad]),
        )
        check_invalid_rows(jax.device_get(invalid), record_format, ids, view)
        arrays = {name: np.asarray(array)[: len(ids)] for name, array in records.items()}
        self.write_records(ids, view, arrays)

    @functools.cached_property
    def _encode(self) -> Any:
        record_format = self.plan.contents.record_format
        return jax.jit(functools.partial(encode, record_format=record_format))


def _behavior(contents: CacheContents, spot_check: SpotCheck | None) -> TeacherBehavior:
    """What the teacher of a writer computes on the spots, as the function says."""
    if spot_check is None:
        return TeacherBehavior(contents)
    record_format = contents.record_format
    sketches = jax.jit(functools.partial(encode_sketches, record_format=record_format))

    def outputs(ids: np.ndarray, views: np.ndarray) -> dict[str, Any]:
        groups = [np.flatnonzero(views == view) for view in np.unique(views)]
        parts = []
        for rows in groups:
            given = spot_check(ids[rows], int(views[rows[0]]))
            named = given if isinstance(given, Mapping) else {"logits": given}
            try:
                values = checked_outputs(named, record_format, record_format.num_logits, len(rows))
            except ValueError as error:
                raise ValueError(f"what spot_check returns does not fit: {error}") from None
            mask = contents.dataset.token_mask(ids[rows])
            parts.append(jax.device_get(sketches(values, token_mask=mask)))
        order = np.argsort(np.concatenate(groups))
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[order], *parts)

    return TeacherBehavior(contents, outputs, always=True)


def _checked_shapes(shapes: Any) -> dict[str, tuple[int, ...]]:
    if not isinstance(shapes, Mapping) or not shapes:
        raise TypeError(
            f"shapes maps outputs to the shape for one example, {{'logits': (10,)}}, not {shapes!r}"
        )
    checked = {}
    for name, shape in shapes.items():
        if not isinstance(shape, Sequence) or isinstance(shape, str):
            example = f"({shape},)" if isinstance(shape, int) else "(10,)"
            raise TypeError(f"the shape of {name!r} is a tuple, write {example}, not {shape!r}")
        sizes = tuple(integer(size, f"each size of {name!r}") for size in shape)
        if any(size < 1 for size in sizes):
            raise ValueError(f"each size of {name!r} must be at least 1, the shape is {sizes}")
        if name == "logits" and not sizes:
            raise ValueError("logits have an axis of classes: write {'logits': (num_classes,)}")
        checked[name] = sizes
    return checked
