"""FitNet: hints from a middle layer."""

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1


def fitnet(
    pair: Pair, *, weight: float | Schedule = 100.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Regresses the teacher's middle map, the hint (FitNet).

    Where the maps differ in size, the larger one is pooled.

    Args:
      pair: the student and its teacher.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the regressor.

    Returns:
      An objective with the terms `label` and `fitnet`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = fitnet(pair).terms["fitnet"]
      >>> term.student, pair.shape("student", term.student)
      ('stage2', (8, 7, 7, 16))
      >>> term.teacher, pair.shape("teacher", term.teacher)
      ('stage2', (8, 14, 14, 32))

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.
    """
    stages = pair.stages()
    student, teacher = stages[len(stages) // 2]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    term = Term(losses.feature_mse, weight, None, student, teacher, connector)
    return with_labels(label_weight, fitnet=term)


FITNET = Recipe(
    "fitnet",
    fitnet,
    "Romero et al., FitNets: Hints for Thin Deep Nets, ICLR 2015.",
    needs_pair=True,
)
