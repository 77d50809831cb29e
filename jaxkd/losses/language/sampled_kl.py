"""The forward divergence, estimated from a few tokens sampled from the teacher."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_temperature
from jaxkd.losses._logit_pairs import dense, keep_rows, mask_logits
from jaxkd.losses._sampled_classes import sampled_cross_entropy


def sampled_kl(
    student: ArrayLike,
    sample_ids: ArrayLike,
    sample_weights: ArrayLike,
    *,
    temperature: ArrayLike = 1.0,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Estimates the forward `KL(p || q)` from tokens sampled from the teacher, up to its entropy.

    The loss is the cross entropy `-sum_j weight_j log q(id_j)` of the sampled tokens with the
    student's softmax over the whole vocabulary. With tokens sampled independently from p and
    weights of 1 / k each (the same token twice: two entries, or one with 2 / k), its expectation
    over the samples is `KL(p || q) + H(p)`, and its gradient is an unbiased estimate of that of the
    KL. The k largest probabilities are biased instead: the mass of the tail is missing.

    Tokens sampled from another distribution r, for instance from p at a higher temperature, which
    samples rare tokens more often, need the weights `p(id) / (k r(id))`: again unbiased. Divided by
    their sum the weights vary less, with a bias that vanishes as k grows.

    The value is not 0 at student = teacher, where only the expected gradient is. Where the
    teacher's entropy is stored with the samples, `SampledClasses` is a teacher for `kl_divergence`
    and `kd`.

    Args:
      student: logits `[..., num_classes]`.
      sample_ids: integers `[..., k]`, the sampled classes, with repetitions.
      sample_weights: constant weights `[..., k]`; entries of weight 0 do not count, as padding.
      temperature: positive scalar that divides the student's logits, the temperature of p; may be
        traced. There is no factor `temperature**2`.
      where: boolean `[...]`, the examples that count; the loss is 0 where it is False.

    Returns:
      One loss per example, `[...]`, in nats, float32 at least.

    Raises:
      ValueError: ids that are not integers, shapes that differ, a mask that does not fit, a
        temperature that is not positive and finite.
      TypeError: a `SparseLogits` student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student = jnp.array([2.0, 0.0, 0.0, 0.0])
      >>> loss = losses.sampled_kl(student, jnp.array([0, 0, 3]), jnp.full(3, 1 / 3))
      >>> print(f"{loss:.3f}")
      1.007

    References:
      Anshumann et al., Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs, ACL
      2025.
    """
    student = dense("student", student, "only a teacher can be sparse")
    ids, weights = jnp.asarray(sample_ids), jnp.asarray(sample_weights)
    check_temperature(temperature)
    if not jnp.issubdtype(ids.dtype, jnp.integer):
        raise ValueError(f"sample_ids must be integers, got {ids.dtype}")
    if (
        ids.shape != weights.shape
        or ids.ndim != student.ndim
        or ids.shape[:-1] != student.shape[:-1]
    ):
        raise ValueError(
            f"student logits of shape {student.shape} need sample_ids and sample_weights of shape "
            f"{(*student.shape[:-1], 'k')}, got {ids.shape} and {weights.shape}"
        )
    rows = None
    if where is not None:
        rows = as_mask(where, student.shape[:-1], "the examples, of shape")
        rows = jnp.broadcast_to(rows, student.shape[:-1])
    student = mask_logits(student, None, rows)
    return keep_rows(sampled_cross_entropy(student, ids, weights, temperature), rows)
