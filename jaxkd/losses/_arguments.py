"""Checks of the arguments of losses: temperatures, masks, weights and positive numbers."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

# A float32 schedule reaches a declared temperature up to a few roundings; a temperature that is
# off by this much changes no logit by more than it.
_SAME_TEMPERATURE = 1e-6


def to_array(name: str, value: ArrayLike) -> jax.Array:
    """Returns an array that JAX computes with; refuses what would lose numbers on the way.

    Args:
      name: name of the argument.
      value: real numbers of any dtype.

    Returns:
      The array, of 32 bits where JAX has no wider ones.

    Raises:
      TypeError: complex numbers, texts or objects.
      ValueError: finite numbers that overflow; names the largest.
    """
    if not hasattr(value, "dtype"):
        # A list may hold arrays that are traced, which NumPy cannot read.
        traced = any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(value))
        value = jnp.asarray(value) if traced else np.asarray(value)
    dtype = value.dtype
    kind = "c" if jnp.issubdtype(dtype, jnp.complexfloating) else getattr(dtype, "kind", "f")
    if kind == "c":
        raise TypeError(
            f"{name} must be real numbers, not {dtype}, whose imaginary part no loss compares: "
            f"give {name}.real, or jnp.stack([{name}.real, {name}.imag], axis=-1)"
        )
    if kind in "USOMm":
        raise TypeError(f"{name} must be an array of numbers, not of dtype {dtype}")
    if isinstance(value, np.ndarray) and value.size and dtype.itemsize > 4 and kind in "iuf":
        narrow = jax.dtypes.canonicalize_dtype(value.dtype)
        info = jnp.finfo(narrow) if kind == "f" else jnp.iinfo(narrow)
        sizes = np.where(np.isfinite(value), value, 0) if kind == "f" else value
        largest = max((sizes.min(), sizes.max()), key=lambda size: abs(float(size)))
        if not float(info.min) <= float(largest) <= float(info.max):
            raise ValueError(
                f"{name} has {largest:.3g} as {dtype}, which overflows in {narrow}, the type that "
                "JAX computes in: scale or clip it first, or set jax.config.update("
                "'jax_enable_x64', True)"
            )
    return jnp.asarray(value)


def concrete_value(value: ArrayLike) -> float | None:
    """Returns the value as a number, or None if it is traced: known only when the program runs."""
    return None if isinstance(value, jax.core.Tracer) else float(np.asarray(value))


def find_temperature(
    temperature: ArrayLike, declared: tuple[float, ...]
) -> tuple[int | jax.Array | None, jax.Array | None]:
    """Looks a temperature up among those that a teacher declares.

    Args:
      temperature: scalar; may be traced.
      declared: temperatures that the teacher declares.

    Returns:
      `(index, is_declared)`. For a concrete temperature the index into `declared`, None if it is
      not among them, and None. For a traced one, which can be looked up only when the program runs,
      both are scalars, and `is_declared` says whether the index is valid.
    """
    value = concrete_value(temperature)
    if value is not None:
        matches = [math.isclose(value, t, rel_tol=_SAME_TEMPERATURE) for t in declared]
        return (matches.index(True) if any(matches) else None), None
    temperatures = jnp.asarray(declared, jnp.float32)
    distances = jnp.abs(jnp.asarray(temperature, temperatures.dtype) - temperatures)
    is_match = distances <= _SAME_TEMPERATURE * temperatures
    return jnp.argmax(is_match), jnp.any(is_match)


def as_mask(where: ArrayLike, shape: tuple[int, ...], what: str) -> jax.Array:
    """Returns a mask as booleans.

    Args:
      where: boolean or integer mask.
      shape: shape that the mask must broadcast to.
      what: description of what has this shape, for the error message.

    Returns:
      The mask, of its own shape.

    Raises:
      ValueError: a mask of floating point, or one that does not broadcast to `shape`.
    """
    mask = jnp.asarray(where)
    check_selects("where", mask)
    try:
        fits = np.broadcast_shapes(mask.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(f"where of shape {mask.shape} does not broadcast to {what} {shape}")
    return mask.astype(bool)


def check_selects(name: str, mask: ArrayLike) -> None:
    """Refuses weights in place of a mask, which would be taken for a selection.

    Args:
      name: name of the mask.
      mask: boolean or integer mask.

    Raises:
      ValueError: a mask of floating point.
    """
    dtype = jnp.result_type(mask)
    if jnp.issubdtype(dtype, jnp.inexact):
        raise ValueError(
            f"{name} selects and must be boolean, got {dtype}: pass `{name} > 0` to select, "
            "or multiply the losses by your weights"
        )


def to_rank(values: jax.Array, rank: int) -> jax.Array:
    """Appends axes of size 1, so that values of the first axes broadcast over all others.

    Args:
      values: array of any shape, for instance a mask of examples `[batch]`.
      rank: number of axes of the result.

    Returns:
      The values with axes of size 1 at the end; unchanged if they have `rank` axes already.
    """
    return values.reshape(values.shape + (1,) * (rank - values.ndim))


def check_temperature(temperature: ArrayLike) -> None:
    """Checks that a temperature is a scalar, and if concrete positive and finite.

    Args:
      temperature: temperature of a loss; may be traced.

    Raises:
      ValueError: another shape, or a concrete value that is not positive and finite.
    """
    if jnp.ndim(temperature) != 0:
        raise ValueError(f"temperature must be a scalar, got shape {jnp.shape(temperature)}")
    value = concrete_value(temperature)
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(
            f"temperature must be positive and finite, got {value}: 1 leaves the logits as they "
            "are, larger values soften them"
        )


def check_weight(name: str, weight: ArrayLike, *, below_one: bool) -> None:
    """Checks that a concrete weight lies in [0, 1], or in [0, 1) if `below_one`.

    Args:
      name: name of the argument, for the error message.
      weight: weight of a mixture; may be traced.
      below_one: whether 1 is excluded.

    Raises:
      ValueError: a concrete value outside that range.
    """
    value = concrete_value(weight)
    if value is not None and not (0 <= value < 1 or (value == 1 and not below_one)):
        raise ValueError(f"{name} must lie in [0, 1{')' if below_one else ']'}, got {value}")


def check_positive(name: str, value: ArrayLike) -> None:
    """Checks that a number is a scalar, and if concrete positive and finite.

    Args:
      name: name of the argument, for the error message.
      value: number; may be traced.

    Raises:
      ValueError: another shape, or a concrete value that is not positive and finite.
    """
    if jnp.ndim(value) != 0:
        raise ValueError(f"{name} must be a scalar, got shape {jnp.shape(value)}")
    number = concrete_value(value)
    if number is not None and not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be positive and finite, got {number}")
