"""Before a large build: what it will cost, and what it will save."""

import dataclasses
import sys
from typing import Any

import jax
import numpy as np

from jaxkd.cache._contents import CacheContents
from jaxkd.cache._foreign import Teacher, runnable
from jaxkd.cache._record_format import Codecs
from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True)
class BuildForecast:
    """Size of a cache, and the work that it saves.

    Attributes:
      records: number of records, one for each example and view.
      bytes_per_record: bytes of one record, before compression.
      teacher_flops: floating-point operations of the teacher's forward pass for one example; None
        of a teacher outside of JAX.
      student_flops: those of the student's; None without a student.

    Example:
      >>> predicted = BuildForecast(50_000, 400, teacher_flops=6e8, student_flops=1e8)
      >>> predicted.bytes, predicted.gain
      (20000000, 3.0)
    """

    records: int
    bytes_per_record: int
    teacher_flops: float | None
    student_flops: float | None

    @property
    def bytes(self) -> int:
        """Bytes of all records."""
        return self.records * self.bytes_per_record

    @property
    def gain(self) -> float | None:
        """Cost of a step with the teacher online over that with the cache: `1 + T / (3 S)`.

        T and S are the forward passes of teacher and student; a training step of the student costs
        three of its forward passes. The build itself is one pass of the teacher over all views: it
        pays where views are used more than once, in more epochs or by more students.
        """
        if not self.student_flops or self.teacher_flops is None:
            return None
        return 1 + self.teacher_flops / (3 * self.student_flops)

    def __str__(self) -> str:
        text = f"{self.records:,} records of {self.bytes_per_record:,} bytes: {_size(self.bytes)}"
        if self.teacher_flops is not None:
            text += f"; teacher {self.teacher_flops:,.0f} FLOPs an example"
        if self.gain is not None:
            text += (
                f", student {self.student_flops:,.0f}: a step is predicted to be {self.gain:.2f} "
                "times cheaper than with the teacher online"
            )
        return text


def forecast(
    teacher: Teacher,
    dataset: Examples,
    views: Views | None = None,
    *,
    name: str | None = None,
    codec: Codecs = None,
    num_views: int = 1,
    valid_classes: int | None = None,
    student: Network | None = None,
) -> BuildForecast:
    """Predicts a build without running it.

    Args:
      teacher: the teacher; this and what follows as in `jaxkd.cache.build`.
      dataset: the examples.
      views: how an example is rendered.
      name: of a teacher that is a function.
      codec: how an output is stored.
      num_views: views of each example.
      valid_classes: number of logits that are classes.
      student: the network to be trained, for the predicted gain.

    Returns:
      The forecast.

    Raises:
      ValueError: as `jaxkd.cache.build`.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> print(forecast(teacher, data, student=teacher))
      4 records of 12 bytes: 48 B; teacher 24 FLOPs an example, student 24: a step is predicted to
      be 1.33 times cheaper than with the teacher online
    """
    teacher = runnable(teacher, name)
    contents = CacheContents.of_teacher(teacher, dataset, views, codec, valid_classes)
    return BuildForecast(
        records=len(dataset) * num_views,
        bytes_per_record=contents.record_format.bytes_per_record,
        teacher_flops=_flops(teacher, dataset, contents.views),
        student_flops=_flops(student, dataset, contents.views),
    )


def _flops(network: Any, dataset: Examples, views: Views) -> float | None:
    if not isinstance(network, Network):
        return None
    batch = raw_batch(dataset, views, dataset.ids[:1], np.zeros(1, np.int32))
    inputs = jax.eval_shape(lambda batch: views.render(batch)["inputs"], batch)

    def forward(params: object, state: object, inputs: jax.Array) -> object:
        return network.apply(params, state, inputs)[0]

    lowered = jax.jit(forward).lower(network.params, network.state, inputs)
    cost = lowered.cost_analysis()
    return float((cost or {}).get("flops", 0.0))


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def confirm_build(
    predicted: BuildForecast, *, above: int = 10_000_000_000, yes: bool = False
) -> None:
    """Asks on the terminal for a confirmation of a large build.

    Args:
      predicted: from `forecast`.
      above: bytes above which a confirmation is needed.
      yes: whether the build is confirmed already.

    Raises:
      ValueError: the build is not confirmed, or there is no terminal.

    Example:
      >>> large = BuildForecast(10_000_000, 2000, teacher_flops=None, student_flops=None)
      >>> confirm_build(large, yes=True)  # nothing is asked
      >>> confirm_build(large, above=30_000_000_000)  # 20 GB: nothing is asked
    """
    if predicted.bytes <= above or yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(
            f"the cache will take {_size(predicted.bytes)}, more than {_size(above)}, and there is "
            "no terminal to confirm it on: pass --yes"
        )
    if input(f"Build a cache of {_size(predicted.bytes)}? [y/N] ").strip().lower() != "y":
        raise ValueError("nothing was built")
