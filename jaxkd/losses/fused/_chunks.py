"""A sum of losses of logits `hidden @ head`, and its gradients, from a chunk of tokens at a time.

The gradients are computed together with the value, so that the backward pass only scales them:
logits are computed once, as where all of them are kept, and none is.
"""

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

# From logits `[tokens, num_classes]` and, by name, what there is for each token.
LossOfLogits = Callable[..., jax.Array]


@dataclasses.dataclass(frozen=True)
class ChunkPlan:
    """What is computed for each chunk.

    Attributes:
      loss: `loss(logits, each, shared)`, one number a token.
      logits: from `hidden @ head` to the logits, elementwise.
      chunk_size: tokens.
      token_axes: axes of a mesh that the tokens may be spread over.
      dtypes: of the gradients to hidden states and head.
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
    each: Mapping[str, Any],
    shared: Mapping[str, Any],
) -> jax.Array:
    """The sum of the losses of all tokens.

    Args:
      plan: what is computed.
      hidden: `[first, ..., width]`, the first axis possibly spread over a mesh.
      head: `[width, num_classes]`.
      each: arrays with the axes `[first, ...]` of the tokens in front; `"where"` is boolean and
        says which count. Constants.
      shared: arrays for all tokens. Constants.

    Returns:
      A scalar.
    """
    return _spread(plan, hidden, head, each, shared, gradients=False)[0]


def _forward(plan, hidden, head, each, shared):
    total, *gradients = _spread(plan, hidden, head, each, shared, gradients=True)
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
    """The gradient to the hidden states, scaled.

    A product would be a second array of their size; a loop works on the one that it is given. It
    goes along the second axis of the tokens, since the first may be spread over devices.
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
    """`hidden @ head`, added up and returned in float32 at least."""
    return jnp.matmul(hidden, head, preferred_element_type=compute_dtype(hidden, head))


def _spread(plan: ChunkPlan, hidden, head, each, shared, *, gradients: bool):
    """On every part of a mesh the tokens that lie there, the gradient to the head added up once.

    Without it the compiler would send that gradient after each chunk. Axes that are not named here
    are left to the compiler: classes spread over them stay so.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.explicit_axes:
        # Losses are written without regard to a mesh: inside as on Auto axes.
        out: tuple[Any, ...] = (P(),)
        if gradients:
            out += (jax.typeof(hidden).sharding.spec, jax.typeof(head).sharding.spec)
        inside = functools.partial(_spread, plan, gradients=gradients)
        return jax.sharding.auto_axes(inside, out_sharding=out)(hidden, head, each, shared)
    run = functools.partial(_loop, plan, gradients=gradients)
    kinds = dict(zip(mesh.axis_names, mesh.axis_types, strict=True))
    axes = tuple(
        axis
        for axis in plan.token_axes
        if kinds.get(axis, AxisType.Manual) != AxisType.Manual and mesh.shape[axis] > 1
    )
    parts = math.prod(mesh.shape[axis] for axis in axes)
    if parts == 1 or hidden.shape[0] % parts:
        return run(hidden, head, each, shared)

    def part(hidden, head, each, shared):
        total, *rest = run(hidden, head, each, shared)
        if not gradients:
            return (jax.lax.psum(total, axes),)
        to_hidden, to_head = rest
        return jax.lax.psum(total, axes), to_hidden, jax.lax.psum(to_head, axes)

    tokens, whole = P(axes), P()
    return jax.shard_map(
        part,
        in_specs=(tokens, whole, tokens, whole),
        out_specs=(whole, tokens, whole) if gradients else (whole,),
        axis_names=set(axes),
        check_vma=False,
    )(hidden, head, each, shared)


def _loop(plan: ChunkPlan, hidden, head, each, shared, *, gradients: bool):
    """The sum and, if asked for, the gradients to hidden states and head.

    Tokens are seen as `[rows, columns]`, and a chunk is a stretch of columns. Rows are whole
    examples (or stretches of them), so that a device that holds some of them has its share of each
    chunk; and nothing is copied to cut a chunk.
    """
    shape, width = hidden.shape[:-1], hidden.shape[-1]
    rows, columns, step = grid(shape, plan.chunk_size)
    hidden, each = jax.tree.map(
        lambda leaf: leaf.reshape(rows, columns, *leaf.shape[len(shape) :]), (hidden, each)
    )
    dtype = compute_dtype(hidden, head)
    factor = jnp.promote_types(hidden.dtype, head.dtype)

    def body(index, carry):
        # The last chunk starts early enough to be whole.
        start = jnp.minimum(index * step, columns - step)

        def cut(leaf):
            piece = jax.lax.dynamic_slice_in_dim(leaf, start, step, axis=1)
            return piece.reshape(rows * step, *leaf.shape[2:])

        part, own = cut(hidden), jax.tree.map(cut, each)
        chosen = own.pop("where")
        if columns % step:
            fresh = start + jnp.arange(step) >= index * step
            chosen &= jnp.broadcast_to(fresh, (rows, step)).reshape(-1)
        # Whatever stands in tokens that do not count is kept out of the products.
        part = jnp.where(chosen[:, None], part, 0)

        def summed(products):
            losses = plan.loss(plan.logits(products), own, shared)
            return jnp.sum(jnp.where(chosen, losses, 0), dtype=dtype)

        products = matmul(part, head)
        if not gradients:
            return (carry[0] + summed(products),)
        added, to_products = jax.value_and_grad(summed)(products)
        to_products = jnp.where(chosen[:, None], to_products, 0).astype(factor)
        total, to_hidden, to_head = carry
        found = matmul(to_products, head.T).reshape(rows, step, width).astype(to_hidden.dtype)
        if columns % step:
            old = jax.lax.dynamic_slice_in_dim(to_hidden, start, step, axis=1)
            found = jnp.where(fresh[:, None], found, old)
        to_hidden = jax.lax.dynamic_update_slice_in_dim(to_hidden, found, start, axis=1)
        return total + added, to_hidden, to_head + matmul(part.T, to_products)

    carry: tuple[jax.Array, ...] = (jnp.zeros((), dtype),)
    if gradients:
        carry += (jnp.zeros(hidden.shape, hidden.dtype), jnp.zeros(head.shape, dtype))
    total, *found = jax.lax.fori_loop(0, -(-columns // step), body, carry)
    if gradients:
        found[0] = found[0].reshape(*shape, width)
    return total, *found


def grid(shape: tuple[int, ...], chunk_size: int) -> tuple[int, int, int]:
    """How tokens `[first, ...]` are seen as `[rows, columns]`.

    Returns:
      `(rows, columns, step)`; a chunk has `rows * step` tokens, at most `chunk_size`.
    """
    first, others = shape[0], math.prod(shape[1:])
    rows = first
    if first > chunk_size:
        # A power of two, so that the rows can be spread over as many devices; and eight columns in
        # a chunk, as many as accelerators keep together.
        rows = math.gcd(first, 1 << (max(chunk_size // 8, 1).bit_length() - 1))
    columns = first // rows * others
    most = max(chunk_size // rows, 1)
    count = -(-columns // most)
    step = -(-columns // count)
    return rows, columns, min(-(-step // 8) * 8, most, columns)
