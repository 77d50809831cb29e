"""The reverse divergence, estimated from the one token that the student has sampled."""

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
    log_q, log_p, drawn = log_probs_of_sampled(student, teacher, labels, where)
    return policy_gradient(log_q, reverse_kl_advantage(log_q, log_p, where=drawn), where=drawn)
