"""ITRD: information-theoretic representation distillation."""

import functools

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Term
from jaxkd.recipes._common import embedding_widths, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def itrd(
    pair: Pair,
    *,
    alpha: float = 1.5,
    correlation_weight: float = 2.0,
    mutual_weight: float = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches correlation and mutual information of embeddings (ITRD).

    Args:
      pair: the student and its teacher.
      alpha: order of the correlation term; 1.01 for wide networks.
      correlation_weight: weight of the correlations.
      mutual_weight: weight of the mutual information.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the embedding.

    Returns:
      An objective with the terms `label` and `itrd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = itrd(pair, alpha=1.01)
      >>> list(objective.terms), objective.terms["itrd"].student
      (['label', 'itrd'], 'embedding')

    Reference:
      Miles et al., Information Theoretic Representation Distillation, BMVC 2022.
    """
    connector = connectors.Linear(*embedding_widths(pair), rngs=nnx.Rngs(seed))
    loss = functools.partial(
        losses.itrd,
        alpha=alpha,
        correlation_weight=correlation_weight,
        mutual_weight=mutual_weight,
    )
    term = Term(loss, 1.0, None, "embedding", "embedding", connector)
    return with_labels(label_weight, itrd=term)


ITRD = Recipe(
    "itrd",
    itrd,
    "Miles et al., Information Theoretic Representation Distillation, BMVC 2022.",
    needs_pair=True,
)
