"""Rows of arrays over the mesh: indexing, gathering, normalizing and checking them."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec
from jax.typing import ArrayLike


def rows_at(values: jax.Array, indices: jax.Array) -> jax.Array:
    """Returns `values[indices]`, sharded like the indices.

    Args:
      values: `[n, ...]`, replicated.
      indices: `[...]`, integers; negative ones are out of range.

    Returns:
      `[..., ...]`; NaN, or the lowest integer, where an index is out of range.
    """
    mesh = jax.sharding.get_abstract_mesh()
    out_sharding = None
    if not mesh.empty and mesh.explicit_axes:
        spec = jax.typeof(indices).sharding.spec
        out_sharding = PartitionSpec(*spec, *(None,) * (values.ndim - 1))
    return values.at[indices].get(
        mode="fill", wrap_negative_indices=False, out_sharding=out_sharding
    )


def check_indices(name: str, indices: jax.Array, leading: tuple[int, ...]) -> None:
    """Raises ValueError unless `indices` are integers of shape `leading`."""
    if not jnp.issubdtype(indices.dtype, jnp.integer):
        raise ValueError(f"{name} must be integers, rows of the bank, got {indices.dtype}")
    if indices.shape != leading:
        raise ValueError(f"{name} must have shape {leading} for this batch, got {indices.shape}")


def gathered(values: jax.Array) -> jax.Array:
    """Gathers an array on every device of an Explicit mesh; returns it unchanged elsewhere.

    A relation is one of the whole batch. Automatic meshes gather by themselves what a product of
    all pairs needs; explicit ones demand it in the code.

    Returns:
      An array of the same shape.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or not mesh.explicit_axes:
        return values
    return jax.sharding.reshard(values, PartitionSpec())


def replicated(values: jax.Array) -> jax.Array:
    """Replicates an array over an automatic mesh.

    Sharded rows that are written into a bank would make every device send the whole bank; the rows
    of a batch are far fewer.

    Returns:
      An array of the same shape.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.explicit_axes or mesh.manual_axes:
        return values
    return jax.lax.with_sharding_constraint(values, PartitionSpec())


def unit(values: jax.Array, axis: int | tuple[int, ...] = -1) -> tuple[jax.Array, jax.Array]:
    """Divides values by their L2 norm along `axis`; zeros stay, without gradient.

    Args:
      values: any array.
      axis: axis or axes of the norm.

    Returns:
      The unit vectors, and which of them are not zero, with `axis` removed.
    """
    # The direction does not depend on the scale; the squares, which may over- or underflow, do.
    scale = jax.lax.stop_gradient(jnp.max(jnp.abs(values), axis=axis, keepdims=True))
    nonzero = scale > 0
    values = jnp.where(nonzero, values, 0) / jnp.where(nonzero, scale, 1)
    squares = jnp.sum(jnp.square(values), axis=axis, keepdims=True)
    return values / jnp.sqrt(jnp.where(nonzero, squares, 1)), jnp.squeeze(nonzero, axis)


def selection(where: ArrayLike | None, ids: jax.Array) -> jax.Array:
    """Returns the mask `[batch]` as booleans; all true without one.

    Raises:
      ValueError: the mask is no boolean `[batch]`.
    """
    if where is None:
        return jnp.ones_like(ids, bool)
    where = jnp.asarray(where)
    if jnp.issubdtype(where.dtype, jnp.inexact):
        raise ValueError(f"where selects and must be boolean, got {where.dtype}")
    if where.shape != ids.shape:
        raise ValueError(
            f"where must be a mask of examples [batch], got shape {where.shape} for ids of shape "
            f"{ids.shape}"
        )
    return where.astype(bool)
