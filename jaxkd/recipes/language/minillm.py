"""MiniLLM: reverse KL of whole sequences."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.language._common import mask_of_tokens


def minillm(
    *,
    discount: float = 0.95,
    whitened: bool = True,
    single_weight: float | Schedule = 1.0,
    long_weight: float | Schedule = 1.0,
) -> Objective:
    """Minimizes reverse KL of whole sequences: each token's part exactly, later ones by reward.

    Tokens are sampled as for `on_policy_reverse_kl`. The authors also sample from a mixture with
    the teacher, and add the language modeling loss of other texts: that is a term of its own.

    Args:
      discount: factor of a reward for each token of distance, from 0 to 1.
      whitened: whether returns have mean 0 and variance 1 over the batch, as published.
      single_weight: weight of the divergence at each token's own position.
      long_weight: weight of the rewards of the tokens after it.

    Returns:
      An objective with the terms `single` and `long`.

    Raises:
      ValueError: while tracing, a discount outside of [0, 1].

    Example:
      >>> list(minillm().terms)
      ['single', 'long']

    Reference:
      Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024.
    """

    # `where` is required, so that returns are whitened over the tokens that count.
    def long(student, teacher, labels, where):
        if where is not None:
            where = mask_of_tokens(where, labels)
        return losses.minillm_long(
            student, teacher, labels, discount=discount, whitened=whitened, where=where
        )

    return Objective(
        single=Term(losses.reverse_kl_divergence, single_weight), long=Term(long, long_weight)
    )


MINILLM = Recipe(
    "language.minillm",
    minillm,
    "Gu et al., MiniLLM: Knowledge Distillation of Large Language Models, ICLR 2024.",
)
