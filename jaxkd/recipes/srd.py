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
