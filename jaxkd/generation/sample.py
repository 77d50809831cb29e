"""Sampling of one token from logits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def sample(
    logits: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    top_k: int | None = None,
    top_p: ArrayLike | None = None,
    key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Samples a token for each row.

    The logits are divided by the temperature; of these the `top_k` largest are kept, and of them
    the fewest whose probabilities sum up to `top_p` at least. Of equal logits the first come first.

    Args:
      logits: `[batch, vocab_size]`.
      temperature: a scalar; at 0 the token of the largest logit is taken.
      top_k: number of tokens that are kept; None for all.
      top_p: a scalar in (0, 1], the share of the probability that is kept; None for all.
      key: a PRNG key, or `[batch]` keys, one a row, so that the sample of a row does not depend on
        the others.

    Returns:
      Tokens `[batch]`, int32, and their log-probabilities `[batch]` in the distribution that they
      were sampled from, float32 at least: 0 at temperature 0.

    Raises:
      ValueError: logits that are not of rank 2, a negative temperature, a top_k below 1, a top_p
        outside (0, 1], keys for another number of rows.

    Example:
      >>> logits = jnp.log(jnp.array([[0.1, 0.5, 0.4], [0.8, 0.1, 0.1]]))
      >>> tokens, log_probs = sample(logits, top_p=0.6, key=jax.random.key(0))
      >>> [f"{log_prob:.3f}" for log_prob in jnp.exp(log_probs)]
      ['0.556', '1.000']

    References:
      Fan et al., Hierarchical Neural Story Generation, ACL 2018 (top-k); Holtzman et al., The
      Curious Case of Neural Text Degeneration, ICLR 2020 (top-p).
    """
    logits = jnp.asarray(logits)
    if logits.ndim != 2:
        raise ValueError(f"logits must be [batch, vocab_size], not {logits.shape}")
    check_sampling(temperature, top_k, top_p)
    keys = keys_of_rows(key, logits.shape[0])
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    temperature = jnp.asarray(temperature, logits.dtype)
    scaled = logits / jnp.where(temperature > 0, temperature, 1)
    ids = None
    if top_k is not None or top_p is not None:
        count = logits.shape[1] if top_k is None else min(top_k, logits.shape[1])
        scaled, ids = jax.lax.top_k(scaled, count)
    if top_p is not None:
        shares = jax.nn.softmax(scaled, axis=-1)
        # A token is kept if the larger ones do not reach top_p without it; the largest always is.
        scaled = jnp.where(jnp.cumsum(shares, axis=-1) - shares < top_p, scaled, -jnp.inf)
    greedy = jnp.argmax(scaled, axis=-1)
    random = jax.vmap(jax.random.categorical)(keys, scaled)
    indices = jnp.where(temperature > 0, random, greedy)
    log_probs = _at(jax.nn.log_softmax(scaled, axis=-1), indices)
    tokens = indices if ids is None else _at(ids, indices)
    return tokens.astype(jnp.int32), jnp.where(temperature > 0, log_probs, 0.0)


def check_sampling(temperature: ArrayLike, top_k: int | None, top_p: ArrayLike | None) -> None:
    """Refuses options outside of their ranges, as far as their values are known while tracing.

    Args:
      temperature: see `sample`.
      top_k: see `sample`.
      top_p: see `sample`.

    Raises:
      ValueError: an option that is no scalar or outside of its range.
    """
    for name, value in {"temperature": temperature, "top_p": top_p}.items():
        if value is not None and jnp.ndim(value):
            raise ValueError(f"{name} must be a scalar, not of shape {jnp.shape(value)}")
    known = {
        name: float(np.asarray(value))
        for name, value in {"temperature": temperature, "top_p": top_p}.items()
        if value is not None and not isinstance(value, jax.core.Tracer)
    }
    if not 0 <= known.get("temperature", 1.0) < np.inf:
        raise ValueError(f"temperature must be finite and not negative, not {temperature}")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k must be at least 1, not {top_k}; None keeps all tokens")
    if not 0 < known.get("top_p", 1.0) <= 1:
        raise ValueError(f"top_p must lie in (0, 1], not {top_p}; None keeps all tokens")


def keys_of_rows(key: jax.Array, batch: int) -> jax.Array:
    """Returns one PRNG key a row.

    Args:
      key: one key, or `[batch]` keys.
      batch: number of rows.

    Returns:
      Keys `[batch]`.

    Raises:
      ValueError: keys for another number of rows.
    """
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key):
        key = jax.random.wrap_key_data(key)
    if not key.ndim:
        return jax.random.split(key, batch)
    if key.shape != (batch,):
        raise ValueError(f"keys must be one, or one for each of {batch} rows, not {key.shape}")
    return key


def _at(values: jax.Array, indices: jax.Array) -> jax.Array:
    """Returns one value of each row."""
    return jnp.take_along_axis(values, indices[:, None], axis=1)[:, 0]
