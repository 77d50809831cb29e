"""FSP: the flow between stages."""

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import afterwards, at_first
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import neighboring_stages


def fsp(
    pair: Pair,
    *,
    weight: float = 50.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Matches the flow between neighboring stages (FSP).

    Args:
      pair: the student and its teacher.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.
      steps: number of steps of the whole training; in the first eighth the flow alone is learned,
        afterwards the labels alone.

    Returns:
      An objective with the terms `label`, `fsp1`, `fsp2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = fsp(pair, steps=240)
      >>> [float(objective.terms["fsp1"].weight(step)) for step in (0, 29, 30)]
      [50.0, 50.0, 0.0]
      >>> [float(objective.terms["label"].weight(step)) for step in (0, 29, 30)]
      [0.0, 0.0, 1.0]

    Reference:
      Yim et al., A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and
      Transfer Learning, CVPR 2017.
    """
    rngs = nnx.Rngs(seed)
    terms = {}
    for number in range(len(pair.stages()) - 1):
        scheduled = at_first(weight, steps, 1 / 8)
        terms[f"fsp{number + 1}"] = Term(
            losses.fsp, scheduled, None, *neighboring_stages(pair, rngs, number)
        )
    label = Term(losses.cross_entropy, weight=afterwards(label_weight, steps, 1 / 8))
    return Objective(label=label, **terms)


FSP = Recipe(
    "fsp",
    fsp,
    "Yim et al., A Gift from Knowledge Distillation: Fast Optimization, Network Minimization and "
    "Transfer Learning, CVPR 2017.",
    needs_pair=True,
)
