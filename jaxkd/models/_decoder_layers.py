"""Layers of a decoder: normalization, attention with grouped queries, the gated MLP."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._rope import rotated

initial = nnx.initializers.truncated_normal(0.02)
ACTIVATIONS = {"silu": jax.nn.silu, "gelu": lambda x: jax.nn.gelu(x, approximate=True)}


def dense(in_features: int, out_features: int, rngs: nnx.Rngs, *, use_bias: bool = False):
    """Makes a dense layer, by default without bias."""
    return nnx.Linear(in_features, out_features, use_bias=use_bias, kernel_init=initial, rngs=rngs)


class RMSNorm(nnx.Module):
    """Divides by the root mean square, in float32 (Zhang and Sennrich, 2019).

    Args:
      width: size of the last axis.
      epsilon: number added to the mean square.
      offset: number added to the scale: 1 for Gemma, whose scales are stored minus 1.
    """

    def __init__(self, width: int, *, epsilon: float, offset: float):
        self.epsilon, self.offset = epsilon, offset
        self.scale = nnx.Param(jnp.full((width,), 1.0 - offset, jnp.float32))

    def __call__(self, inputs: jax.Array) -> jax.Array:
        values = inputs.astype(jnp.float32)
        square = jnp.mean(jnp.square(values), axis=-1, keepdims=True)
        values = values * jax.lax.rsqrt(square + self.epsilon)
        return (values * (self.scale[...].astype(jnp.float32) + self.offset)).astype(inputs.dtype)


def attend(
    queries: jax.Array,
    keys: jax.Array,
    values: jax.Array,
    mask: jax.Array,
    scale: float,
    soft_cap: float | None,
) -> jax.Array:
    """Computes attention with its softmax in float32.

    Args:
      queries: `[batch, length, heads, head_dim]`.
      keys: `[batch, positions, kv_heads, head_dim]`; each serves `heads / kv_heads` queries.
      values: `[batch, positions, kv_heads, head_dim]`.
      mask: boolean, `[batch or 1, length, positions]`: which keys a query attends to.
      scale: factor of the products.
      soft_cap: bound of the scores, or None.

    Returns:
      The attended values `[batch, length, heads, head_dim]`.
    """
    if soft_cap is None:
        return jax.nn.dot_product_attention(queries, keys, values, mask=mask[:, None], scale=scale)
    groups = keys.shape[2]
    grouped = queries.reshape(*queries.shape[:2], groups, -1, queries.shape[-1])
    scores = scale * jnp.einsum(
        "btkgd,bskd->bkgts", grouped, keys, preferred_element_type=jnp.float32
    )
    scores = soft_cap * jnp.tanh(scores / soft_cap)
    # Finite, since all of -inf would be no number.
    scores = jnp.where(mask[:, None, None], scores, 0.7 * jnp.finfo(scores.dtype).min)
    shares = jax.nn.softmax(scores, axis=-1).astype(values.dtype)
    return jnp.einsum("bkgts,bskd->btkgd", shares, values).reshape(queries.shape)


class Attention(nnx.Module):
    """Causal attention with rotary positions, in which several queries share a key and a value."""

    def __init__(
        self,
        width: int,
        num_heads: int,
        num_kv_heads: int,
        head_dim: int,
        *,
        qkv_bias: bool,
        qk_norm: bool,
        norm_eps: float,
        norm_offset: float,
        scale: float,
        soft_cap: float | None,
        rngs: nnx.Rngs,
    ):
        self.head_dim, self.scale, self.soft_cap = head_dim, scale, soft_cap
        self.query = dense(width, num_heads * head_dim, rngs, use_bias=qkv_bias)
        self.key = dense(width, num_kv_heads * head_dim, rngs, use_bias=qkv_bias)
        self.value = dense(width, num_kv_heads * head_dim, rngs, use_bias=qkv_bias)
        self.out = dense(num_heads * head_dim, width, rngs)
        self.qk_norm = qk_norm
        if qk_norm:
            self.query_norm = RMSNorm(head_dim, epsilon=norm_eps, offset=norm_offset)
            self.key_norm = RMSNorm(head_dim, epsilon=norm_eps, offset=norm_offset)

    def project(
        self, tokens: jax.Array, rotation: tuple[jax.Array, jax.Array]
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Computes queries, keys and values, `[batch, length, heads, head_dim]`, with rotation."""
        queries, keys, values = (
            layer(tokens).reshape(*tokens.shape[:2], -1, self.head_dim)
            for layer in (self.query, self.key, self.value)
        )
        if self.qk_norm:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        return rotated(queries, rotation), rotated(keys, rotation), values

    def __call__(
        self, queries: jax.Array, keys: jax.Array, values: jax.Array, mask: jax.Array
    ) -> jax.Array:
        keys, values = keys.astype(queries.dtype), values.astype(queries.dtype)
        mixed = attend(queries, keys, values, mask, self.scale, self.soft_cap)
        return self.out(mixed.reshape(*mixed.shape[:2], -1))


class GatedMLP(nnx.Module):
    """Two dense layers side by side, one through the activation, their product through a third."""

    def __init__(self, width: int, hidden: int, activation: str, rngs: nnx.Rngs):
        self.activation = activation
        self.gate = dense(width, hidden, rngs)
        self.up = dense(width, hidden, rngs)
        self.down = dense(hidden, width, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.down(ACTIVATIONS[self.activation](self.gate(tokens)) * self.up(tokens))
