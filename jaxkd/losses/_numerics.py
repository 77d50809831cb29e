"""Numerics that several losses share: precision, temperatures, divergences, safe gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import concrete_value


def compute_dtype(*arrays: jax.Array) -> jnp.dtype:
    """Returns the dtype to compute in: the widest of the arrays' dtypes, float32 at least."""
    dtype = jnp.dtype(jnp.float32)
    for array in arrays:
        dtype = jnp.promote_types(dtype, array.dtype)
    return dtype


def temper(logits: jax.Array, temperature: ArrayLike, dtype: jnp.dtype) -> jax.Array:
    """Divides logits by the temperature in `dtype`; -inf stays -inf."""
    masked = jnp.isneginf(logits)
    # Dividing -inf would give a learned temperature a NaN gradient.
    finite = jnp.where(masked, 0, logits).astype(dtype)
    return jnp.where(masked, -jnp.inf, finite / jnp.asarray(temperature, dtype))


def kl_to_mixture(log_a: jax.Array, log_b: jax.Array, weight: ArrayLike) -> jax.Array:
    """Computes KL(a || weight a + (1 - weight) b) along the last axis from log-probabilities."""
    a = jnp.exp(log_a)
    # 0 log 0 is 0, but a NaN must not be hidden, and some compilers take exp(NaN) for 0.
    present = (a != 0) | jnp.isnan(log_a)
    # log(a / mixture) comes from log(a / b) alone: the size of the logits does not enter.
    log_ratio = jnp.where(present, log_a, 0) - jnp.where(present, log_b, 0)
    if concrete_value(weight) != 0:
        weight = jnp.asarray(weight, log_a.dtype)
        log_ratio = -jnp.logaddexp(jnp.log(weight), jnp.log1p(-weight) - log_ratio)
    return jnp.sum(jnp.where(present, a * log_ratio, 0), axis=-1)


def soft_cross_entropy(weights: jax.Array, log_q: jax.Array) -> jax.Array:
    """Computes `-sum weights log q` along the last axis; classes of weight 0 cost nothing."""
    present = weights != 0
    return -jnp.sum(jnp.where(present, weights * jnp.where(present, log_q, 0), 0), axis=-1)


def safe_sqrt(squares: jax.Array) -> jax.Array:
    """Computes the square root, with gradient 0 at 0."""
    positive = squares > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squares, 1)), 0)


def huber(difference: jax.Array) -> jax.Array:
    """Computes the smooth L1 function elementwise: quadratic up to 1, linear beyond."""
    size = jnp.abs(difference)
    return jnp.where(size < 1, 0.5 * jnp.square(difference), size - 0.5)
