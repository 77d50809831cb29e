"""Distillation of singular vectors: how the main directions of one layer lie to the next one's."""

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
    """Distillation of singular vectors: radial basis functions between those of two layers.

    The features of a layer, `[positions, channels]`, are summarized by their k leading right
    singular vectors. Of the student's k + 3 leading ones, the most similar to each of the teacher's
    stands for it, with its sign; both are multiplied by the teacher's singular values, normalized
    to length 1. With v from the first layer and w from the second, the loss is the sum over pairs
    of channels, and over the k, of the squared differences of `exp(-(w - v)**2 / 8)`. As in the
    code of the CRD benchmark, stages added.

    The value depends on the signs of the teacher's singular vectors, which mathematics leaves open
    and libraries choose at will. Here the entries of each add up to a positive number, so that the
    loss is the same everywhere. Vectors whose singular values are equal are not determined either;
    they take no gradient from each other, so that the gradient is finite.

    Other code reads maps with channels first as `[channels * height, width]`, and so compares
    directions along the width of the image.

    Args:
      student: two features `(first, second)`, maps `[batch, height, width, channels]` or tokens
        `[batch, tokens, width]`.
      teacher: likewise, with the student's numbers of channels; positions need not match.
      k: the number of singular vectors.
      signs_like: for comparison with another implementation: its right singular vectors of the
        teacher for both layers, `[batch, channels, k]`. Ours take the signs that make the inner
        products with them positive.
      where: boolean `[batch]`; the loss is 0 where False.

    Returns:
      `[batch]`, float32 at least.

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
    """Of vectors `[batch, channels, k]`, `[batch, second channels, first channels, k]`."""
    return jnp.exp(-jnp.square(second[:, :, None] - first[:, None]) / 8)


def _aligned(
    student: jax.Array, teacher: jax.Array, k: int, signs_like: jax.Array | None
) -> tuple[jax.Array, jax.Array]:
    """Both sides' vectors `[batch, channels, k]` times the teacher's singular values."""
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
    along = teacher_vectors if signs_like is None else teacher_vectors * signs_like
    turned = jnp.sum(along, axis=1, keepdims=True) < 0
    teacher_vectors = jnp.where(turned, -teacher_vectors, teacher_vectors)

    _, candidates = _leading(rescaled(student), k + _SPARE)
    cosines = _product("bcm,bck->bmk", candidates, teacher_vectors)
    nearest = jnp.argmax(jnp.abs(cosines), axis=1, keepdims=True)
    signs = jnp.sign(jnp.take_along_axis(cosines, nearest, axis=1))
    student_vectors = jnp.take_along_axis(candidates, nearest, axis=2) * signs
    weights = unit(values)[0][:, None]
    return student_vectors * weights, teacher_vectors * weights


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _leading(features: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Leading singular values `[batch, count]` and right vectors `[batch, channels, count]`.

    Fewer if there are fewer. Without gradient between vectors of equal singular values, and from
    the null space.
    """
    _, values, vectors = _svd(features)
    return values[:, :count], jnp.matrix_transpose(vectors)[:, :, :count]


@_leading.defjvp
def _leading_jvp(
    count: int, primals: tuple[jax.Array], tangents: tuple[jax.Array]
) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
    (features,), (moved,) = primals, tangents
    left, values, right = _svd(features)
    right = jnp.matrix_transpose(right)
    kept = values[:, None, :count]
    everything = values[:, :, None]
    # Below this, singular values and their differences are rounding errors.
    smallest = jnp.finfo(values.dtype).eps * max(features.shape[1:]) * values[:, :1, None]

    inner = _product("bni,bnc,bcj->bij", left, moved, right)
    distinct = jnp.abs(kept - everything) > smallest
    gaps = jnp.where(distinct, (kept - everything) * (kept + everything), 1)
    turns = kept * jnp.matrix_transpose(inner)[:, :, :count] + everything * inner[:, :, :count]
    moved_vectors = _product("bci,bij->bcj", right, jnp.where(distinct, turns / gaps, 0))
    if right.shape[1] > right.shape[2]:
        # Directions that the features do not span.
        outside = _product("bnc,bnj->bcj", moved, left[:, :, :count])
        outside -= _product("bci,bdi,bdj->bcj", right, right, outside)
        present = kept > smallest
        moved_vectors += jnp.where(present, outside / jnp.where(present, kept, 1), 0)
    moved_values = jnp.diagonal(inner, axis1=1, axis2=2)[:, :count]
    leading = values[:, :count], right[:, :, :count]
    return leading, (moved_values, moved_vectors)


def _svd(features: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The reduced decomposition of each matrix `[batch, rows, columns]`.

    One after the other on CPU: a batched decomposition waits there, inside a thread of the pool,
    for work that it hands to the same pool, and as many at once as there are threads wait for ever.
    """

    def one(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        left, values, right = jnp.linalg.svd(matrix, full_matrices=False)
        return left, values, right

    def in_turn(matrices: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        everywhere = gathered(matrices)
        if everywhere is matrices:
            return jax.lax.map(one, matrices)
        # A loop cannot run over the axis of a sharded batch.
        rows = jax.sharding.PartitionSpec(*jax.typeof(matrices).sharding.spec[:1])
        left, values, right = (
            jax.sharding.reshard(part, rows) for part in jax.lax.map(one, everywhere)
        )
        return left, values, right

    return jax.lax.platform_dependent(features, cpu=in_turn, default=jax.vmap(one))


def _product(subscripts: str, *factors: jax.Array) -> jax.Array:
    """Full precision, where accelerators would round the factors."""
    return jnp.einsum(subscripts, *factors, precision=jax.lax.Precision.HIGHEST)
