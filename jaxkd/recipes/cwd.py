"""CWD: channel-wise distillation."""

import functools

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1, stage_terms


def cwd(
    pair: Pair,
    *,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 3.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches the spatial distribution of every channel at every stage (CWD).

    Args:
      pair: the student and its teacher.
      temperature: temperature of the softmax over places.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.

    Returns:
      An objective with the terms `label`, `cwd1`, `cwd2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = cwd(pair, temperature=1.0)
      >>> list(objective.terms), objective.terms["cwd1"].teacher
      (['label', 'cwd1', 'cwd2', 'cwd3'], 'stage1')

    Reference:
      Shu et al., Channel-Wise Knowledge Distillation for Dense Prediction, ICCV 2021.
    """
    connect = functools.partial(conv1x1, pair, rngs=nnx.Rngs(seed))
    return with_labels(
        label_weight,
        **stage_terms("cwd", pair, losses.cwd, weight, connect, temperature=temperature),
    )


CWD = Recipe(
    "cwd",
    cwd,
    "Shu et al., Channel-Wise Knowledge Distillation for Dense Prediction, ICCV 2021.",
    needs_pair=True,
)
