"""What the arguments of a loss must be: precision, temperatures, masks, mixture weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# A float32 schedule reaches a declared temperature up to a few roundings; a temperature that is
# off by this much changes no logit by more than it.
_SAME_TEMPERATURE = 1e-6


def concrete_value(value: ArrayLike) -> float | None:
    """The number itself, or None for a traced one, which is known only when the program runs."""
    return None if isinstance(value, jax.core.Tracer) else float(np.asarray(value))


def find_temperature(
    temperature: ArrayLike, declared: tuple[float, ...]
) -> tuple[int | jax.Array | None, jax.Array | None]:
    """Which of the declared temperatures this is.

    Returns:
      Its position, None if it is not among them; and for a traced temperature, which cannot be
      looked up before the program runs, whether it is, a scalar. None for a concrete one.
    """
    value = concrete_value(temperature)
    if value is not None:
        same = [math.isclose(value, t, rel_tol=_SAME_TEMPERATURE) for t in declared]
        return (same.index(True) if any(same) else None), None
    options = jnp.asarray(declared, jnp.float32)
    distance = jnp.abs(jnp.asarray(temperature, options.dtype) - options)
    matches = distance <= _SAME_TEMPERATURE * options
    return jnp.argmax(matches), jnp.any(matches)


def as_mask(where: ArrayLike, shape: tuple[int, ...], what: str) -> jax.Array:
    """The mask as booleans; ValueError unless it is one and broadcasts to the `shape` of `what`."""
    mask = jnp.asarray(where)
    if jnp.issubdtype(mask.dtype, jnp.inexact):
        raise ValueError(
            f"where selects and must be boolean, got {mask.dtype}: pass `where > 0` to select, "
            "or multiply the losses by your weights"
        )
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"where of shape {mask.shape} does not broadcast to {what} {shape}")
    return mask.astype(bool)


def to_rank(values: jax.Array, rank: int) -> jax.Array:
    """Values of the first axes, a mask of examples for instance, to be broadcast over the others.

    Args:
      values: any shape.
      rank: how many axes there are in all.

    Returns:
      The values with axes of size 1 behind; as they are if they have so many already.
    """
    return values.reshape(values.shape + (1,) * (rank - values.ndim))


def check_temperature(temperature: ArrayLike) -> None:
    """Raises ValueError unless `temperature` is a scalar, and if concrete positive and finite."""
    if jnp.ndim(temperature) != 0:
        raise ValueError(f"temperature must be a scalar, got shape {jnp.shape(temperature)}")
    value = concrete_value(temperature)
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"temperature must be positive and finite, got {value}: 1 leaves the logits as they "
            "are, larger values soften them"
        )


def check_weight(name: str, weight: ArrayLike, *, below_one: bool) -> None:
    """Raises ValueError unless a concrete `weight` lies in [0, 1], or [0, 1) if `below_one`."""
    value = concrete_value(weight)
    if value is not None and not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{name} must lie in [0, 1{')' if below_one else ']'}, got {value}")


def check_positive(name: str, value: ArrayLike) -> None:
    """Raises ValueError unless `value` is a scalar, and if concrete positive and finite."""
    if jnp.ndim(value) != 0:
        raise ValueError(f"{name} must be a scalar, got shape {jnp.shape(value)}")
    number = concrete_value(value)
    if number is not None and not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, got {number}")
