"""A teacher that is known by classes drawn from it, and the cross entropy with them."""

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
    """Classes drawn from a teacher, which `kl_divergence` and `kd` accept as `teacher`.

    The loss is then an estimate of the dense one, and both it and its gradient are right in the
    mean over the draws: each class must be drawn `num_samples` times its probability in the mean,
    whether the draws are independent or not. A single estimate may be negative, and is not 0 at
    student = teacher.

    No other divergence can be estimated so: they need the teacher's probability of classes that
    were not drawn. Nor can another temperature: a class that is likely there may never be drawn
    here.

    Attributes:
      indices: `[..., num_samples]`, int32, the classes drawn, repeats allowed.
      entropy: `[...]`, float32, that of the distribution they were drawn from, in nats.
      temperature: of that distribution.
      num_classes: the number of its classes.

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
        """The temperatures at which it can be a teacher: one."""
        return (self.temperature,)


def check_sampled(teacher: SampledClasses, student_shape: tuple[int, ...]) -> None:
    """Raises ValueError unless `teacher` fits student logits of shape `[..., num_classes]`."""
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


def check_drawn_at(teacher: SampledClasses, temperature: ArrayLike) -> jax.Array | None:
    """Whether the classes were drawn at this temperature.

    Returns:
      A scalar for a traced temperature, None for a concrete one.

    Raises:
      ValueError: another concrete temperature.
    """
    position, known = find_temperature(temperature, teacher.temperatures)
    if position is None:
        raise ValueError(
            f"the SampledClasses teacher was drawn at temperature {teacher.temperature}, and says "
            f"nothing of temperature {temperature}: use the former, or rebuild the cache with "
            f"Sampled(temperature={temperature})"
        )
    return known


def drawn_cross_entropy(
    student: jax.Array, indices: jax.Array, weights: jax.Array, temperature: ArrayLike
) -> jax.Array:
    """`-sum_j weight_j log q(index_j)`, with q the student's softmax over all classes.

    Args:
      student: logits `[..., num_classes]`, masked already.
      indices: integers `[..., k]`.
      weights: `[..., k]`, constants; what stands at a weight of 0 does not count.
      temperature: divides the student's logits.

    Returns:
      `[...]`, float32 at least.
    """
    dtype = compute_dtype(student)
    log_q = jax.nn.log_softmax(temper(student, temperature, dtype))
    weights = jax.lax.stop_gradient(weights).astype(dtype)
    drawn = weights != 0
    # What stands in padded entries must not be looked up: it need not be a class.
    log_q = jnp.take_along_axis(log_q, jnp.where(drawn, indices, 0), axis=-1)
    return -jnp.sum(jnp.where(drawn, weights * jnp.where(drawn, log_q, 0), 0), axis=-1)
