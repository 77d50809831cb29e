"""What two networks make of each token: hidden states of the same width, one number a token."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._feature_pairs import as_features, unit
from jaxkd.losses._logit_pairs import Paired, paired_tokens


def hidden_mse(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """The mean of squared differences of each token's hidden states.

    `feature_mse` gives one number an example and takes padding in; this one is for tokens. Also for
    embeddings.

    Args:
      student: `[..., width]`, for instance `[batch, tokens, width]`; the width is the teacher's,
        which is what a connector is for.
      teacher: of the same shape.
      where: boolean `[...]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one loss a token, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 3, 8)), jnp.full((1, 3, 8), 2.0)
      >>> losses.hidden_mse(student, teacher, where=jnp.array([[True, True, False]]))
      Array([[4., 4., 0.]], dtype=float32)

    References:
      Jiao et al., TinyBERT: Distilling BERT for Natural Language Understanding, Findings of EMNLP
      2020.
    """
    pair = _paired_states(student, teacher, where, teacher_gradient)
    return pair.finish(jnp.mean(jnp.square(pair.student - pair.teacher), axis=-1))


def hidden_cosine(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Cosine distance `1 - cos` of each token's hidden states.

    A state of zeros has no direction: it counts 1, or 0 if both sides are zero, without gradient.

    Args:
      student: `[..., width]`, for instance `[batch, tokens, width]`.
      teacher: of the same shape.
      where: boolean `[...]`; the loss is 0 where False.
      teacher_gradient: whether the gradient flows to the teacher.

    Returns:
      `[...]`, one loss a token, between 0 and 2, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([[[1.0, 0.0], [1.0, 0.0]]])
      >>> losses.hidden_cosine(student, jnp.array([[[5.0, 0.0], [0.0, 5.0]]]))
      Array([[0., 1.]], dtype=float32)

    References:
      Sanh et al., DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter,
      2019.
    """
    pair = _paired_states(student, teacher, where, teacher_gradient)
    unit_student, has_student = unit(pair.student)
    unit_teacher, has_teacher = unit(pair.teacher)
    # Half the squared distance of unit vectors is 1 - cos, exactly 0 where they are equal.
    distance = 0.5 * jnp.sum(jnp.square(unit_student - unit_teacher), axis=-1)
    return pair.finish(jnp.where(has_student & has_teacher, distance, has_student ^ has_teacher))


def _paired_states(
    student: ArrayLike, teacher: ArrayLike, where: ArrayLike | None, teacher_gradient: bool
) -> Paired:
    """States `[..., width]` in one dtype, float32 at least, 0 for tokens that take no part."""
    student, teacher = as_features(student, teacher)
    if student.shape != teacher.shape or student.ndim < 2:
        raise ValueError(
            f"hidden states are [..., tokens, width] of one shape, got student {student.shape} and "
            f"teacher {teacher.shape}: put a connector on the student where the widths differ"
        )
    return paired_tokens(student, teacher, where, teacher_gradient)
