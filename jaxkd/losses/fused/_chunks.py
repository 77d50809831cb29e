"""A sum of losses on logits `hidden @ head`, and its gradients, one chunk of tokens at a time.

The gradients are computed together with the value, so that the backward pass only scales them:
logits are computed once, as if all of them were stored, and none is.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from jaxkd.losses._numerics import compute_dtype

# From logits `[tokens, num_classes]`, the arrays of each token and the shared ones.
LossOfLogits = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class ChunkPlan:
    """The computation on each chunk.

    Attributes:
      loss: `loss(logits, per_token, shared)`, which returns one loss per token.
      logits: elementwise function from `hidden @ head` to the logits.
      chunk_size: number of tokens.
      token_axes: axes of a mesh over which the tokens may be sharded.
      dtypes: dtypes of the gradients to hidden states and head.
    """

    loss: LossOfLogits
    logits: Callable[[jax.Array], jax.Array]
    chunk_size: int
    token_axes: tuple[str, ...]
    dtypes: tuple[Any, Any]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def chunked_sum(
    plan: ChunkPlan,
    hidden: jax.Array,
    head: jax.Array,
    per_token: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> jax.Array:
    """Computes the sum of the losses of all tokens.

    Args:
      plan: computation on each chunk.
      hidden: hidden states `[first, ..., width]`, the first axis possibly sharded over a mesh.
      head: weights `[width, num_classes]`.
      per_token: constant arrays whose first axes are those of the tokens, `[first, ...]`; `"where"`
        is boolean and selects the tokens that count.
      shared: constant arrays for all tokens.

    Returns:
      A scalar.
    """
    return _spread(plan, hidden, head, per_token, shared, gradients=False)[0]


def _forward(plan, hidden, head, per_token, shared):
    total, *gradients = _spread(plan, hidden, head, per_token, shared, gradients=True)
    return total, gradients


def _backward(plan, gradients, cotangent):
    to_hidden, to_head = gradients
    return (
        _scaled_in_place(to_hidden, cotangent).astype(plan.dtypes[0]),
        (cotangent * to_head).astype(plan.dtypes[1]),
        None,
        None,
    )


def _scaled_in_place(gradient: jax.Array, scale: jax.Array) -> jax.Array:
    """Scales the gradient to the hidden states.

    A product would allocate a second array of that size; a loop updates the first one in place. It
    runs along the second axis of the tokens, since the first may be sharded over devices.

    Returns:
      The scaled gradient, of the same shape and dtype.
    """
    if gradient.ndim < 3 or gradient.shape[1] % 2:
        return (scale * gradient).astype(gradient.dtype)
    half = gradient.shape[1] // 2

    def body(index, gradient):
        part = jax.lax.dynamic_slice_in_dim(gradient, index * half, half, axis=1)
        part = (scale * part).astype(gradient.dtype)
        return jax.lax.dynamic_update_slice_in_dim(gradient, part, index * half, axis=1)

    return jax.lax.fori_loop(0, 2, body, gradient)


chunked_sum.defvjp(_forward, _backward)


def matmul(hidden: jax.Array, head: jax.Array) -> jax.Array:
    """Computes `hidden @ head`, accumulated and returned in float32 at least."""
    return jnp.matmul(hidden, head, preferred_element_type=compute_dtype(hidden, head))


def _spread(plan: ChunkPlan, hidden, head, per_token, shared, *, gradients: bool):
    """Runs the loop on every part of a mesh, with its own tokens, and reduces the result once.

    Left to the compiler, the gradient to the head would be reduced after each chunk. Axes that are
    not named here are left to the compiler: classes sharded over them stay so.

    Returns:
      The sum and, with `gradients`, the gradients to hidden states and head, as of `_loop`.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.explicit_axes:
        # Losses are written without regard to a mesh, for which its axes are Auto.
        out: tuple[Any, ...] = (P(),)
        if gradients:
            out += (jax.typeof(hidden).sharding.spec, jax.typeof(head).sharding.spec)
        inside = functools.partial(_spread, plan, gradients=gradients)
        return jax.sharding.auto_axes(inside, out_sharding=out)(hidden, head, per_token, shared)
    run = functools.partial(_loop, plan, gradients=gradients)
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    axes = tuple(
        axis
        for axis in plan.token_axes
        if kinds.get(axis, AxisType.Manual) != AxisType.Manual and mesh.shape[axis] > 1
    )
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or hidden.shape[0] % parts:
        return run(hidden, head, per_token, shared)

    def part(hidden, head, per_token, shared):
        total, *gradients_of_part = run(hidden, head, per_token, shared)
        if not gradients:
            return (jax.lax.psum(total, axes),)
        to_hidden, to_head = gradients_of_part
        return jax.lax.psum(total, axes), to_hidden, jax.lax.psum(to_head, axes)

    tokens, replicated = P(axes), P()
    return jax.shard_map(
        part,
        in_specs=(tokens, replicated, tokens, replicated),
        out_specs=(replicated, tokens, replicated) if gradients else (replicated,),
        axis_names=set(axes),
        check_vma=False,
    )(hidden, head, per_token, shared)


