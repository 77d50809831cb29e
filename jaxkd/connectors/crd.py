"""The connector of contrastive representation distillation: embeddings and memory banks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.typing import ArrayLike

from jaxkd.connectors._blocks import Constant, check_widths, unit
from jaxkd.ops.banks import (
    NegativePool,
    crd_normalizer,
    negative_pool,
    sample_negatives,
    update_bank,
)


class _BankState(nnx.Variable):
    """A value that a module carries from one training step to the next without training it."""


class CRD(nnx.Module):
    """Unit embeddings of both sides, a memory bank for each, and negatives from the banks.

    Every training step samples negatives, passes the banks to the loss, and then moves the batch's
    rows toward the new embeddings. The constants Z come from the first training batch and stay. In
    evaluation nothing changes. Both embeddings are trained: with `learned_teacher=True` the loss
    lets the gradient through to the teacher's embedding, and it stops before the teacher.

    Batches need the field `id`, the number of each example in the data set. Rows where `where` is
    False take no part and leave the banks unchanged.

    Args:
      student_width: width of the student's vectors.
      teacher_width: width of the teacher's vectors.
      num_examples: number of rows of the banks; ids must be below it.
      dim: width of the embeddings.
      num_negatives: number of negatives of each example, with repetitions.
      temperature: temperature of the scores, in the loss and in Z alike.
      momentum: share of the old row in an update of the banks.
      labels: integers `[num_examples]`; negatives then come from other classes, as in the authors'
        code. None for negatives among all examples but the example itself.
      rngs: random streams for the initial weights, the initial banks and the negatives.

    Raises:
      ValueError: widths or numbers that are not positive, a temperature or momentum out of range,
        labels that are not `[num_examples]`; when called with concrete ids, ids without a row. In a
        compiled step such an id makes the example's loss NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connector = connectors.CRD(4, 6, 20, dim=8, num_negatives=5, rngs=nnx.Rngs(0))
      >>> student, teacher, ids = jnp.ones((2, 4)), jnp.ones((2, 6)), jnp.array([3, 7])
      >>> arguments = connector(student, teacher=teacher, id=ids, where=None)
      >>> [arguments[name].shape for name in ("student", "teacher_bank", "negatives")]
      [(2, 8), (20, 8), (2, 5)]

    Reference:
      Tian, Krishnan and Isola, Contrastive Representation Distillation, ICLR 2020; the authors'
      code.
    """

    def __init__(
        self,
        student_width: int,
        teacher_width: int,
        num_examples: int,
        *,
        dim: int = 128,
        num_negatives: int = 16_384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        labels: ArrayLike | None = None,
        rngs: nnx.Rngs,
    ):
        check_widths(student_width, teacher_width, dim)
        if num_examples < 2 or num_negatives < 1:
            raise ValueError(
                f"there must be at least 2 examples and 1 negative, not num_examples "
                f"{num_examples} and num_negatives {num_negatives}"
            )
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite, not {temperature}")
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum must lie in [0, 1], not {momentum}")
        classes = np.arange(num_examples) if labels is None else np.asarray(labels)
        if classes.shape != (num_examples,):
            raise ValueError(
                f"labels must have one class for each of {num_examples} examples, not shape "
                f"{classes.shape}"
            )
        self.num_negatives, self.temperature, self.momentum = num_negatives, temperature, momentum
        self.student = nnx.Linear(student_width, dim, rngs=rngs)
        self.teacher = nnx.Linear(teacher_width, dim, rngs=rngs)
        # Uniform, so that the expected squared length of a row is 1.
        bound = (3 / dim) ** 0.5
        self.student_bank, self.teacher_bank = (
            _BankState(
                jax.random.uniform(rngs.params(), (num_examples, dim), minval=-bound, maxval=bound)
            )
            for _ in range(2)
        )
        self.log_z = _BankState(jnp.zeros(2, jnp.float32))
        self.has_z = _BankState(jnp.zeros((), bool))
        pool = negative_pool(classes)
        self.order, self.start, self.size = (Constant(array) for array in pool)
        self.deterministic = False
        self.stream = rngs["dropout"].fork()

    def __call__(
        self, student: jax.Array, *, teacher: jax.Array, id: jax.Array, where: jax.Array | None
    ) -> dict[str, Any]:
        """Returns the arguments of `losses.crd` for vectors `[batch, width]` of both sides.

        Args:
          student: vectors `[batch, student_width]`.
          teacher: vectors `[batch, teacher_width]`.
          id: integers `[batch]`, the number of each example in the data set.
          where: boolean `[batch]`, the examples that count; None for all.

        Returns:
          Embeddings, banks, negatives and the constants Z by the names of the loss's parameters.
        """
        ids = self._checked(id, where)
        teacher = jax.lax.stop_gradient(teacher)
        if where is not None:
            ids = jnp.where(where, ids, 0)
            student, teacher = (jnp.where(where[:, None], x, 0) for x in (student, teacher))
        student, teacher = unit(self.student(student)), unit(self.teacher(teacher))
        banks = self.student_bank[...], self.teacher_bank[...]
        pool = NegativePool(self.order[...], self.start[...], self.size[...])
        negatives = sample_negatives(self.stream(), ids, pool, self.num_negatives)
        scoring: dict[str, Any] = {
            "ids": ids,
            "negatives": negatives,
            "temperature": self.temperature,
        }

        def log_z_of_batch() -> jax.Array:
            pairs = ((student, banks[1]), (teacher, banks[0]))
            values = [crd_normalizer(x, bank, **scoring, where=where) for x, bank in pairs]
            return jnp.stack(values).astype(self.log_z[...].dtype)

        log_z = jax.lax.cond(self.has_z[...], lambda: self.log_z[...], log_z_of_batch)
        arguments = {
            "student": student,
            "teacher": teacher,
            "student_bank": banks[0],
            "teacher_bank": banks[1],
            "student_normalizer": log_z[0],
            "teacher_normalizer": log_z[1],
            "learned_teacher": True,
            **scoring,
        }
        if where is not None:
            arguments["where"] = where
        if not self.deterministic:
            # A batch of padding alone gives no Z.
            any_selected = jnp.ones((), bool) if where is None else jnp.any(where)
            self.log_z[...] = jnp.where(any_selected, log_z, self.log_z[...])
            self.has_z[...] = self.has_z[...] | any_selected
            for bank, new in ((self.student_bank, student), (self.teacher_bank, teacher)):
                bank[...] = update_bank(bank[...], ids, new, momentum=self.momentum, where=where)
        return arguments

    def _checked(self, ids: jax.Array, where: jax.Array | None) -> jax.Array:
        """Returns the ids; raises ValueError for concrete ones without a row in the banks."""
        if isinstance(ids, jax.core.Tracer) or isinstance(where, jax.core.Tracer):
            return ids
        rows = self.student_bank.shape[0]
        outside = (np.asarray(ids) < 0) | (np.asarray(ids) >= rows)
        if where is not None:
            outside &= np.asarray(where)
        if outside.any():
            raise ValueError(
                f"the banks have rows 0 to {rows - 1} and no row {np.asarray(ids)[outside][0]}: "
                "num_examples must be the largest id plus one"
            )
        return jnp.asarray(ids)
