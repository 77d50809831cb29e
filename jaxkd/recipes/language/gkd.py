"""GKD: generalized Jensen-Shannon on the sequences of the data and of the student."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._recipe import Recipe


def gkd(
    *,
    beta: float = 0.5,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 0.0,
) -> Objective:
    """Matches by generalized Jensen-Shannon the sequences of the student and of the data.

    The share of the student's sequences, lambda, is that of `strategies.on_policy(share=…)`; the
    authors take 0.5 to 1.

    Args:
      beta: the teacher's share of the mixture, from 0 (forward KL) to 1 (reverse KL).
      temperature: temperature of both logits; without a factor T².
      weight: weight of the divergence.
      label_weight: weight of the cross entropy with the tokens of the batch, the student's own
        among them: 0 unless all are the data's.

    Returns:
      An objective with the term `gkd`, and `label` if wanted.

    Raises:
      ValueError: while tracing, beta outside of [0, 1].

    Example:
      >>> list(gkd(beta=0.1).terms)
      ['gkd']

    Reference:
      Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated
      Mistakes, ICLR 2024.
    """
    loss = functools.partial(losses.js_divergence, beta=beta)
    return with_labels(label_weight, gkd=Term(loss, weight, temperature))


GKD = Recipe(
    "language.gkd",
    gkd,
    "Agarwal et al., On-Policy Distillation of Language Models: Learning from Self-Generated "
    "Mistakes, ICLR 2024.",
)
