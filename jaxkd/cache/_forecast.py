"""Before a large build: what it will take, and what it will save."""

import dataclasses
import sys
from collections.abc import Mapping

import jax
import numpy as np

from jaxkd.cache._build import answer_shapes
from jaxkd.cache._writer import by_output
from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network
from jaxkd.targets import Codec, bytes_per_record
from jaxkd.views import Views


@dataclasses.dataclass(frozen=True)
class BuildForecast:
    """What a cache will be.

    Attributes:
      records: number of records, one for each example and view.
      bytes_per_record: before compression.
      teacher_flops: of the teacher's forward pass, for one example.
      student_flops: of the student's; None without a student.
    """

    records: int
    bytes_per_record: int
    teacher_flops: float
    student_flops: float | None

    @property
    def bytes(self) -> int:
        """Of all answers."""
        return self.records * self.bytes_per_record

    @property
    def gain(self) -> float | None:
        """How many times cheaper a step becomes than with the teacher online: `1 + T / (3 S)`.

        T and S are the forward passes; a student's step is three of its own. The build itself
        is one pass of the teacher over all views: it pays where views are used more than once, in
        more epochs or by more students.
        """
        if not self.student_flops:
            return None
        return 1 + self.teacher_flops / (3 * self.student_flops)

    def __str__(self) -> str:
        text = (
            f"{self.records:,} answers of {self.bytes_per_record:,} bytes: {_size(self.bytes)}; "
            f"teacher {self.teacher_flops:,.0f} FLOPs an example"
        )
        if self.gain is not None:
            text += (
                f", student {self.student_flops:,.0f}: a step is predicted to be {self.gain:.2f} "
                "times cheaper than with the teacher online"
            )
        return text


def forecast(
    teacher: Network,
    dataset: Examples,
    views: Views | None = None,
    *,
    codec: Codec | Mapping[str, Codec] | None = None,
    num_views: int = 1,
    valid_classes: int | None = None,
    student: Network | None = None,
) -> BuildForecast:
    """Predicts a build without running it.

    Args:
      teacher: the network to ask; this and what follows as in `jaxkd.cache.build`.
      dataset: the examples.
      views: how an example is seen.
      codec: how an answer is kept.
      num_views: views of each example.
      valid_classes: how many of the logits are classes.
      student: for the predicted gain.

    Returns:
      A `BuildForecast`.

    Raises:
      ValueError: as `jaxkd.cache.build`.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> print(forecast(teacher, data, student=teacher))
      4 answers of 12 bytes: 48 B; teacher 24 FLOPs an example, student 24: a step is predicted to
      be 1.33 times cheaper than with the teacher online
    """
    views, codecs = views or Views(), by_output(codec)
    shapes, _ = answer_shapes(teacher, dataset, views, codecs, valid_classes)
    flops = [
        None if network is None else _flops(network, dataset, views)
        for network in (teacher, student)
    ]
    return BuildForecast(
        records=len(dataset) * num_views,
        bytes_per_record=sum(bytes_per_record(c, shapes[name]) for name, c in codecs.items()),
        teacher_flops=flops[0] or 0.0,
        student_flops=flops[1],
    )


def _flops(network: Network, dataset: Examples, views: Views) -> float:
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
    """Asks before a large build.

    Args:
      predicted: from `forecast`.
      above: bytes from which on the question is asked.
      yes: the answer, given beforehand.

    Raises:
      ValueError: the answer is no, or there is nobody to ask.
    """
    if predicted.bytes <= above or yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(
            f"the cache will take {_size(predicted.bytes)}, more than {_size(above)}, and there is "
            "no terminal to ask on: say --yes"
        )
    if input(f"Build a cache of {_size(predicted.bytes)}? [y/N] ").strip().lower() != "y":
        raise ValueError("nothing was built")
