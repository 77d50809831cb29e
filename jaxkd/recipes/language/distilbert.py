"""DistilBERT: soft logits, labels of masked tokens, and hidden states."""

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.language._common import hidden_term, logits_mask


def distilbert(
    pair: Pair,
    *,
    temperature: float | Schedule = 2.0,
    kd_weight: float | Schedule = 5.0,
    cosine_weight: float | Schedule = 1.0,
    label_weight: float = 2.0,
    seed: int = 0,
) -> Objective:
    """Matches soft logits, labels of masked tokens, and the direction of the last hidden states.

    Labels are -1 but for the masked tokens; the other two terms are over all tokens that are not
    padding (see `present`).

    Args:
      pair: the student and its teacher.
      temperature: temperature of the logits.
      kd_weight: weight of the logits' divergence, with its factor T².
      cosine_weight: weight of the hidden states' cosine distance.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the projection, where the widths differ.

    Returns:
      An objective with the terms `label`, `kd` and `cosine`.

    Raises:
      ValueError: networks without `hidden`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.Encoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.Encoder(64, 32, 4, 4, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((2, 7), jnp.int32))
      >>> objective = distilbert(pair, label_weight=0.0)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'kd': 'logits', 'cosine': 'hidden'}

    Reference:
      Sanh et al., DistilBERT, a distilled version of BERT, 2019; the weights are those of its code.
    """
    cosine = hidden_term(
        losses.hidden_cosine, pair, "hidden", "hidden", cosine_weight, nnx.Rngs(seed)
    )
    kd = Term(losses.kd, kd_weight, temperature, where=logits_mask(pair))
    return with_labels(label_weight, kd=kd, cosine=cosine)


DISTILBERT = Recipe(
    "language.distilbert",
    distilbert,
    "Sanh et al., DistilBERT, a distilled version of BERT, 2019.",
    needs_pair=True,
)
