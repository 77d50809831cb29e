"""Universal logit distillation: sorted probabilities of different vocabularies."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature
from jaxkd.losses._numerics import temper
from jaxkd.losses.language._vocabularies import paired_vocabularies, sorted_distance


def uld(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    student_temperature: ArrayLike = 1.0,
    teacher_temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes universal logit distillation, the L1 distance of sorted probabilities.

    The loss is `sum_i |p_(i) - q_(i)|` over ranks i, with the smaller vocabulary padded by zeros.
    The vocabularies need not share tokens; the loss compares the confidence of the models, not
    their predictions. There is no factor 1/2 or `temperature**2`, as in public code.

    The tokens must be paired: position by position for tokens `[batch, tokens]` that are aligned
    already, or with `align_by_position`, `align_by_bytes` and `chunk_log_probs`, after which
    `uld_from_log_probs` is the loss.

    Args:
      student: logits `[..., student_vocabulary]`, for instance `[batch, tokens, ...]`.
      teacher: logits `[..., teacher_vocabulary]`.
      student_temperature: positive scalar that divides the student's logits; may be traced.
      teacher_temperature: positive scalar that divides the teacher's logits; may be traced.
      where: boolean `[...]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[...]`, at most 2, float32 at least.

    Raises:
      ValueError: leading axes that differ, a mask that does not fit, a temperature that is not
        positive and finite.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.log(jnp.array([[0.2, 0.8]]))
      >>> teacher = jnp.log(jnp.array([[0.5, 0.1, 0.4]]))
      >>> print(f"{losses.uld(student, teacher)[0]:.1f}")
      0.6

    References:
      Boizard et al., Toward Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for
      LLMs, TMLR 2025.
    """
    check_temperature(student_temperature)
    check_temperature(teacher_temperature)
    pair = paired_vocabularies(student, teacher, where)
    q, p = (
        jax.nn.softmax(temper(logits, temperature, logits.dtype))
        for logits, temperature in (
            (pair.student, student_temperature),
            (pair.teacher, teacher_temperature),
        )
    )
    return pair.finish(sorted_distance(q, p))


def uld_from_log_probs(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes `uld` from log-probabilities, normalized or not, such as those of chunks.

    Args:
      student: log-probabilities `[..., student_vocabulary]`, for instance from `chunk_log_probs`.
      teacher: log-probabilities `[..., teacher_vocabulary]`.
      where: boolean `[...]`, for instance the chunks that exist; the loss is 0 where it is False.

    Returns:
      One loss per chunk, `[...]`, float32 at least.

    Raises:
      ValueError: leading axes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.log(jnp.array([[0.2, 0.3]]))
      >>> teacher = jnp.log(jnp.array([[0.5, 0.1, 0.4]]))
      >>> print(f"{losses.uld_from_log_probs(student, teacher)[0]:.1f}")
      0.5

    References:
      Patino et al., Unlocking On-Policy Distillation for Any Model Family (GOLD), 2025.
    """
    pair = paired_vocabularies(student, teacher, where)
    return pair.finish(sorted_distance(jnp.exp(pair.student), jnp.exp(pair.teacher)))
