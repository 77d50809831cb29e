"""SP: similarity-preserving distillation."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def sp(pair: Pair, *, weight: float | Schedule = 3000.0, label_weight: float = 1.0) -> Objective:
    """Preserves similarities between the examples' last maps (SP).

    Args:
      pair: the student and its teacher.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `sp`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = sp(pair).terms["sp"]
      >>> term.student, term.teacher, term.weight
      ('stage3', 'stage3', 3000.0)

    Reference:
      Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.
    """
    student, teacher = pair.stages()[-1]
    return with_labels(label_weight, sp=Term(losses.sp, weight, None, student, teacher))


SP = Recipe(
    "sp",
    sp,
    "Tung and Mori, Similarity-Preserving Knowledge Distillation, ICCV 2019.",
    needs_pair=True,
)
