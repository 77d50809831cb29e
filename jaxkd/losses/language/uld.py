"""Universal logit distillation: sorted probabilities of different vocabularies."""

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
    """Universal logit distillation: L1 distance of the sorted probabilities.

    `sum_i |p_(i) - q_(i)|` over ranks i, the smaller vocabulary padded with zeros. The vocabularies
    need have nothing in common; the loss compares how sure the models are, not of what. Without a
    factor 1/2 or `temperature**2`, as in public code.

    The tokens must be paired: position by position for tokens `[batch, tokens]` that were lined up
    before, or with `align_by_position`, `align_by_bytes` and `chunk_log_probs`, after which
    `uld_from_log_probs` is the loss.

    Args:
      student: logits `[..., student_vocabulary]`, for instance `[batch, tokens, ...]`.
      teacher: logits `[..., teacher_vocabulary]`.
      student_temperature: positive scalar that divides the student's logits; may be traced.
      teacher_temperature: the same for the teacher's.
      where: boolean `[...]`; the loss is 0 where False.

    Returns:
      `[...]`, one loss a token, at most 2, float32 at least.

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
    """`uld` of log-probabilities, which need not be normalized: the chunks of two tokenizers.

    Args:
      student: log-probabilities `[..., student_vocabulary]`, as of `chunk_log_probs`.
      teacher: log-probabilities `[..., teacher_vocabulary]`.
      where: boolean `[...]`, for instance which chunks there are; the loss is 0 where False.

    Returns:
      `[...]`, one loss a chunk, float32 at least.

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
