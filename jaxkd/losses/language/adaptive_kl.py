"""Adaptive KL: a mixture of forward and reverse KL with weights from head and tail."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight
from jaxkd.losses._logit_pairs import paired_log_probs
from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.divergences.kl_divergence import kl_divergence
from jaxkd.losses.divergences.reverse_kl_divergence import reverse_kl_divergence


def adaptive_kl(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    tail_mass: ArrayLike = 0.5,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes adaptive KL, which weights forward and reverse KL by the gaps in head and tail.

    Early in training the forward `KL(p || q)` fits the classes that are likely under the teacher,
    the reverse `KL(q || p)` the unlikely ones. The classes are sorted by the teacher's probability;
    the least likely ones, as long as their total mass is below `tail_mass`, are the tail and the
    others the head. With `g` the sum of |p - q| over either part, the loss is

      `(g_head KL(p || q) + g_tail KL(q || p)) / (g_head + g_tail)`

    where the weights have no gradient. There is no factor `temperature**2`. At student = teacher,
    where the public code divides 0 by 0, loss and gradient are 0.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`, whose k + 1 buckets then
        take the place of the classes.
      tail_mass: upper bound of the teacher's mass in the tail, in [0, 1]; 0 gives the forward KL.
      temperature: positive scalar that divides both logits; may be traced.
      axis: class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      One loss per example, `[...]`, in nats, float32 at least.

    Raises:
      ValueError: a tail_mass outside [0, 1]; shapes, masks and temperatures as for `kl_divergence`.
      TypeError: a `SparseLogits` student.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([0.0, 0.0, 0.0]), jnp.array([3.0, 1.0, 0.0])
      >>> print(f"{losses.adaptive_kl(student, teacher):.3f}")
      0.656

    References:
      Wu et al., Rethinking Kullback-Leibler Divergence in Knowledge Distillation for Large Language
      Models, COLING 2025; followed as Zhang et al. implement it beside Dual-Space Knowledge
      Distillation, EMNLP 2024, where the bound is called alpha.
    """
    check_weight("tail_mass", tail_mass, below_one=False)
    forward, reverse = (
        divergence(
            student,
            teacher,
            temperature=temperature,
            axis=axis,
            where=where,
        )
        for divergence in (kl_divergence, reverse_kl_divergence)
    )
    pair = paired_log_probs(student, teacher, temperature, axis, where)
    q, p = jnp.exp(jax.lax.stop_gradient(pair.student)), jnp.exp(pair.teacher)
    ascending = jnp.argsort(p, axis=-1)
    p, q = (jnp.take_along_axis(probs, ascending, axis=-1) for probs in (p, q))
    in_tail = jnp.cumsum(p, axis=-1) < jnp.asarray(tail_mass, p.dtype)
    gap = jnp.abs(p - q)
    head, tail = (jnp.sum(jnp.where(part, gap, 0), axis=-1) for part in (~in_tail, in_tail))
    differs = head + tail > 0
    head_weight = jnp.where(differs, head, 0.5) / jnp.where(differs, head + tail, 1)
    return pair.finish(head_weight * forward + (1 - head_weight) * reverse)
