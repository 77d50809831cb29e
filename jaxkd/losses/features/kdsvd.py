"""Distillation of singular vectors: the relation between the main directions of two layers."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import gathered, paired_features, unit
from jaxkd.losses.features._layers import check_tuple
from jaxkd.losses.features._positions import check_same_channels, positions, rescaled

# How many more candidates the student has for each of the teacher's vectors, as published.
_SPARE = 3


def kdsvd(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    k: int = 1,
    signs_like: Sequence[ArrayLike] | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes singular vector distillation, by radial basis functions between two layers.

    The features of a layer, `[positions, channels]`, are summarized by their k leading right
    singular vectors. Each of the teacher's vectors is paired with the most similar of the student's
    k + 3 leading ones, with matching sign; both are multiplied by the teacher's singular values,
    normalized to length 1. With v from the first layer and w from the second, the loss is the sum
    over pairs of channels, and over the k, of the squared differences of `exp(-(w - v)**2 / 8)`. As
    in the code of the CRD benchmark, which sums over stages.

    The value depends on the signs of the teacher's singular vectors, which are not determined
    mathematically and differ between libraries. Here the entries of each sum to a positive number,
    so that the loss is the same on every platform. Vectors whose singular values are equal are not
    determined either; no gradient flows between them, so that the gradient is finite.

    Other code reads maps with channels first as `[channels * height, width]`, and so compares
    directions along the width of the image.

    Args:
      student: features `(first, second)` of two layers, maps `[batch, height, width, channels]` or
        tokens `[batch, tokens, width]`.
      teacher: features of two layers, with the student's numbers of channels; positions need not
        match.
      k: number of singular vectors.
      signs_like: right singular vectors of the teacher for both layers, `[batch, channels, k]`,
        from another implementation to compare with. The signs are then chosen so that the inner
        products with them are positive. None for the signs described above.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: other than two features, numbers of channels that differ between the networks, a k
        that is not between 1 and the number of the teacher's singular values, vectors of another
        shape than `[batch, channels, k]`, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> first, second = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 2, 2, 3))
      >>> print(f"{losses.kdsvd((first, second), (2 * first, second))[0]:.4f}")
      0.0000
      >>> print(f"{losses.kdsvd((first.at[..., 1].set(0), second), (first, second))[0]:.4f}")
      0.0057

    References:
      Lee, Kim and Song, Self-supervised Knowledge Distillation using Singular Value Decomposition,
      ECCV 2018.
    """
    check_tuple("student", student, "the features of two layers", 2)
    check_tuple("teacher", teacher, "the features of two layers", 2)
    if signs_like is not None:
        check_tuple("signs_like", signs_like, "the singular vectors of two layers", 2)
    vectors = []
    for index, layers in enumerate(zip(student, teacher, strict=True)):
        pair = paired_features(*layers, where, same_shape=False)
        check_same_channels(pair)
        signs = None if signs_like is None else jnp.asarray(signs_like[index])
        vectors.append(_aligned(positions(pair.student), positions(pair.teacher), k, signs))
    (first, first_teacher), (second, second_teacher) = vectors
    difference = _radial(first, second) - _radial(first_teacher, second_teacher)
    return pair.finish(jnp.sum(jnp.square(difference), axis=(1, 2, 3)))


def _radial(first: jax.Array, second: jax.Array) -> jax.Array:
    """Returns the kernel `[batch, second channels, first channels, k]` of two layers' vectors."""
    return jnp.exp(-jnp.square(second[:, :, None] - first[:, None]) / 8)


