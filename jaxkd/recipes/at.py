"""AT: attention transfer."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import stage_terms


def at(
    pair: Pair, *, p: int = 2, weight: float | Schedule = 1000.0, label_weight: float = 1.0
) -> Objective:
    """Transfers attention maps at every stage (AT).

    The authors' weight is for 100 classes and trainings of 240 epochs. On ten classes of clothes
    students of 4 epochs reached 82.1 % of validation images with it, 85.2 % with 100 and 86.2 %
    with 10 (`benchmarks/methods_tuned.py`): choose it on validation examples.

    Args:
      pair: the student and its teacher.
      p: power of the activations.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label`, `at1`, `at2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = at(pair, weight=500.0)
      >>> {name: term.weight for name, term in objective.terms.items()}
      {'label': 1.0, 'at1': 500.0, 'at2': 500.0, 'at3': 500.0}

    Reference:
      Zagoruyko and Komodakis, Paying More Attention to Attention: Improving the Performance of
      Convolutional Neural Networks via Attention Transfer, ICLR 2017.
    """
    terms = stage_terms("at", pair, functools.partial(losses.at, p=p), weight)
    return with_labels(label_weight, **terms)


AT = Recipe(
    "at",
    at,
    "Zagoruyko and Komodakis, Paying More Attention to Attention: Improving the Performance of "
    "Convolutional Neural Networks via Attention Transfer, ICLR 2017.",
    needs_pair=True,
)
