"""A teacher's k largest logits, with the mass of all other classes in one tail bucket."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import find_temperature
from jaxkd.losses._numerics import temper


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseLogits:
    """A teacher's k largest logits, which every divergence and `kd` accept as `teacher`.

    The divergence is then taken between two distributions over k + 1 buckets: the k classes that
    were kept, and all others together. Merging classes can only lose information, so the result is
    a lower bound on the dense divergence, equal to it when k is `num_classes`; it is zero, with
    zero gradient, at student = teacher; and the gradient of the forward KL to the student's logits
    is `(q - p_hat) / temperature`, where `p_hat` is the teacher on the kept classes and the
    teacher's tail mass, shared as the student shares it, on the others.

    A row may keep fewer classes than others: an index of `num_classes` marks an empty entry, which
    takes no part whatever its logit.

    The mass of the tail at a temperature cannot be computed from the kept logits, and so is stored
    for each temperature that will be used.

    Attributes:
      indices: `[..., k]`, int32, the kept classes, distinct within a row; `num_classes` where there
        is none.
      logits: `[..., k]`, their logits at temperature 1, up to a constant for each row.
      tail: `[..., len(temperatures)]`, float32: at each temperature T the logsumexp of `logits / T`
        over the classes that were not kept, the same constant subtracted before dividing; -inf
        where there is no such class.
      temperatures: temperatures at which the tail is known.
      num_classes: number of classes of the full distribution.

    Raises:
      ValueError: no temperature, or one that is not positive and finite.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxkd import losses
      >>> logits, indices = jax.lax.top_k(jnp.array([0.0, 3.0, 1.0, 2.0]), 2)
      >>> teacher = losses.SparseLogits(
      ...     indices=indices,
      ...     logits=logits,
      ...     tail=jnp.array([jnp.logaddexp(0.0, 1.0)]),
      ...     temperatures=(1.0,),
      ...     num_classes=4,
      ... )
      >>> print(f"{losses.kl_divergence(jnp.zeros(4), teacher):.3f}")
      0.426

    References:
      Anshumann et al., Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs, 2025, on
      what a bare top-k loses. That merging classes never increases a divergence is the
      data-processing inequality (Csiszar, 1967).
    """

    indices: jax.Array
    logits: jax.Array
    tail: jax.Array
    temperatures: tuple[float, ...] = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})

    # Only the static fields: the arrays are anything at all while a pytree is being transformed.
    def __post_init__(self) -> None:
        temperatures = tuple(float(t) for t in self.temperatures)
        if not temperatures or not all(math.isfinite(t) and t > 0 for t in temperatures):
            raise ValueError(
                f"temperatures must be positive and finite, at least one: got {temperatures}"
            )
        object.__setattr__(self, "temperatures", temperatures)


def check_sparse(teacher: SparseLogits, student_shape: tuple[int, ...]) -> None:
    """Checks that sparse logits fit the student's logits.

    Args:
      teacher: the sparse logits.
      student_shape: shape of the student's logits, `[..., num_classes]`.

    Raises:
      ValueError: indices that are not integers, another number of classes, shapes that do not fit.
    """
    indices, logits, tail = (jnp.shape(x) for x in (teacher.indices, teacher.logits, teacher.tail))
    if not jnp.issubdtype(jnp.result_type(teacher.indices), jnp.integer):
        raise ValueError(
            f"SparseLogits.indices must be integers, got {jnp.result_type(teacher.indices)}"
        )
    if teacher.num_classes != student_shape[-1]:
        raise ValueError(
            f"student logits of shape {student_shape} (class axis last) have {student_shape[-1]} "
            f"classes, the SparseLogits teacher has num_classes={teacher.num_classes} (a padded "
            "vocabulary is cut by jaxkd.networks.valid_classes)"
        )
    if indices != logits or indices[:-1] != student_shape[:-1]:
        raise ValueError(
            f"student logits of shape {student_shape} (class axis last) need SparseLogits indices "
            f"and logits of shape {(*student_shape[:-1], 'k')}, got {indices} and {logits}"
        )
    if tail != (*indices[:-1], len(teacher.temperatures)):
        raise ValueError(
            f"SparseLogits.tail must have shape {(*indices[:-1], len(teacher.temperatures))}, one "
            f"column for each of the temperatures {teacher.temperatures}, got {tail}"
        )
    if not 1 <= indices[-1] <= teacher.num_classes:
        raise ValueError(
            f"SparseLogits must keep 1 to num_classes={teacher.num_classes} classes, "
            f"indices of shape {indices} keep {indices[-1]}"
        )


def teacher_buckets(
    teacher: SparseLogits, temperature: ArrayLike, dtype: jnp.dtype
) -> tuple[jax.Array, jax.Array | None]:
    """Returns the teacher's logits over temperature on the k + 1 buckets, the tail last.

    Args:
      teacher: `[..., k]`, checked by `check_sparse`.
      temperature: one of `teacher.temperatures`.
      dtype: the dtype to compute in.

    Returns:
      `[..., k + 1]`, and whether the temperature is a declared one: a boolean scalar for a traced
      temperature, which can be looked up only when the program runs, None for a concrete one.

    Raises:
      ValueError: a concrete temperature that is not among `teacher.temperatures`.
    """
    column, is_declared = find_temperature(temperature, teacher.temperatures)
    if column is None:
        raise ValueError(
            f"temperature {temperature} is not among the temperatures {teacher.temperatures} of "
            "the SparseLogits teacher, and the mass of the classes that it does not keep is known "
            f"at no other: use one of them, or rebuild the cache with temperature {temperature} "
            "declared"
        )
    kept = temper(jnp.asarray(teacher.logits), temperature, dtype)
    kept = jnp.where(empty_entries(teacher), -jnp.inf, kept)
    tail = jnp.asarray(teacher.tail, dtype)[..., column]
    return jnp.concatenate([kept, tail[..., None]], axis=-1), is_declared


def empty_entries(teacher: SparseLogits) -> jax.Array:
    """Returns a mask `[..., k]` of the entries that keep no class."""
    # The dtype of the indices need not reach the number of classes.
    return jnp.asarray(teacher.indices).astype(jnp.int32) == teacher.num_classes


def student_buckets(student: jax.Array, indices: jax.Array) -> jax.Array:
    """Returns the student's logits over temperature on the k + 1 buckets of a sparse teacher.

    The tail is the logsumexp of the classes that were not kept. Without the scatter that marks the
    kept ones, k booleans a row, it would have to be `log(sum of all - sum of the kept)`, which
    loses it to rounding as soon as the kept classes carry nearly all the mass, as they do in a
    trained student; or every class would have to be compared with every kept one.

    Args:
      student: logits over temperature, `[..., num_classes]`.
      indices: kept classes `[..., k]`; `num_classes` marks an empty entry, which is -inf in the
        result.

    Returns:
      `[..., k + 1]`, the tail last.
    """
    num_classes = student.shape[-1]
    indices = indices.astype(jnp.int32)
    empty = indices == num_classes
    kept = jnp.take_along_axis(student, jnp.where(empty, 0, indices), axis=-1)
    kept = jnp.where(empty, -jnp.inf, kept)
    # Row by row, so that the batch may be sharded on a mesh of explicit axes.
    is_kept = jnp.vectorize(_membership, signature="(v),(k)->(v)")(student, indices)
    others = jnp.where(is_kept, -jnp.inf, student)
    # With nothing left (k = num_classes, or the others masked) logsumexp has a NaN gradient.
    has_tail = jnp.any(others != -jnp.inf, axis=-1, keepdims=True)
    tail = jax.nn.logsumexp(jnp.where(has_tail, others, 0), axis=-1, keepdims=True)
    return jnp.concatenate([kept, jnp.where(has_tail, tail, -jnp.inf)], axis=-1)


def _membership(row: jax.Array, indices: jax.Array) -> jax.Array:
    return jnp.zeros_like(row, dtype=bool).at[indices].set(True, mode="drop")
