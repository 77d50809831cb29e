"""Metrics of a student and its teacher, whose outputs the batch carries."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.metrics.in_step._metric import (
    Batch,
    Mean,
    Outputs,
    is_number,
    known,
    mean_of,
    named_output,
    of_teacher,
)


@dataclasses.dataclass(frozen=True)
class _OfPairs:
    """A metric that compares an output with one of the teacher.

    Attributes:
      output: name of the student's output.
      teacher: name of the teacher's output; None for that of the student's.
    """

    higher_is_better: ClassVar[bool] = True
    is_fraction: ClassVar[bool] = False
    output: str = "logits"
    teacher: str | None = None

    def read(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array, Any]:
        """Returns both outputs, of one shape, and which examples are not padding."""
        who, name = type(self).__name__, self.teacher or self.output
        student = named_output(outputs, self.output, "the network", who)
        teacher = of_teacher(batch, name, who)
        if student.shape != teacher.shape:
            raise ValueError(
                f"{who} compares {self.output!r} {tuple(student.shape)} of the network with "
                f"{name!r} {tuple(teacher.shape)} of the teacher: they must have one shape"
            )
        return student, teacher, batch.get("where")


@dataclasses.dataclass(frozen=True)
class Agreement(Mean, _OfPairs):
    """Fraction of the examples for which student and teacher predict the same class.

    Of one logit, or with `per_entry`, it is that of the entries whose logits have one sign.

    Attributes:
      output: name of the student's output, `[..., num_classes]`.
      teacher: name of the teacher's output; None for the same name.
      per_entry: whether each entry of a multi-label network is a decision of its own.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = Agreement()
      >>> batch = {"teacher": {"logits": jnp.eye(2)}}
      >>> metric.compute(metric({"logits": jnp.array([[5.0, 0.0], [1.0, 0.0]])}, batch))
      0.5
    """

    is_fraction = True

    per_entry: bool = False

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the number of equal predictions, and of what counts."""
        student, teacher, where = self.read(outputs, batch)
        if self.per_entry or student.shape[-1] == 1:
            equal = (student > 0) == (teacher > 0)
            return mean_of(equal & ~jnp.isnan(student) & ~jnp.isnan(teacher), where)
        equal = jnp.argmax(student, -1) == jnp.argmax(teacher, -1)
        return mean_of(equal & is_number(student) & is_number(teacher), where)


@dataclasses.dataclass(frozen=True)
class CosineSimilarity(Mean, _OfPairs):
    """Mean cosine of the student's and the teacher's embedding of an example.

    Attributes:
      output: name of the student's output, `[..., width]`.
      teacher: name of the teacher's output; None for the same name.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = CosineSimilarity(output="embedding")
      >>> outputs = {"embedding": jnp.array([[1.0, 0.0], [0.0, 2.0]])}
      >>> batch = {"teacher": {"embedding": jnp.array([[3.0, 0.0], [1.0, 0.0]])}}
      >>> metric.compute(metric(outputs, batch))
      0.5
    """

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum of the cosines, and the number of what counts."""
        student, teacher, where = self.read(outputs, batch)
        product = jnp.sum(student * teacher, axis=-1)
        length = jnp.linalg.norm(student, axis=-1) * jnp.linalg.norm(teacher, axis=-1)
        return mean_of(product / jnp.where(length > 0, length, 1), where)


@dataclasses.dataclass(frozen=True)
class PearsonCorrelation(_OfPairs):
    """Correlation over all examples of the student's and the teacher's values.

    Attributes:
      output: name of the student's output.
      teacher: name of the teacher's output; None for the same name.
      center: a number near the mean of the values, as of `R2`.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = PearsonCorrelation()
      >>> values = jnp.array([1.0, 2.0, 4.0])
      >>> sums = metric({"logits": values}, {"teacher": {"logits": 3 * values + 1}})
      >>> print(f"{metric.compute(sums):.4f}")
      1.0000
    """

    center: float = 0.0

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the count, and the sums of both sides, of their squares and products."""
        student, teacher, where = self.read(outputs, batch)
        x, y = student - self.center, teacher - self.center
        parts = jnp.ones_like(x), x, y, jnp.square(x), jnp.square(y), x * y
        return tuple(mean_of(part, where)[0] for part in parts)

    def compute(self, sums: Any) -> float:
        """Returns the correlation; nan where a side never varies."""
        count, x, y, xx, yy, xy = (np.float64(part) for part in sums)
        known(count)
        variances = (xx - x * x / count) * (yy - y * y / count)
        return float((xy - x * y / count) / np.sqrt(variances)) if variances > 0 else float("nan")
