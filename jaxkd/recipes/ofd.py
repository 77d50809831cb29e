"""OFD: the overhaul of feature distillation."""

from typing import Any

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def ofd(
    pair: Pair,
    *,
    margins: dict[str, Any] | None = None,
    weight: float = 1e-3,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Regresses the positive part of maps before their ReLU (OFD).

    Args:
      pair: the student and its teacher, with outputs `preact1`, ….
      margins: for each of the teacher's outputs the margin of its channels, `losses.ofd_margin` of
        the batch normalization before it; None for 0, which leaves out all negative responses.
      weight: weight of the last stage; the ones before have half of the next one's.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.

    Returns:
      An objective with the terms `label`, `ofd1`, `ofd2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = ofd(pair)
      >>> [(term.student, term.weight) for term in objective.terms.values()]
      [('logits', 1.0), ('preact1', 0.00025), ('preact2', 0.0005), ('preact3', 0.001)]

    Reference:
      Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019.
    """
    rngs = nnx.Rngs(seed)
    stages = pair.stages("preact")
    terms = {}
    for number, (student, teacher) in enumerate(stages, 1):
        widths = pair.width("student", student), pair.width("teacher", teacher)
        margin = (margins or {}).get(teacher, 0.0)
        terms[f"ofd{number}"] = Term(
            losses.ofd,
            weight * 2.0 ** (number - len(stages)),
            None,
            student,
            teacher,
            connectors.OFD(*widths, margin=margin, rngs=rngs),
        )
    return with_labels(label_weight, **terms)


OFD = Recipe(
    "ofd",
    ofd,
    "Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019.",
    needs_pair=True,
)
