"""Pieces of on-policy distillation: what sampled tokens earn, and the loss that reinforces them.

All arrays are `[batch, tokens]` of sampled tokens; the log-probability of a sampled token under
logits is `-cross_entropy(logits, token_ids)`. The single-step part of MiniLLM's gradient, taken
over the whole vocabulary, is `reverse_kl_divergence` on the tokens.
"""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_weight
from jaxkd.losses._logit_pairs import keep_rows
from jaxkd.losses._numerics import compute_dtype


def reverse_kl_advantage(
    student_log_probs: ArrayLike,
    teacher_log_probs: ArrayLike,
    *,
    coefficient: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """The advantage `-coefficient * (log q - log p)` of each token that the student has drawn.

    In `policy_gradient` with tokens drawn from the present student it gives, in expectation, the
    gradient of `coefficient * KL(q || p)`. A constant: it carries no gradient.

    Args:
      student_log_probs: `[batch, tokens]`, log q of the drawn tokens.
      teacher_log_probs: `[batch, tokens]`, log p of the same tokens; where the teacher rules a
        token out with -inf the advantage is -inf, so keep such tokens from being drawn.
      coefficient: the weight of the divergence, a scalar.
      where: boolean `[batch, tokens]`; 0 where False.

    Returns:
      `[batch, tokens]`, float32 at least.

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
    (log_q, log_p), rows = _per_token(
        where, student_log_probs=student_log_probs, teacher_log_probs=teacher_log_probs
    )
    advantage = -jnp.asarray(coefficient, log_q.dtype) * (log_q - log_p)
    return jax.lax.stop_gradient(keep_rows(advantage, rows))


def length_normalized_returns(
    rewards: ArrayLike, *, discount: ArrayLike = 0.95, where: ArrayLike | None = None
) -> jax.Array:
    """The discounted sum of the rewards from each token on, over the number of tokens it spans.

    Without the division long responses would earn more only for being long.

    Args:
      rewards: `[batch, tokens]`.
      discount: what a reward loses a token, in [0, 1], MiniLLM's gamma.
      where: boolean `[batch, tokens]`, the tokens of the responses; a reward elsewhere is not
        counted. None for all.

    Returns:
      `[batch, tokens]`, float32 at least.

    Raises:
      ValueError: rewards that are not of rank 2, a mask that does not fit, a discount outside
        [0, 1].

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
    (rewards,), rows = _per_token(where, rewards=rewards)
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

    The unbiased variance, plus 1e-8. MiniLLM's public code takes the statistics over padding as
    well, so that they depend on how far a batch is padded; without a mask so does this.

    Args:
      values: `[batch, tokens]`.
      where: boolean `[batch, tokens]`; 0 where False. None for all.

    Returns:
      `[batch, tokens]`, float32 at least. Couples the examples of the batch.

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
    (values,), rows = _per_token(where, values=values)
    present = jnp.ones_like(values) if rows is None else rows.astype(values.dtype)
    count = jnp.sum(present)
    mean = jnp.sum(values) / jnp.maximum(count, 1)
    centered = keep_rows(values - mean, rows)
    variance = jnp.sum(jnp.square(centered)) / jnp.maximum(count - 1, 1)
    return centered * jax.lax.rsqrt(variance + 1e-8)


def policy_gradient(
    log_probs: ArrayLike,
    advantages: ArrayLike,
    *,
    old_log_probs: ArrayLike | None = None,
    importance: ArrayLike | None = None,
    clip: ArrayLike = 0.2,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Clipped policy-gradient loss of drawn tokens (PPO's), `-min(r A, clip(r) A)`.

    `r` is the probability of the token under the present student over that under the one that drew
    it, times `importance`. With a positive advantage it counts up to `1 + clip`, with a negative
    one from `1 - clip` on; beyond there is no gradient. The loss of a token with a negative
    advantage grows with r without bound.

    Args:
      log_probs: `[batch, tokens]`, log-probabilities of the tokens under the present student.
      advantages: `[batch, tokens]`, constants.
      old_log_probs: `[batch, tokens]`, constants, under the student that drew them; None for the
        present one.
      importance: `[batch, tokens]`, constants, not negative: further importance weights, as
        MiniLLM's for tokens drawn from a mixture with the teacher. None for 1.
      clip: how far r may move from 1, in [0, 1].
      where: boolean `[batch, tokens]`; the loss is 0 where False.

    Returns:
      `[batch, tokens]`, float32 at least.

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
    (log_probs, advantages, old, weights), rows = _per_token(
        where, log_probs=log_probs, advantages=advantages, old_log_probs=old, importance=weights
    )
    advantages, old, weights = jax.lax.stop_gradient((advantages, old, weights))
    log_ratio = log_probs - old + jnp.log(weights)
    clip = jnp.asarray(clip, log_ratio.dtype)
    # Clipped before exp, so that a ratio which is clipped anyway cannot overflow.
    ratio = jnp.exp(
        jnp.where(
            advantages >= 0,
            jnp.minimum(log_ratio, jnp.log1p(clip)),
            jnp.maximum(log_ratio, jnp.log1p(-clip)),
        )
    )
    return keep_rows(-advantages * ratio, rows)


def _per_token(
    where: ArrayLike | None, **named: ArrayLike
) -> tuple[tuple[jax.Array, ...], jax.Array | None]:
    """The arrays `[batch, tokens]` in one dtype, 0 where they take no part, and the mask."""
    arrays = {name: jnp.asarray(value) for name, value in named.items()}
    shapes = {name: array.shape for name, array in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise ValueError(
            f"{' and '.join(shapes)} must be [batch, tokens] of one shape, got {shapes}"
        )
    dtype = compute_dtype(*arrays.values())
    shape = next(iter(shapes.values()))
    values = tuple(array.astype(dtype) for array in arrays.values())
    if where is None:
        return values, None
    rows = jnp.broadcast_to(as_mask(where, shape, "the tokens, of shape"), shape)
    return tuple(jnp.where(rows, value, 0) for value in values), rows
