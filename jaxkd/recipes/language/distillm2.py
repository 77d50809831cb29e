"""DistiLLM-2: skew divergences on the teacher's and on the student's sequences."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes.language._common import mask_of_tokens


def distillm2(
    *,
    skew: float = 0.1,
    forward_weight: float | Schedule = 0.5,
    reverse_weight: float | Schedule = 0.5,
    temperature: float | Schedule = 1.0,
) -> Objective:
    """Matches the teacher's sequences by skew forward KL, the student's by skew reverse KL.

    Each is the mean over its own tokens. The data are the teacher's outputs
    (`strategies.generate_targets`); `strategies.on_policy(…, beside=True)` puts the
    student's for the same prompts beside them.

    Args:
      skew: the share of the other network in the mixtures.
      forward_weight: weight of the forward divergence on the teacher's sequences.
      reverse_weight: weight of the reverse divergence on the student's sequences.
      temperature: temperature of both logits; without a factor T².

    Returns:
      An objective with the terms `forward` and `reverse`.

    Raises:
      ValueError: while tracing, a batch without the field `by_student`, a skew outside of [0, 1).

    Example:
      >>> list(distillm2().terms)
      ['forward', 'reverse']

    Reference:
      Ko et al., DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs, ICML 2025. The
      authors' skew that adapts to each pair is not implemented.
    """

    def term(loss: Callable[..., jax.Array], weight: float | Schedule, by_student: bool) -> Term:
        return Term(
            _over_rows(functools.partial(loss, skew=skew)),
            weight,
            temperature,
            connector=connectors.OnPolicyMask(student=by_student),
        )

    return Objective(
        forward=term(losses.skew_kl_divergence, forward_weight, by_student=False),
        reverse=term(losses.skew_reverse_kl_divergence, reverse_weight, by_student=True),
    )


def _over_rows(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Returns a loss that is the sum and the count over the tokens of some rows."""

    @losses.returns_sum_and_count
    def over_rows(student, teacher, rows, *, temperature=1.0, where=None):
        tokens = student[..., 0]
        mask = mask_of_tokens(rows, tokens)
        if where is not None:
            mask &= mask_of_tokens(where, tokens)
        values = loss(student, teacher, temperature=temperature, where=mask)
        return losses.masked_sum_and_count(values, mask)

    return over_rows


DISTILLM2 = Recipe(
    "language.distillm2",
    distillm2,
    "Ko et al., DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs, ICML 2025.",
    batch_fields=("by_student",),
)
