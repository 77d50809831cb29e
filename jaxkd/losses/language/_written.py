"""Losses on tokens that the student has drawn itself, from the logits of both networks."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._logit_pairs import dense
from jaxkd.losses.cross_entropy import cross_entropy
from jaxkd.losses.language._policy import (
    length_normalized_returns,
    policy_gradient,
    reverse_kl_advantage,
    whiten,
)

_DRAWN = "the probability of the very token that was drawn is needed"


def sampled_reverse_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """Reverse KL(q || p) estimated from the one token that the student has drawn.

    The value is `log q(y) - log p(y)`, which is the divergence in the mean over `y` drawn from q
    and may be negative for a single token. The gradient is that of a policy that earns the
    advantage `log p(y) - log q(y)`: in the mean it is the divergence's at this token (what the
    token does to later ones is left out). `reverse_kl_divergence` has no such noise; this one is
    for teachers that give the probability of one token alone, and for comparison.

    Args:
      student: logits `[batch, tokens, vocabulary]`.
      teacher: logits of the same shape; where the teacher rules a drawn token out with -inf the
        loss is infinite.
      labels: integers `[batch, tokens]`, the tokens drawn from the student's softmax; negative
        where there is none.
      where: boolean `[batch, tokens]`; the loss is 0 where False.
      teacher_gradient: accepted as everywhere, but the advantage is a constant.

    Returns:
      `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([[[0.0, 0.0]]]), jnp.array([[[2.0, 0.0]]])
      >>> print(f"{losses.sampled_reverse_kl(student, teacher, jnp.array([[1]]))[0, 0]:.3f}")
      1.434

    References:
      Lu and Thinking Machines Lab, On-Policy Distillation, 2025.
    """
    del teacher_gradient
    log_q, log_p, drawn = _log_probs_of_drawn(student, teacher, labels, where)
    return policy_gradient(log_q, reverse_kl_advantage(log_q, log_p, where=drawn), where=drawn)


def minillm_long(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    discount: ArrayLike = 0.95,
    clip: ArrayLike = 0.2,
    whitened: bool = True,
    where: ArrayLike | None = None,
    teacher_gradient: bool = False,
) -> jax.Array:
    """The long part of MiniLLM's gradient: what a drawn token earns by the tokens after it.

    Each drawn token has the reward `log p - log q`. A token is reinforced by the discounted sum of
    the rewards of those behind it, divided by their number. What it does to the divergence at its
    own place is the single-step part, `reverse_kl_divergence`. The value is a policy's loss: only
    its gradient means something.

    Args:
      student: logits `[batch, tokens, vocabulary]`.
      teacher: logits of the same shape.
      labels: integers `[batch, tokens]`, the tokens drawn from the student's softmax; negative
        where there is none. Those of a row are one answer.
      discount: what a reward loses a token, in [0, 1].
      clip: how far the ratio of probabilities may move from 1.
      whitened: whether returns are shifted and scaled to mean 0 and variance 1 over all tokens that
        count, as published. This couples the examples of a batch.
      where: boolean `[batch, tokens]`; the loss is 0 where False.
      teacher_gradient: accepted as everywhere, but returns are constants.

    Returns:
      `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit, a discount or clip outside [0, 1].
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.zeros((1, 2, 2)), jnp.array([[[2.0, 0.0], [2.0, 0.0]]])
      >>> loss = losses.minillm_long(student, teacher, jnp.array([[0, 1]]), whitened=False)
      >>> print(f"{loss[0, 0]:.3f}")
      1.434

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024, equation 7.
    """
    del teacher_gradient
    log_q, log_p, drawn = _log_probs_of_drawn(student, teacher, labels, where)
    rewards = reverse_kl_advantage(log_q, log_p, where=drawn)
    returns = length_normalized_returns(rewards, discount=discount, where=drawn)
    # From the next token on; the last one has nothing behind it.
    returns = jnp.pad(returns[:, 1:], ((0, 0), (0, 1)))
    if whitened:
        returns = whiten(returns, where=drawn)
    return policy_gradient(log_q, returns, clip=clip, where=drawn)


def _log_probs_of_drawn(
    student: ArrayLike, teacher: ArrayLike, labels: ArrayLike, where: ArrayLike | None
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Of student and teacher, `[batch, tokens]`, and where a token was drawn."""
    student, teacher = dense("student", student, _DRAWN), dense("teacher", teacher, _DRAWN)
    labels = jnp.asarray(labels)
    if student.shape != teacher.shape or student.ndim != 3:
        raise ValueError(
            f"logits are [batch, tokens, vocabulary] of one shape, got student {student.shape} and "
            f"teacher {teacher.shape}"
        )
    log_q = -cross_entropy(student, labels, where=where)
    log_p = -cross_entropy(jax.lax.stop_gradient(teacher), labels, where=where)
    drawn = labels >= 0
    if where is not None:
        drawn = drawn & jnp.asarray(where, bool)
    return log_q, log_p, drawn
