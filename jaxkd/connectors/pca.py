"""Principal components of a teacher's embeddings, for students of another width."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxkd.connectors._blocks import Constant


class PrincipalComponents(NamedTuple):
    """The directions in which embeddings vary most, NumPy arrays of float32.

    Attributes:
      mean: `[features]`, the mean of the embeddings; zeros if they were not centered.
      components: `[width, features]`, orthonormal rows, the largest variance first.
      variances: `[width]`, the variance along each (the mean square if not centered).
      share: share of the total variance that all of them have together, from 0 to 1.

    Example:
      >>> found = pca(np.array([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]]), 1)
      >>> found.components.shape, round(float(found.share), 3)
      ((1, 2), 1.0)
    """

    mean: np.ndarray
    components: np.ndarray
    variances: np.ndarray
    share: float


def pca(embeddings: Any, width: int, *, center: bool = True) -> PrincipalComponents:
    """Computes the principal components of embeddings, in one pass over them.

    The sums are float64 `[features, features]` on the host: of a cache, whatever its size, one
    block after the other is read, `(outputs.decode()["embedding"] for _, outputs in
    cache.stream(0))`.

    Args:
      embeddings: `[n, features]`, real, or an iterable of such blocks.
      width: number of components, that of the student's embedding.
      center: whether the mean is subtracted. Cosines of centered embeddings differ from those of
        the embeddings themselves; without it their cosines and inner products are what the
        components preserve best.

    Returns:
      The components, with the sign that makes the largest entry of each positive.

    Raises:
      TypeError: a width that is no integer, embeddings that are not real numbers.
      ValueError: no embedding, blocks of other shapes or with values that are not finite in
        float32, a width that is more than the features or than the embeddings.

    Example:
      >>> import numpy as np
      >>> from jaxkd import connectors
      >>> found = connectors.pca(np.array([[0.0, 1.0], [2.0, 1.0], [4.0, 1.0]]), 1)
      >>> found.mean, found.components, round(found.share, 3)
      (array([2., 1.], dtype=float32), array([[1., 0.]], dtype=float32), 1.0)
    """
    width = _integer(width)
    count, origin, total, gram = _sums(_blocks(embeddings))
    features = len(total)
    if not 1 <= width <= min(features, count):
        raise ValueError(
            f"width must be from 1 to the {features} features and no more than the {count} "
            f"embeddings, not {width}"
        )
    # Sums of the distances from one embedding: no digits are lost to a large mean.
    offset = total / count
    covariance = gram / count - np.outer(offset, offset)
    mean = origin + offset
    if not center:
        covariance, mean = covariance + np.outer(mean, mean), np.zeros(features)
    variances, vectors = np.linalg.eigh(covariance)
    components = vectors[:, ::-1][:, :width].T
    largest = np.argmax(np.abs(components), axis=1)[:, None]
    components *= np.sign(np.take_along_axis(components, largest, 1))
    variances = np.maximum(variances[::-1], 0)
    share = float(variances[:width].sum() / max(variances.sum(), np.finfo(float).tiny))
    return PrincipalComponents(
        mean.astype(np.float32),
        components.astype(np.float32),
        variances[:width].astype(np.float32),
        share,
    )


def _integer(width: Any) -> int:
    try:
        return operator.index(width)
    except TypeError:
        raise TypeError(
            f"width must be an integer, the width of the student's embedding, not {width!r}"
        ) from None


def _blocks(embeddings: Any) -> Iterable[Any]:
    """Returns blocks `[n, features]` of an array, of rows in a list, or of what has blocks."""
    if hasattr(embeddings, "ndim"):
        return [embeddings]
    if isinstance(embeddings, list | tuple) and embeddings and np.ndim(embeddings[0]) == 1:
        return [np.asarray(embeddings)]
    blocks: Iterable[Any] = embeddings
    return blocks


def _sums(blocks: Iterable[Any]) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """Returns number, first embedding, and sums of first and second powers of the distances to it.

    Raises:
      TypeError: blocks that are not real numbers.
      ValueError: no embedding, blocks that do not fit or are not finite.
    """
    largest = float(np.finfo(np.float32).max)
    count, origin, total, gram = 0, np.zeros(0), np.zeros(0), np.zeros((0, 0))
    for given in blocks:
        block = np.asarray(given)
        # Floats beside NumPy's own, such as bfloat16, are of kind V.
        if block.dtype.kind in "cSUOM":
            raise TypeError(
                f"embeddings must be real numbers, not {block.dtype}: of complex ones write "
                "np.concatenate([x.real, x.imag], axis=-1)"
            )
        block = block.astype(np.float64)
        if block.ndim != 2 or (count and block.shape[1:] != origin.shape):
            raise ValueError(
                "embeddings must be [n, features] or blocks of such, of one width, not "
                f"{np.shape(given)}{f' after {origin.shape}' if count else ''}"
            )
        if not np.all(np.abs(block) <= largest):  # False of NaN as well
            raise ValueError(
                f"embeddings must be finite in float32: {np.sum(~(np.abs(block) <= largest))} of "
                f"{block.size} numbers of a block are not"
            )
        if not len(block):
            continue
        if not count:
            origin = block[0]
            total, gram = np.zeros_like(origin), np.zeros((len(origin), len(origin)))
        count += len(block)
        block = block - origin
        total += block.sum(axis=0)
        gram += block.T @ block
    if not count:
        raise ValueError("there is no embedding to compute components of")
    return count, origin, total, gram


def check_components(what: str, components: Any) -> None:
    """Raises TypeError for what `pca` did not return, such as the embeddings themselves."""
    if not isinstance(components, PrincipalComponents):
        raise TypeError(
            f"{what} takes what connectors.pca(embeddings, width) returned, not "
            f"{type(components).__name__}"
        )


class ReducedTeacher(nnx.Module):
    """Leaves the student's embedding as it is, and reduces the teacher's to its width.

    The teacher's embedding becomes its coordinates along principal components, which are not
    trained: what the student learns is an embedding of its own width, to be used without any
    projection, whose first entries carry most (`jaxkd.losses.matryoshka`).

    Args:
      components: principal components of the teacher's embeddings, as many as the student's
        embedding is wide.

    Raises:
      TypeError: anything but principal components.
      ValueError: when called with embeddings of other widths.

    Example:
      >>> import jax.numpy as jnp
      >>> import numpy as np
      >>> from jaxkd import connectors
      >>> components = connectors.pca(np.random.default_rng(0).normal(size=(50, 6)), 4)
      >>> connector = connectors.ReducedTeacher(components)
      >>> outputs = connector(jnp.ones((2, 4)), teacher=jnp.ones((2, 6)))
      >>> {name: x.shape for name, x in outputs.items()}
      {'student': (2, 4), 'teacher': (2, 4)}
    """

    def __init__(self, components: PrincipalComponents):
        check_components("ReducedTeacher(components)", components)
        self.mean = Constant(jnp.asarray(components.mean))
        self.components = Constant(jnp.asarray(components.components))

    def __call__(self, student: jax.Array, *, teacher: jax.Array) -> dict[str, jax.Array]:
        """Returns the student's embedding and the coordinates of the teacher's."""
        width, features = self.components.shape
        if student.shape[-1:] != (width,) or teacher.shape[-1:] != (features,):
            raise ValueError(
                f"components {(width, features)} are for a student of width {width} and a teacher "
                f"of width {features}, not embeddings of shapes {student.shape} and "
                f"{teacher.shape}: write connectors.pca(embeddings, {student.shape[-1]})"
            )
        centered = teacher.astype(jnp.float32) - self.mean[...]
        coordinates = jnp.matmul(
            centered, self.components[...].T, precision=jax.lax.Precision.HIGHEST
        )
        return {"student": student, "teacher": coordinates}
