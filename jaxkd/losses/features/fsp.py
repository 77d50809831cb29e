"""Flow of the solution procedure: the relation between the features of two layers."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import paired_features
from jaxkd.losses.features._positions import common_positions


def fsp(
    student: Sequence[ArrayLike],
    teacher: Sequence[ArrayLike],
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the difference of the flow of the solution procedure (FSP) in both networks.

    The `fsp_matrix` of two layers' features describes the flow between them. The loss is the mean
    of squared differences over the matrix's elements, after average pooling to the smaller of the
    two layers, as in the code of the CRD benchmark (weight 50, summed over stages). Other code uses
    max pooling, and sums the L2 norms of the matrix's columns.

    Args:
      student: features `(first, second)` of two layers, maps `[batch, height, width, channels]` or
        tokens `[batch, tokens, width]`, each of any size and number of channels.
      teacher: features of two layers, with the student's numbers of channels.
      where: boolean `[batch]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[batch]`, float32 at least.

    Raises:
      ValueError: other than two features, numbers of channels that differ between the networks,
        numbers of tokens that differ, a mask that is not `[batch]`.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.ones((1, 4, 4, 2)), jnp.ones((1, 2, 2, 3))
      >>> teacher = jnp.ones((1, 8, 8, 2)), jnp.full((1, 8, 8, 3), 3.0)
      >>> losses.fsp(student, teacher)
      Array([4.], dtype=float32)

    References:
      Yim, Joo, Bae and Kim, A Gift from Knowledge Distillation: Fast Optimization, Network
      Minimization and Transfer Learning, CVPR 2017.
    """
    for name, features in (("student", student), ("teacher", teacher)):
        if not isinstance(features, tuple | list) or len(features) != 2:
            shapes = [jnp.shape(layer) for layer in features]
            raise ValueError(
                f"{name} must be (first, second), the features of two layers, got "
                f"{type(features).__name__} of shapes {shapes}"
            )
    first, second = (
        paired_features(*layer, where, same_shape=False)
        for layer in zip(student, teacher, strict=True)
    )
    for layer in (first, second):
        if layer.student.shape[-1] != layer.teacher.shape[-1]:
            raise ValueError(
                f"features must have the same number of channels, got student "
                f"{layer.student.shape} and teacher {layer.teacher.shape}: put a connector on the "
                "student that maps its channels to the teacher's"
            )
    difference = fsp_matrix(first.student, second.student) - fsp_matrix(
        first.teacher, second.teacher
    )
    return first.finish(jnp.mean(jnp.square(difference), axis=(1, 2)))


def fsp_matrix(first: ArrayLike, second: ArrayLike) -> jax.Array:
    """Computes the mean over positions of the products of two layers' channels.

    Of two maps the larger is first pooled to the size of the smaller.

    Args:
      first: maps `[batch, height, width, channels]` or tokens `[batch, tokens, width]`.
      second: features of the same kind, with any number of channels; maps of any size, the same
        number of tokens.

    Returns:
      One matrix per example, `[batch, channels of first, channels of second]`, float32 at least.

    Raises:
      ValueError: features without common positions.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.fsp_matrix(jnp.ones((1, 4, 4, 1)), jnp.full((1, 2, 2, 2), 3.0))
      Array([[[3., 3.]]], dtype=float32)

    References:
      Yim, Joo, Bae and Kim, A Gift from Knowledge Distillation, CVPR 2017.
    """
    # Both are layers of one network, and so both have a gradient.
    pair = paired_features(first, second, None, same_shape=False, learned_teacher=True)
    first, second = common_positions(pair.student, pair.teacher)
    return jnp.einsum("bpc,bpd->bcd", first, second) / first.shape[1]
