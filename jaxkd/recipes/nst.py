"""NST: neuron selectivity transfer."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import stage_terms


def nst(pair: Pair, *, weight: float | Schedule = 50.0, label_weight: float = 1.0) -> Objective:
    """Transfers the selectivity of neurons at every stage (NST).

    Args:
      pair: the student and its teacher.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label`, `nst1`, `nst2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = nst(pair)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'label': 'logits', 'nst1': 'stage1', 'nst2': 'stage2', 'nst3': 'stage3'}

    Reference:
      Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017.
    """
    return with_labels(label_weight, **stage_terms("nst", pair, losses.nst, weight))


NST = Recipe(
    "nst",
    nst,
    "Huang and Wang, Like What You Like: Knowledge Distill via Neuron Selectivity Transfer, 2017.",
    needs_pair=True,
)
