"""ICKD: inter-channel correlation."""

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1


def ickd(
    pair: Pair, *, weight: float | Schedule = 2.5, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Matches correlations between the channels of the last map (ICKD).

    Args:
      pair: the student and its teacher.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connector.

    Returns:
      An objective with the terms `label` and `ickd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = ickd(pair).terms["ickd"]
      >>> term.student, term.teacher, term.weight
      ('stage3', 'stage3', 2.5)

    Reference:
      Liu et al., Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge
      Distillation, ICCV 2021.
    """
    student, teacher = pair.stages()[-1]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    return with_labels(
        label_weight, ickd=Term(losses.ickd, weight, None, student, teacher, connector)
    )


ICKD = Recipe(
    "ickd",
    ickd,
    "Liu et al., Exploring Inter-Channel Correlation for Diversity-Preserved Knowledge "
    "Distillation, ICCV 2021.",
    needs_pair=True,
)
