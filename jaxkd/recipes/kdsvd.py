"""KDSVD: singular vectors of stages."""

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import neighboring_stages


def kdsvd(
    pair: Pair,
    *,
    k: int = 1,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches singular vectors of neighboring stages (KDSVD).

    Args:
      pair: the student and its teacher.
      k: number of singular vectors.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.

    Returns:
      An objective with the terms `label`, `kdsvd1`, `kdsvd2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = kdsvd(pair, k=2)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'label': 'logits', 'kdsvd1': ('stage1', 'stage2'), 'kdsvd2': ('stage2', 'stage3')}

    Reference:
      Lee et al., Self-supervised Knowledge Distillation Using Singular Value Decomposition, ECCV
      2018.
    """
    rngs = nnx.Rngs(seed)

    def loss(student, teacher, *, where=None):
        return losses.kdsvd(student, teacher, k=k, where=where)

    terms = {
        f"kdsvd{number + 1}": Term(loss, weight, None, *neighboring_stages(pair, rngs, number))
        for number in range(len(pair.stages()) - 1)
    }
    return with_labels(label_weight, **terms)


KDSVD = Recipe(
    "kdsvd",
    kdsvd,
    "Lee et al., Self-supervised Knowledge Distillation Using Singular Value Decomposition, ECCV "
    "2018.",
    needs_pair=True,
)
