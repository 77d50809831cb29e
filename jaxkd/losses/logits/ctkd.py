"""CTKD: a temperature that is learned against the student, on a curriculum."""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike


@jax.custom_jvp
def reverse_gradient(x: ArrayLike, scale: ArrayLike) -> jax.Array:
    """Returns x, whose gradient is multiplied by `scale`: reversed where that is negative.

    In CTKD the temperature `1 + 20 * sigmoid(reverse_gradient(theta, scale))` of `kd` is learned so
    that the loss grows while the student's parameters make it shrink. The authors' code multiplies
    by `scale` too and passes negative numbers, -1 for the full reversal: see `curriculum_schedule`.

    Args:
      x: array of any shape.
      scale: factor of the gradient, broadcastable to x; may be traced. It gets no gradient.

    Returns:
      x unchanged.

    Example:
      >>> import jax
      >>> jax.value_and_grad(lambda x: reverse_gradient(x, -0.5) ** 2)(3.0)
      (Array(9., dtype=float32, weak_type=True), Array(-3., dtype=float32, weak_type=True))

    References:
      Ganin and Lempitsky, Unsupervised Domain Adaptation by Backpropagation, ICML 2015; Li et al.,
      Curriculum Temperature for Knowledge Distillation, AAAI 2023.
    """
    del scale
    return jnp.asarray(x)


@reverse_gradient.defjvp
def _reverse_gradient_jvp(
    primals: tuple[jax.Array, jax.Array], tangents: tuple[jax.Array, jax.Array]
) -> tuple[jax.Array, jax.Array]:
    x, scale = map(jnp.asarray, primals)
    return x, (scale * tangents[0]).astype(x.dtype)


def curriculum_schedule(
    steps: float, *, start: float = 0.0, end: float = -1.0
) -> Callable[[ArrayLike], jax.Array]:
    """Returns CTKD's scale of the reversed gradient: a cosine from `start` to `end` in `steps`.

    It stays at `end` from then on. The authors update it once an epoch, over 10 epochs; this
    schedule changes it at every training step. Their linear alternative ignores `start` and never
    arrives at its end; `optax.linear_schedule(start, end, steps)` is a correct one.

    Args:
      steps: number of steps from `start` to `end`, positive.
      start: value at step 0.
      end: value from step `steps` on.

    Returns:
      A schedule: a function of the step (any shape, may be traced) that returns the scale.

    Raises:
      ValueError: `steps` that is not positive and finite.

    Example:
      >>> schedule = curriculum_schedule(10)
      >>> [f"{schedule(step):.2f}" for step in (0, 5, 10, 99)]
      ['0.00', '-0.50', '-1.00', '-1.00']

    References:
      Li et al., Curriculum Temperature for Knowledge Distillation, AAAI 2023 (the authors' code,
      `CosineDecay`).
    """
    if not (math.isfinite(steps) and steps > 0):
        raise ValueError(f"steps must be positive and finite, got {steps}")

    def schedule(step: ArrayLike) -> jax.Array:
        progress = jnp.clip(jnp.asarray(step) / steps, 0, 1)
        return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * progress))

    return schedule
