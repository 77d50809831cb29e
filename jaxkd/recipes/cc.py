"""CC: correlation congruence."""

import functools

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import linear_embeddings, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def cc(
    pair: Pair,
    *,
    dim: int = 128,
    weight: float | Schedule = 0.02,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches correlations between embeddings (CC).

    Args:
      pair: the student and its teacher.
      dim: width of the space in which both embeddings are compared.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the embeddings.

    Returns:
      An objective with the terms `label` and `cc`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = cc(pair, dim=64)
      >>> sorted(objective.student_outputs), sorted(objective.teacher_outputs)
      (['embedding', 'logits'], ['embedding'])

    Reference:
      Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019.
    """
    connector = connectors.PairedProjection(*linear_embeddings(pair, dim, nnx.Rngs(seed)))
    loss = functools.partial(losses.cc, learned_teacher=True)
    term = Term(loss, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, cc=term)


CC = Recipe(
    "cc",
    cc,
    "Peng et al., Correlation Congruence for Knowledge Distillation, ICCV 2019.",
    needs_pair=True,
)
