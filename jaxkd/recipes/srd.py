"""SRD: a linear projector under batch normalization."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import embedding_widths, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def srd(
    pair: Pair,
    *,
    weight: float | Schedule = 2.0,
    temperature: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches embeddings through a linear projector and batch normalization, with KL (SRD).

    Args:
      pair: the student and its teacher.
      weight: weight of the logarithm of the feature's distance.
      temperature: temperature of the KL divergence, whose weight is 1.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the projector.

    Returns:
      An objective with the terms `label`, `srd` and `kl`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = srd(pair, temperature=4.0)
      >>> list(objective.terms), objective.terms["srd"].student, objective.terms["kl"].temperature
      (['label', 'srd', 'kl'], 'embedding', 4.0)

    Reference:
      Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge Distillation,
      AAAI 2024.
    """
    connector = connectors.Linear(*embedding_widths(pair), rngs=nnx.Rngs(seed))
    return with_labels(
        label_weight,
        srd=Term(losses.srd, weight, None, "embedding", "embedding", connector),
        kl=Term(losses.kl_divergence, temperature=temperature),
    )


SRD = Recipe(
    "srd",
    srd,
    "Miles and Mikolajczyk, Understanding the Role of the Projector in Knowledge Distillation, "
    "AAAI 2024.",
    needs_pair=True,
)
