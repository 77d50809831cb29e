"""The generalized Jensen-Shannon divergence, to a mixture of teacher and student."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_weight, concrete_value
from jaxkd.losses._logit_pairs import paired_log_probs
from jaxkd.losses._numerics import kl_to_mixture
from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.divergences.kl_divergence import kl_divergence
from jaxkd.losses.divergences.reverse_kl_divergence import reverse_kl_divergence


def js_divergence(
    student: ArrayLike,
    teacher: ArrayLike | SparseLogits,
    *,
    beta: ArrayLike = 0.5,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the generalized Jensen-Shannon divergence to m = beta p + (1 - beta) q.

    That is `beta KL(p || m) + (1 - beta) KL(q || m)`, p being the teacher's softmax and q the
    student's, both at the temperature, without the factor `temperature**2`. The formula tends to 0
    at both ends of beta; divided by beta it tends to the forward KL(p || q) as beta goes to 0, and
    divided by 1 - beta to the reverse KL(q || p) as beta goes to 1. Exactly 0 and 1 give these two
    divergences, so the result jumps there.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`, or `SparseLogits` `[..., k]`.
      beta: the teacher's share of the mixture, in [0, 1]; a traced one must lie strictly inside.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis of dense logits.
      where: boolean mask of classes (rank of the logits) or of examples (one rank less).

    Returns:
      `[...]`, one divergence an example in nats, float32 at least; at most log 2 at beta 0.5.

    Raises:
      ValueError: a beta outside [0, 1], and as `kl_divergence`.
      TypeError: as `kl_divergence`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> student, teacher = jnp.array([1.0, 0.0]), jnp.array([3.0, 0.0])
      >>> print(f"{losses.js_divergence(student, teacher):.3f}")
      0.050

    References:
      Agarwal et al., On-Policy Distillation of Language Models, 2024; Lin, Divergence Measures
      Based on the Shannon Entropy, 1991.
    """
    check_weight("beta", beta, below_one=False)
    if (end := concrete_value(beta)) in (0, 1):
        return (kl_divergence if end == 0 else reverse_kl_divergence)(
            student,
            teacher,
            temperature=temperature,
            axis=axis,
            where=where,
        )
    pair = paired_log_probs(student, teacher, temperature, axis, where)
    beta = jnp.asarray(beta, pair.student.dtype)
    of_teacher = kl_to_mixture(pair.teacher, pair.student, beta)
    of_student = kl_to_mixture(pair.student, pair.teacher, 1 - beta)
    return pair.finish(beta * of_teacher + (1 - beta) * of_student)