def _loop(plan: ChunkPlan, hidden, head, per_token, shared, *, gradients: bool):
    """Computes the sum and, with `gradients`, the gradients to hidden states and head.

    Tokens are arranged as `[rows, columns]`, and a chunk is a range of columns. Rows are whole
    examples (or contiguous parts of them), so that a device that holds some rows has its share of
    each chunk, and slicing a chunk copies nothing.

    Returns:
      The sum, a scalar; with `gradients` also the gradient to the hidden states, of their shape,
      and the gradient to the head `[width, num_classes]`.
    """
    shape, width = hidden.shape[:-1], hidden.shape[-1]
    rows, columns, step = grid(shape, plan.chunk_size)
    hidden, per_token = jax.tree.map(
        lambda leaf: leaf.reshape(rows, columns, *leaf.shape[len(shape) :]), (hidden, per_token)
    )
    dtype = compute_dtype(hidden, head)
    factor = jnp.promote_types(hidden.dtype, head.dtype)

    def body(index, carry):
        # The last chunk starts early enough to be complete.
        start = jnp.minimum(index * step, columns - step)

        def cut(leaf):
            piece = jax.lax.dynamic_slice_in_dim(leaf, start, step, axis=1)
            return piece.reshape(rows * step, *leaf.shape[2:])

        part, arrays = cut(hidden), jax.tree.map(cut, per_token)
        selected = arrays.pop("where")
        if columns % step:
            is_new = start + jnp.arange(step) >= index * step
            selected &= jnp.broadcast_to(is_new, (rows, step)).reshape(-1)
        # The content of tokens that do not count must not enter the products, even if it is NaN.
        part = jnp.where(selected[:, None], part, 0)

        def summed(products):
            losses = plan.loss(plan.logits(products), arrays, shared)
            return jnp.sum(jnp.where(selected, losses, 0), dtype=dtype)

        products = matmul(part, head)
        if not gradients:
            return (carry[0] + summed(products),)
        added, to_products = jax.value_and_grad(summed)(products)
        to_products = jnp.where(selected[:, None], to_products, 0).astype(factor)
        total, to_hidden, to_head = carry
        update = matmul(to_products, head.T).reshape(rows, step, width).astype(to_hidden.dtype)
        if columns % step:
            old = jax.lax.dynamic_slice_in_dim(to_hidden, start, step, axis=1)
            update = jnp.where(is_new[:, None], update, old)
        to_hidden = jax.lax.dynamic_update_slice_in_dim(to_hidden, update, start, axis=1)
        return total + added, to_hidden, to_head + matmul(part.T, to_products)

    carry: tuple[jax.Array, ...] = (jnp.zeros((), dtype),)
    if gradients:
        carry += (jnp.zeros(hidden.shape, hidden.dtype), jnp.zeros(head.shape, dtype))
    total, *results = jax.lax.fori_loop(0, -(-columns // step), body, carry)
    if gradients:
        results[0] = results[0].reshape(*shape, width)
    return total, *results


def grid(shape: tuple[int, ...], chunk_size: int) -> tuple[int, int, int]:
    """Arranges tokens `[first, ...]` as `[rows, columns]`.

    Args:
      shape: axes of the tokens.
      chunk_size: largest number of tokens in a chunk.

    Returns:
      `(rows, columns, step)`; a chunk has `rows * step` tokens, at most `chunk_size`.
    """
    first, others = shape[0], math.prod(shape[1:])
    rows = first
    if first > chunk_size:
        # A power of two, so that the rows can be sharded over as many devices; and eight columns
        # per chunk, the tile of accelerators.
        rows = math.gcd(first, 1 << (max(chunk_size // 8, 1).bit_length() - 1))
    columns = first // rows * others
    most = max(chunk_size // rows, 1)
    count = -(-columns // most)
    step = -(-columns // count)
    return rows, columns, min(-(-step // 8) * 8, most, columns)
