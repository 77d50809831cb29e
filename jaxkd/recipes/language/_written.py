"""Recipes for tokens that the student has written, with `jaxkd.strategies.on_policy`."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd import connectors, losses
from jaxkd.losses._arguments import to_rank
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels


def gkd(
    *,
    beta: float = 0.5,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 0.0,
) -> Objective:
    """Generalized distillation: Jensen-Shannon on the student's and the data's sequences, mixed.

    The share of the student's sequences, lambda, is that of `strategies.on_policy(share=…)`; the
    authors take 0.5 to 1.

    Args:
      beta: the teacher's share of the mixture, from 0 (forward KL) to 1 (reverse KL).
      temperature: of both logits; without a factor T².
      weight: of the divergence.
      label_weight: of the cross entropy with the tokens at hand, the student's own among them: 0
        unless all are the data's.

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


def on_policy_reverse_kl(*, weight: float | Schedule = 1.0) -> Objective:
    """Reverse KL from the one token that was drawn, by a policy's gradient.

    The student must have drawn it from its own softmax: `strategies.on_policy` of a generator at
    temperature 1, with a share of 1.

    Args:
      weight: of the term.

    Returns:
      An objective with the term `reverse_kl`.

    Example:
      >>> list(on_policy_reverse_kl().terms)
      ['reverse_kl']

    Reference:
      Lu and Thinking Machines Lab, On-Policy Distillation, 2025.
    """
    return Objective(reverse_kl=Term(losses.sampled_reverse_kl, weight))


def minillm(
    *,
    discount: float = 0.95,
    whitened: bool = True,
    single_weight: float | Schedule = 1.0,
    long_weight: float | Schedule = 1.0,
) -> Objective:
    """Reverse KL of whole answers: each token's own part exactly, the later ones by reward.

    Tokens drawn as for `on_policy_reverse_kl`. The authors also draw from a mixture with the
    teacher, and add the language modeling loss of other texts: that is a term of its own.

    Args:
      discount: what a reward loses a token.
      whitened: whether returns have mean 0 and variance 1 over the batch, as published.
      single_weight: of the part of each token's own place.
      long_weight: of the part of the tokens behind it.

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

    # It asks for the mask, so that returns are whitened over what counts.
    def long(student, teacher, labels, where):
        if where is not None:
            where = _of_tokens(where, labels)
        return losses.minillm_long(
            student, teacher, labels, discount=discount, whitened=whitened, where=where
        )

    return Objective(
        single=Term(losses.reverse_kl_divergence, single_weight), long=Term(long, long_weight)
    )


def distillm2(
    *,
    skew: float = 0.1,
    forward_weight: float | Schedule = 0.5,
    reverse_weight: float | Schedule = 0.5,
    temperature: float | Schedule = 1.0,
) -> Objective:
    """Skew forward KL on what the teacher wrote, skew reverse KL on what the student wrote.

    Each is the mean over its own tokens. The data are the teacher's outputs
    (`strategies.generate_targets`); `strategies.on_policy(…, beside=True)` puts the
    student's to the same prompts beside them.

    Args:
      skew: the share of the other network in the mixtures.
      forward_weight: on the teacher's sequences.
      reverse_weight: on the student's.
      temperature: of both logits; without a factor T².

    Returns:
      An objective with the terms `forward` and `reverse`.

    Raises:
      ValueError: while tracing, a batch without the field `by_student`, a skew outside of [0, 1).

    Example:
      >>> list(distillm2().terms)
      ['forward', 'reverse']

    Reference:
      Ko et al., DistiLLM-2: A Contrastive Approach Boosts the Distillation of LLMs, ICML 2025. The
      authors' skew that adapts to each pair is not here.
    """

    def term(loss: Callable[..., jax.Array], weight: float | Schedule, by_student: bool) -> Term:
        return Term(
            _of_rows(functools.partial(loss, skew=skew)),
            weight,
            temperature,
            connector=connectors.OnPolicyMask(student=by_student),
        )

    return Objective(
        forward=term(losses.skew_kl_divergence, forward_weight, by_student=False),
        reverse=term(losses.skew_reverse_kl_divergence, reverse_weight, by_student=True),
    )


def _of_rows(loss: Callable[..., jax.Array]) -> Callable[..., Any]:
    """Sum and count of a loss over the tokens of some rows."""

    def over_rows(student, teacher, rows, *, temperature=1.0, where=None):
        tokens = student[..., 0]
        mask = _of_tokens(rows, tokens)
        if where is not None:
            mask &= _of_tokens(where, tokens)
        values = loss(student, teacher, temperature=temperature, where=mask)
        return losses.masked_sum_and_count(values, mask)

    return over_rows


def _of_tokens(mask: jax.Array, tokens: jax.Array) -> jax.Array:
    """A mask of rows or tokens as one of tokens."""
    return jnp.broadcast_to(to_rank(mask, tokens.ndim), tokens.shape)
