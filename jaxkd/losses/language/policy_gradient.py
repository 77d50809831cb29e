"""Policy gradients of sampled tokens, and their advantage under the reverse divergence.

All arrays are `[batch, tokens]` of sampled tokens; the log-probability of a sampled token under
logits is `-cross_entropy(logits, token_ids)`. The single-step part of MiniLLM's gradient, taken
over the whole vocabulary, is `reverse_kl_divergence` on the tokens.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight
from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses.language._on_policy import per_token


def reverse_kl_advantage(
    student_log_probs: ArrayLike,
    teacher_log_probs: ArrayLike,
    *,
    coefficient: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the advantage `-coefficient * (log q - log p)` of each sampled token.

    In `policy_gradient` with tokens sampled from the current student its expectation is the
    gradient of `coefficient * KL(q || p)`. The advantage is a constant, without gradient.

    Args:
      student_log_probs: log-probabilities `[batch, tokens]` of the sampled tokens under the
        student.
      teacher_log_probs: log-probabilities `[batch, tokens]` of the same tokens under the teacher;
        where one is -inf the advantage is -inf, so exclude such tokens from sampling.
      coefficient: scalar weight of the divergence.
      where: boolean `[batch, tokens]`, the tokens that count; the advantage is 0 where it is False.

    Returns:
      Advantages `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: shapes that differ, a mask that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.reverse_kl_advantage(jnp.array([[-1.0, -2.0]]), jnp.array([[-3.0, -1.5]]))
      Array([[-2. ,  0.5]], dtype=float32)

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024; Lu and
      Thinking Machines Lab, On-Policy Distillation, 2025.
    """
    (log_q, log_p), rows = per_token(
        where, student_log_probs=student_log_probs, teacher_log_probs=teacher_log_probs
    )
    advantage = -jnp.asarray(coefficient, log_q.dtype) * (log_q - log_p)
    return jax.lax.stop_gradient(keep_rows(advantage, rows))


def policy_gradient(
    log_probs: ArrayLike,
    advantages: ArrayLike,
    *,
    old_log_probs: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    clip: ArrayLike = 0.2,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the clipped policy-gradient loss of sampled tokens (PPO), `-min(r A, clip(r) A)`.

    `r` is the probability of the token under the current student over that under the student that
    sampled it, times `importance`. It is bounded by `1 + clip` for a positive advantage, and by
    `1 - clip` from below for a negative one; at the bound there is no gradient. The loss of a token
    with a negative advantage grows with r without bound.

    Args:
      log_probs: log-probabilities `[batch, tokens]` of the tokens under the current student.
      advantages: constant advantages `[batch, tokens]`.
      old_log_probs: constant log-probabilities `[batch, tokens]` under the student that sampled the
        tokens; None for the current one.
      importance: constant non-negative importance weights `[batch, tokens]`, as MiniLLM's for
        tokens sampled from a mixture with the teacher. None for 1.
      clip: largest deviation of r from 1, in [0, 1].
      where: boolean `[batch, tokens]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: arrays that are not of rank 2 or whose shapes differ, a mask that does not fit, a
        clip outside [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> log_probs, old = jnp.log(jnp.array([[0.3, 0.3]])), jnp.log(jnp.array([[0.2, 0.2]]))
      >>> loss = losses.policy_gradient(log_probs, jnp.array([[1.0, -1.0]]), old_log_probs=old)
      >>> [f"{token:.1f}" for token in loss[0]]
      ['-1.2', '1.5']

    References:
      Schulman et al., Proximal Policy Optimization Algorithms, 2017; Gu et al., MiniLLM: Knowledge
      Distillation of Large Language Models, ICLR 2024, whose code has the weights in the ratio.
    """
    check_weight("clip", clip, below_one=False)
    log_probs = jnp.asarray(log_probs)
    old = jax.lax.stop_gradient(log_probs if old_log_probs is None else old_log_probs)
    weights = jnp.ones_like(log_probs) if importance is None else importance
    (log_probs, advantages, old, weights), rows = per_token(
        where, log_probs=log_probs, advantages=advantages, old_log_probs=old, importance=weights
    )
    advantages, old, weights = jax.lax.stop_gradient((advantages, old, weights))
    log_ratio = log_probs - old + jnp.log(weights)
    clip = jnp.asarray(clip, log_ratio.dtype)
    # Clipped before the exponential, so that a ratio beyond the bound cannot overflow.
    ratio = jnp.exp(
        jnp.where(
            advantages >= 0,
            jnp.minimum(log_ratio, jnp.log1p(clip)),
            jnp.maximum(log_ratio, jnp.log1p(-clip)),
        )
    )
    return keep_rows(-advantages * ratio, rows)
