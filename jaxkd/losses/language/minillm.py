"""MiniLLM: the long part of the policy gradient, from the rewards of later tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight
from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses.language._on_policy import log_probs_of_sampled, per_token
from jaxkd.losses.language.policy_gradient import policy_gradient, reverse_kl_advantage


def length_normalized_returns(
    rewards: ArrayLike, *, discount: ArrayLike = 0.95, where: ArrayLike | None = None
) -> jax.Array:
    """Computes the discounted sum of rewards from each token on, over the number of tokens in it.

    Without the division, long responses would have larger returns only for their length.

    Args:
      rewards: rewards `[batch, tokens]`.
      discount: discount factor per token, in [0, 1], MiniLLM's gamma.
      where: boolean `[batch, tokens]`, the tokens of the responses; a reward elsewhere is not
        counted. None for all.

    Returns:
      Length-normalized returns `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: rewards that are not of rank 2, a mask that does not fit, a discount outside [0,
        1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.length_normalized_returns(jnp.array([[1.0, 1.0, 4.0]]), discount=0.5)
      Array([[0.8333333, 1.5      , 4.       ]], dtype=float32)

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024; as its public
      code, which discounts.
    """
    check_weight("discount", discount, below_one=False)
    (rewards,), rows = per_token(where, rewards=rewards)
    discount = jnp.asarray(discount, rewards.dtype)
    present = jnp.ones_like(rewards) if rows is None else rows.astype(rewards.dtype)

    def earlier(
        later: tuple[jax.Array, jax.Array], token: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], tuple[jax.Array, jax.Array]]:
        total, length = token[0] + discount * later[0], token[1] + later[1]
        return (total, length), (total, length)

    start = (jnp.zeros_like(rewards[:, 0]), jnp.zeros_like(present[:, 0]))
    _, (returns, lengths) = jax.lax.scan(earlier, start, (rewards.T, present.T), reverse=True)
    return (returns / jnp.maximum(lengths, 1)).T


def whiten(values: ArrayLike, *, where: ArrayLike | None = None) -> jax.Array:
    """Shifts and scales values to mean 0 and variance 1 over the selected tokens of the batch.

    The variance is unbiased, plus 1e-8. It couples the examples of the batch. MiniLLM's public code
    takes the statistics over padding as well, so that they depend on the amount of padding; without
    a mask this function does the same.

    Args:
      values: values `[batch, tokens]`.
      where: boolean `[batch, tokens]`, the tokens that count; the result is 0 where it is False.
        None for all.

    Returns:
      Whitened values `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: values that are not of rank 2, a mask that does not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> losses.whiten(jnp.array([[9.0, 3.0, 1.0]]), where=jnp.array([[False, True, True]]))
      Array([[ 0.        ,  0.70710677, -0.70710677]], dtype=float32)

    References:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024 (its code).
    """
    (values,), rows = per_token(where, values=values)
    present = jnp.ones_like(values) if rows is None else rows.astype(values.dtype)
    count = jnp.sum(present)
    mean = jnp.sum(values) / jnp.maximum(count, 1)
    centered = keep_rows(values - mean, rows)
    variance = jnp.sum(jnp.square(centered)) / jnp.maximum(count - 1, 1)
    return centered * jax.lax.rsqrt(variance + 1e-8)


def minillm_long(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    discount: ArrayLike = 0.95,
    clip: ArrayLike = 0.2,
    whitened: bool = True,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the long part of MiniLLM's gradient, a policy loss from the rewards of later tokens.

    Each sampled token has the reward `log p - log q`. A token is reinforced by the discounted sum
    of the rewards of the tokens after it, divided by their number. Its effect on the divergence at
    its own position is the single-step part, `reverse_kl_divergence`. As with any policy loss, only
    the gradient is meaningful, not the value.

    Args:
      student: logits `[batch, tokens, vocabulary]`.
      teacher: logits of the same shape.
      labels: integers `[batch, tokens]`, the tokens sampled from the student's softmax; negative
        where there is none. The tokens of a row are one response.
      discount: discount factor per token, in [0, 1].
      clip: largest deviation of the ratio of probabilities from 1.
      whitened: whether returns are shifted and scaled to mean 0 and variance 1 over all tokens that
        count, as published. This couples the examples of a batch.
      where: boolean `[batch, tokens]`, the tokens that count; the loss is 0 where it is False.

    Returns:
      One loss per token, `[batch, tokens]`, float32 at least.

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
    log_q, log_p, sampled = log_probs_of_sampled(student, teacher, labels, where)
    rewards = reverse_kl_advantage(log_q, log_p, where=sampled)
    returns = length_normalized_returns(rewards, discount=discount, where=sampled)
    # From the next token on; no token follows the last one.
    returns = jnp.pad(returns[:, 1:], ((0, 0), (0, 1)))
    if whitened:
        returns = whiten(returns, where=sampled)
    return policy_gradient(log_q, returns, clip=clip, where=sampled)
