"""MGD: masked generative distillation."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def mgd(
    pair: Pair, *, weight: float | Schedule = 7e-5, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Generates the teacher's last map from a masked one of the student (MGD).

    Args:
      pair: the student and its teacher.
      weight: weight of the term, a sum over the map.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the generator.

    Returns:
      An objective with the terms `label` and `mgd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = mgd(pair, weight=2e-5).terms["mgd"]
      >>> term.student, term.teacher, term.weight
      ('stage3', 'stage3', 2e-05)

    Reference:
      Yang et al., Masked Generative Distillation, ECCV 2022.
    """
    student, teacher = pair.stages()[-1]
    widths = pair.width("student", student), pair.width("teacher", teacher)
    connector = connectors.MGD(*widths, rngs=nnx.Rngs(seed))
    term = Term(losses.mgd, weight, None, student, teacher, connector)
    return with_labels(label_weight, mgd=term)


MGD = Recipe(
    "mgd",
    mgd,
    "Yang et al., Masked Generative Distillation, ECCV 2022.",
    needs_pair=True,
)
