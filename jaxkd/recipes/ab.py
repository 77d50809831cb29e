"""AB: activation boundaries."""

import functools

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import afterwards, at_first
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1


def ab(
    pair: Pair,
    *,
    margin: float = 1.0,
    weight: float = 3e-3,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Matches activation boundaries before the ReLU of every stage (AB).

    The first eighth of the steps is without labels, which a short training lacks in the end. On ten
    classes of clothes students of 4 epochs reached 83.9 % of validation images with the weight
    3e-3, whose gradient is 10 times that of the labels at first, and 85.1 % with 3e-5; with that
    and 15 epochs they are level with labels alone (`benchmarks/methods_tuned.py`).

    Args:
      pair: the student and its teacher, with outputs `preact1`, ….
      margin: margin of the hinge.
      weight: weight of the last stage; the ones before have half of the next one's.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connectors.
      steps: number of steps of the whole training; in the authors' code the boundaries alone are
        learned for the first 30 of 240 epochs, the labels alone afterwards.

    Returns:
      An objective with the terms `label`, `ab1`, `ab2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = ab(pair, steps=240)
      >>> list(objective.terms), objective.terms["ab3"].student
      (['label', 'ab1', 'ab2', 'ab3'], 'preact3')
      >>> [float(objective.terms["ab3"].weight(step)) > 0 for step in (0, 29, 30)]
      [True, True, False]

    Reference:
      Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden
      Neurons, AAAI 2019.
    """
    rngs = nnx.Rngs(seed)
    loss = functools.partial(losses.ab, margin=margin)
    stages = pair.stages("preact")
    terms = {
        f"ab{number}": Term(
            loss,
            at_first(weight * 2.0 ** (number - len(stages)), steps, 30 / 240),
            None,
            student,
            teacher,
            conv1x1(pair, student, teacher, rngs),
        )
        for number, (student, teacher) in enumerate(stages, 1)
    }
    label = Term(losses.cross_entropy, weight=afterwards(label_weight, steps, 30 / 240))
    return Objective(label=label, **terms)


AB = Recipe(
    "ab",
    ab,
    "Heo et al., Knowledge Transfer via Distillation of Activation Boundaries Formed by Hidden "
    "Neurons, AAAI 2019.",
    needs_pair=True,
)
