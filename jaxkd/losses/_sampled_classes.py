"""A teacher represented by classes sampled from it, and the cross entropy with them."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import find_temperature
from jaxkd.losses._numerics import compute_dtype, temper


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SampledClasses:
    """Classes sampled from a teacher, which `kl_divergence` and `kd` accept as `teacher`.

    The loss is then an unbiased estimate of the dense one, and so is its gradient: each class must
    be sampled in expectation `num_samples` times its probability, whether the samples are
    independent or not. A single estimate may be negative, and is not 0 at student = teacher.

    No other divergence can be estimated from samples: the others need the teacher's probabilities
    of classes that were not sampled. Nor can another temperature be used: a class that is likely at
    that temperature may never be sampled at this one.

    Attributes:
      indices: `[..., num_samples]`, int32, the sampled classes, repeats allowed.
      entropy: `[...]`, float32, entropy of the distribution that was sampled, in nats.
      temperature: temperature of that distribution.
      num_classes: number of classes of that distribution.

    Raises:
      ValueError: a temperature that is not positive and finite.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> teacher = losses.SampledClasses(
      ...     indices=jnp.array([0, 0, 0, 2]),
      ...     entropy=jnp.array(0.83),
      ...     temperature=1.0,
      ...     num_classes=3,
      ... )
      >>> print(f"{losses.kl_divergence(jnp.zeros(3), teacher):.3f}")
      0.269

    References:
      Anshumann et al., Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs, ACL
      2025.
    """

    indices: jax.Array
    entropy: jax.Array
    temperature: float = dataclasses.field(metadata={"static": True})
    num_classes: int = dataclasses.field(metadata={"static": True})

    # Only the static fields: the arrays are anything at all while a pytree is being transformed.
    def __post_init__(self) -> None:
        temperature = float(self.temperature)
        if not (math.isfinite(temperature) and temperature > 0):
            raise ValueError(f"temperature must be positive and finite, got {temperature}")
        object.__setattr__(self, "temperature", temperature)

    @property
    def temperatures(self) -> tuple[float, ...]:
        """The temperatures at which it can be a teacher: its own alone."""
        return (self.temperature,)


def check_sampled(teacher: SampledClasses, student_shape: tuple[int, ...]) -> None:
    """Checks that sampled classes fit the student's logits.

    Args:
      teacher: the sampled classes.
      student_shape: shape of the student's logits, `[..., num_classes]`.

    Raises:
      ValueError: indices that are not integers, another number of classes, shapes that do not fit.
    """
    indices, entropy = jnp.shape(teacher.indices), jnp.shape(teacher.entropy)
    if not jnp.issubdtype(jnp.result_type(teacher.indices), jnp.integer):
        raise ValueError(
            f"SampledClasses.indices must be integers, got {jnp.result_type(teacher.indices)}"
        )
    if teacher.num_classes != student_shape[-1]:
        raise ValueError(
            f"student logits of shape {student_shape} (class axis last) have {student_shape[-1]} "
            f"classes, the SampledClasses teacher has num_classes={teacher.num_classes} (a padded "
            "vocabulary is cut by jaxkd.networks.valid_classes)"
        )
    if not indices or indices[-1] < 1 or {indices[:-1], entropy} != {student_shape[:-1]}:
        raise ValueError(
            f"student logits of shape {student_shape} (class axis last) need SampledClasses "
            f"indices of shape {(*student_shape[:-1], 'num_samples')} and an entropy of shape "
            f"{student_shape[:-1]}, got {indices} and {entropy}"
        )


def check_sampled_at(teacher: SampledClasses, temperature: ArrayLike) -> jax.Array | None:
    """Checks that the classes were sampled at this temperature.

    Args:
      teacher: the sampled classes.
      temperature: positive scalar; may be traced.

    Returns:
      For a traced temperature a boolean scalar, None for a concrete one.

    Raises:
      ValueError: another concrete temperature.
    """
    index, is_declared = find_temperature(temperature, teacher.temperatures)
    if index is None:
        raise ValueError(
            f"the SampledClasses teacher was sampled at temperature {teacher.temperature} and "
            f"cannot be used at temperature {temperature}: use the former, or rebuild the cache "
            f"with Sampled(temperature={temperature})"
        )
    return is_declared


def sampled_cross_entropy(
    student: jax.Array, indices: jax.Array, weights: jax.Array, temperature: ArrayLike
) -> jax.Array:
    """Computes `-sum_j weight_j log q(index_j)`, q being the student's softmax over all classes.

    Args:
      student: logits `[..., num_classes]`, masked already.
      indices: integers `[..., k]`.
      weights: `[..., k]`, constants; an index of weight 0 does not count and need not be a class.
      temperature: positive scalar that divides the student's logits.

    Returns:
      `[...]`, float32 at least.
    """
    dtype = compute_dtype(student)
    log_q = jax.nn.log_softmax(temper(student, temperature, dtype))
    weights = jax.lax.stop_gradient(weights).astype(dtype)
    # Padding must not be looked up: it need not be a class, and 0 * inf would be NaN.
    counts = weights != 0
    log_q = jnp.take_along_axis(log_q, jnp.where(counts, indices, 0), axis=-1)
    return -jnp.sum(jnp.where(counts, weights * jnp.where(counts, log_q, 0), 0), axis=-1)
