"""PKD: Pearson correlation of feature maps."""

import functools

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1, stage_terms


def pkd(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Matches maps by their Pearson correlation at every stage (PKD).

    Args:
      pair: the student and its teacher.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.

    Returns:
      An objective with the terms `label`, `pkd1`, `pkd2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = pkd(pair)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'label': 'logits', 'pkd1': 'stage1', 'pkd2': 'stage2', 'pkd3': 'stage3'}

    Reference:
      Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation
      Coefficient, NeurIPS 2022.
    """
    connect = functools.partial(conv1x1, pair, rngs=nnx.Rngs(seed))
    return with_labels(label_weight, **stage_terms("pkd", pair, losses.pkd, weight, connect))


PKD = Recipe(
    "pkd",
    pkd,
    "Cao et al., PKD: General Distillation Framework for Object Detectors via Pearson Correlation "
    "Coefficient, NeurIPS 2022.",
    needs_pair=True,
)
