"""The reverse divergence, estimated from one token that the student has sampled."""

from __future__ import annotations

import jax
from jax.typing import ArrayLike

from jaxkd.losses.language._on_policy import log_probs_of_sampled
from jaxkd.losses.language.policy_gradient import policy_gradient, reverse_kl_advantage


def sampled_reverse_kl(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Estimates the reverse `KL(q || p)` from one token that the student has sampled.

    The value is `log q(y) - log p(y)`, whose expectation over `y` sampled from q is the divergence;
    it may be negative for a single token. The gradient is a policy gradient with the advantage
    `log p(y) - log q(y)`: its expectation is the gradient of the divergence at this token, without
    the token's effect on later ones. `reverse_kl_divergence` has no such noise; this estimate is
    for teachers that give the probability of one token only, and for comparison.

    Args:
      student: logits `[batch, tokens, vocabulary]`.
      teacher: logits of the same shape; where that of a sampled token is -inf the loss is infinite.
      labels: integers `[batch, tokens]`, the tokens sampled from the student's softmax; negative
        where there is none.
      where: boolean `[batch, tokens]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[batch, tokens]`, float32 at least.

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
    log_q, log_p, sampled = log_probs_of_sampled(student, teacher, labels, where)
    return policy_gradient(log_q, reverse_kl_advantage(log_q, log_p, where=sampled), where=sampled)
