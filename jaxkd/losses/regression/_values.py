"""What losses of values share: their labels, means with log-variances, Huber's function."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._entries import entry_mask, labeled_entries
from jaxkd.losses._logit_pairs import Paired, dense

_WANTED = "float labels"
# exp(30) squared is far from the largest float32, exp(-30) far below the resolution of values
# whose size is near 1.
_LARGEST_LOG_VARIANCE = 30.0


class Gaussian(NamedTuple):
    """Normal distributions of values.

    Attributes:
      mean: `[...]`.
      log_variance: `[...]`, natural logarithm of the variance.
    """

    mean: jax.Array
    log_variance: jax.Array


def labeled_values(student: ArrayLike, labels: ArrayLike, where: ArrayLike | None) -> Paired:
    """Pairs values with labels that are values.

    Args:
      student: `[...]`.
      labels: floats of the same shape, or `[...]` for values `[..., 1]`.
      where: mask of the values, or of the first axes alone; None for all.

    Returns:
      The pair, the labels in place of a teacher.

    Raises:
      TypeError: `SparseLogits`, complex numbers.
      ValueError: integers, labels of another shape, a mask that does not fit.
    """
    student = dense("student", student, "only a teacher can be sparse")
    labels = dense("labels", labels, "it holds a teacher's logits, of classes; use kd")
    if not jnp.issubdtype(labels.dtype, jnp.floating):
        raise ValueError(
            f"labels {labels.dtype} of shape {labels.shape} are classes, of which -1 is unknown: "
            "of values write labels.astype(jnp.float32), and where= for those that are unknown"
        )
    return labeled_entries(student, labels, entry_mask(where, student.shape), wanted=_WANTED)


def as_gaussian(name: str, pair: Any, where: ArrayLike | None) -> tuple[Gaussian, Any]:
    """Returns means and log-variances in one dtype, and which of them count.

    Args:
      name: name of the argument, for error messages.
      pair: mean and log-variance, two arrays of one shape.
      where: mask of the values, or of the first axes alone; None for all.

    Returns:
      The distributions, standard where they do not count, and the mask of their shape.

    Raises:
      TypeError: anything but two arrays.
      ValueError: arrays of two shapes, a mask that does not fit.
    """
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise TypeError(
            f"{name} must be a tuple (mean, log_variance), not {type(pair).__name__}: name both "
            f'outputs, Term(…, {name}=("mean", "log_variance"))'
        )
    mean, log_variance = (dense(f"a part of {name}", x, "it holds no values") for x in pair)
    if mean.shape != log_variance.shape:
        raise ValueError(
            f"mean of shape {mean.shape} and log-variance of shape {log_variance.shape} of {name} "
            "must have the same shape"
        )
    dtype = jnp.promote_types(jnp.result_type(mean, log_variance), jnp.float32)
    where = entry_mask(where, mean.shape)
    mean, log_variance = mean.astype(dtype), log_variance.astype(dtype)
    if where is not None:
        mean, log_variance = (jnp.where(where, x, 0) for x in (mean, log_variance))
    return Gaussian(mean, bounded(log_variance)), where


def half_squared_scores(errors: jax.Array, log_variance: jax.Array) -> jax.Array:
    """Returns `errors**2 / (2 exp(log_variance))`, finite where the dtype has such a number."""
    # Divided before it is squared: the square of an error of 1e20 is none of float32.
    scores = errors * jnp.exp(-0.5 * log_variance)
    return 0.5 * scores * scores


def bounded(log_variance: jax.Array) -> jax.Array:
    """Clips log-variances to [-30, 30]; beyond, the gradient is that at the bound."""
    # A gradient of 0 would keep a network there for ever.
    clipped = jnp.clip(log_variance, -_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
    unchanged = jax.lax.stop_gradient
    return unchanged(clipped) + (log_variance - unchanged(log_variance))


def huber(difference: jax.Array, delta: ArrayLike) -> jax.Array:
    """Computes half the square up to delta, and from there on a line of that slope."""
    size = jnp.abs(difference)
    inside = jnp.minimum(size, delta)
    return 0.5 * jnp.square(inside) + delta * (size - inside)
