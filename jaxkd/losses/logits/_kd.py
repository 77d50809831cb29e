"""Losses that compare logits: Hinton's distillation loss and the regression of logits."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._numerics import dense, paired_logits
from jaxkd.losses._sampled import SampledClasses
from jaxkd.losses._sparse import SparseLogits
from jaxkd.losses.divergences._kl import kl_divergence


def kd(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits | SampledClasses,
    *,
    temperature: ArrayLike = 4.0,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Hinton's distillation loss, `temperature**2 * KL(p || q)` at the given temperature.

    The factor keeps the gradient's size as the temperature grows, so that the weight beside the
    label's cross entropy need not change with it.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`, or `SampledClasses`.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank, a temperature that is not positive and
        finite or that a sparse teacher does not declare or was not drawn at.
      TypeError: a `SparseLogits` or `SampledClasses` student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.kd(student, teacher, temperature=2.0):.3f}")
      0.361

    References:
      Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015.
    """
    divergence = kl_divergence(
        student,
        teacher,
        temperature=temperature,
        axis=axis,
        where=where,
        teacher_gradient=teacher_gradient,
    )
    return jnp.square(jnp.asarray(temperature, divergence.dtype)) * divergence


def logit_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    axis: int = -1,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Regression of the teacher's logits: the mean over classes of squared differences.

    The mean, without Ba and Caruana's factor 1/2, and of the logits as they are: a constant added
    to all of a row's logits, which no softmax sees, costs here. There is no temperature, which
    would only scale the result. Classes whose teacher logit is -inf leave the mean.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the mean is over the selected
        ones), with one rank less a mask of examples (0 where False).
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask of another rank.
      TypeError: `SparseLogits`, whose logits are not all known.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.logit_mse(jnp.array([[1.0, 0.0]]), jnp.array([[3.0, 1.0]]))
      Array([2.5], dtype=float32)

    References:
      Ba and Caruana, Do Deep Nets Really Need to be Deep?, 2014.
    """
    teacher = dense(
        "teacher",
        teacher,
        "it holds k logits up to a constant and the mass of the others, so there is nothing to "
        "regress the others on; use a divergence, or store dense logits",
    )
    pair = paired_logits(student, teacher, 1.0, axis, where, teacher_gradient)
    present = ~jnp.isneginf(pair.teacher)
    difference = jnp.where(present, pair.student, 0) - jnp.where(present, pair.teacher, 0)
    count = jnp.maximum(jnp.sum(present, axis=-1, dtype=difference.dtype), 1)
    return pair.finish(jnp.sum(jnp.square(difference), axis=-1) / count)
