"""SDD: scale decoupled distillation."""

import functools
from collections.abc import Callable

import jax

from jaxkd import losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import warmed_up, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def sdd(
    pair: Pair,
    *,
    loss: Callable[..., jax.Array] = losses.dkd,
    weight: float = 1.0,
    label_weight: float = 1.0,
    steps: int | None = None,
) -> Objective:
    """Distills logits of image regions (SDD).

    Args:
      pair: the student and its teacher, as `pair.with_class_maps()` returns them.
      loss: loss of each region: `losses.kd`, `losses.dkd` or `losses.nkd`, with their options fixed
        by `functools.partial`.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      steps: number of steps of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `sdd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = sdd(pair.with_class_maps(), loss=losses.kd)
      >>> list(objective.terms), sorted(objective.teacher_outputs)
      (['label', 'sdd'], ['regions'])

    Reference:
      Luo, Scale Decoupled Distillation, CVPR 2024.
    """
    for side in ("student", "teacher"):
        pair.shape(side, "regions")
    term = Term(
        functools.partial(losses.sdd, loss=loss),
        warmed_up(weight, steps, 20 / 240),
        None,
        "regions",
        "regions",
    )
    return with_labels(label_weight, sdd=term)


SDD = Recipe(
    "sdd",
    sdd,
    "Luo, Scale Decoupled Distillation, CVPR 2024.",
    needs_pair=True,
    prepare=Pair.with_class_maps,
)