def _aligned(
    student: jax.Array, teacher: jax.Array, k: int, signs_like: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Returns both sides' vectors `[batch, channels, k]`, scaled by the teacher's values."""
    if not 1 <= k <= min(teacher.shape[1:]):
        raise ValueError(
            f"k must be between 1 and {min(teacher.shape[1:])}, the number of singular values of "
            f"teacher features with {teacher.shape[1]} positions and {teacher.shape[2]} channels: "
            f"got {k}"
        )
    shape = (teacher.shape[0], teacher.shape[2], k)
    if signs_like is not None and signs_like.shape != shape:
        raise ValueError(
            f"signs_like must be [batch, channels, k] = {shape}, got {signs_like.shape}"
        )
    values, teacher_vectors = _leading(rescaled(teacher), k)
    reference = teacher_vectors if signs_like is None else teacher_vectors * signs_like
    flipped = jnp.sum(reference, axis=1, keepdims=True) < 0
    teacher_vectors = jnp.where(flipped, -teacher_vectors, teacher_vectors)

    _, candidates = _leading(rescaled(student), k + _SPARE)
    cosines = _product("bcm,bck->bmk", candidates, teacher_vectors)
    nearest = jnp.argmax(jnp.abs(cosines), axis=1, keepdims=True)
    signs = jnp.sign(jnp.take_along_axis(cosines, nearest, axis=1))
    student_vectors = jnp.take_along_axis(candidates, nearest, axis=2) * signs
    weights = unit(values)[0][:, None]
    return student_vectors * weights, teacher_vectors * weights


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _leading(features: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Returns the leading singular values and right vectors, with a derivative that is finite.

    No gradient flows between vectors of equal singular values, nor from the null space.

    Args:
      features: matrices `[batch, positions, channels]`.
      count: number of singular values; the result has fewer if there are fewer.

    Returns:
      Values `[batch, count]` and vectors `[batch, channels, count]`.
    """
    _, values, vectors = _svd(features)
    return values[:, :count], jnp.matrix_transpose(vectors)[:, :, :count]


@_leading.defjvp
def _leading_jvp(
    count: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    """Differentiates singular values and vectors by perturbation theory.

    A vector turns toward each other one in proportion to the tangent between them over the
    difference of the squared singular values; equal values would divide by zero and are left out.

    Returns:
      Values `[batch, count]` and vectors `[batch, channels, count]`, and their tangents.
    """
    (features,), (tangent,) = primals, tangents
    left, values, right = _svd(features)
    right = jnp.matrix_transpose(right)
    leading = values[:, None, :count]
    others = values[:, :, None]
    # Below this, singular values and their differences are rounding errors.
    smallest = jnp.finfo(values.dtype).eps * max(features.shape[1:]) * values[:, :1, None]

    inner = _product("bni,bnc,bcj->bij", left, tangent, right)
    distinct = jnp.abs(leading - others) > smallest
    gaps = jnp.where(distinct, (leading - others) * (leading + others), 1)
    turns = leading * jnp.matrix_transpose(inner)[:, :, :count] + others * inner[:, :, :count]
    vector_tangents = _product("bci,bij->bcj", right, jnp.where(distinct, turns / gaps, 0))
    if right.shape[1] > right.shape[2]:
        # Directions that the features do not span.
        outside = _product("bnc,bnj->bcj", tangent, left[:, :, :count])
        outside -= _product("bci,bdi,bdj->bcj", right, right, outside)
        present = leading > smallest
        vector_tangents += jnp.where(present, outside / jnp.where(present, leading, 1), 0)
    value_tangents = jnp.diagonal(inner, axis1=1, axis2=2)[:, :count]
    return (values[:, :count], right[:, :, :count]), (value_tangents, vector_tangents)


def _svd(features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Computes the reduced decomposition of each matrix `[batch, rows, columns]`.

    On CPU one after the other: a batched decomposition waits there, inside a thread of the pool,
    for work in the same pool, and as many of them as there are threads deadlock.

    Returns:
      Left vectors `[batch, rows, rank]`, singular values `[batch, rank]` and right vectors
      `[batch, rank, columns]`, where rank is the smaller of rows and columns.
    """

    def one(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
        return left, values, right

    def one_by_one(matrices: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        replicated = gathered(matrices)
        if replicated is matrices:
            return jax.lax.map(one, matrices)
        # A loop cannot run over the axis of a sharded batch.
        rows = jax.sharding.PartitionSpec(*jax.typeof(matrices).sharding.spec[:1])
        left, values, right = (
            jax.sharding.reshard(part, rows) for part in jax.lax.map(one, replicated)
        )
        return left, values, right

    return jax.lax.platform_dependent(features, cpu=one_by_one, default=jax.vmap(one))


def _product(subscripts: str, *factors: jax.Array) -> jax.Array:
    """Multiplies in full precision, where accelerators would round the factors."""
    return jnp.einsum(subscripts, *factors, precision=jax.lax.Precision.HIGHEST)
