"""InfoNCE: contrast within the batch."""

import functools

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import linear_embeddings, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def info_nce(
    pair: Pair,
    *,
    dim: int = 128,
    temperature: float | Schedule = 0.07,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Contrasts embeddings within the batch, without a bank, for data sets of any size.

    Args:
      pair: the student and its teacher.
      dim: width of the embeddings.
      temperature: temperature of the scores.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the embeddings.

    Returns:
      An objective with the terms `label` and `info_nce`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = info_nce(pair, dim=64, temperature=0.1).terms["info_nce"]
      >>> term.student, term.temperature
      ('embedding', 0.1)

    Reference:
      van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.
    """
    connector = connectors.PairedProjection(*linear_embeddings(pair, dim, nnx.Rngs(seed)))
    loss = functools.partial(losses.info_nce, learned_teacher=True)
    term = Term(loss, weight, temperature, "embedding", "embedding", connector)
    return with_labels(label_weight, info_nce=term)


INFO_NCE = Recipe(
    "info_nce",
    info_nce,
    "van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018.",
    needs_pair=True,
)
