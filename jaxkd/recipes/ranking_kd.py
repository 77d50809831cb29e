"""Distillation of the scores of candidates that are ranked."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term, is_traced
from jaxkd.objective._fields import lookup_field
from jaxkd.recipes._common import check_share
from jaxkd.recipes._recipe import Recipe

_LOSSES = {"margin_mse": losses.margin_mse, "listwise_kl": losses.listwise_kl}


def ranking_kd(
    *,
    alpha: float | Schedule = 1.0,
    loss: str = "margin_mse",
    temperature: float | Schedule | None = None,
    relevance: str | None = "labels",
    output: str = "logits",
) -> Objective:
    """Distills the scores of lists of candidates: `alpha loss(teacher) + (1 - alpha) ListNet`.

    Both networks give scores `[batch, candidates]`: a cross-encoder that reads query and candidate
    together, a student that compares two embeddings. Means are over the lists that have candidates
    to be compared.

    Args:
      alpha: weight of the teacher, from 0 (relevances alone) to 1 (no ListNet); a number or an
        optax schedule.
      loss: `"margin_mse"`, differences between the scores of relevant and other candidates, or
        `"listwise_kl"`, distributions over the candidates.
      temperature: of `"listwise_kl"` alone, positive; a number or an optax schedule, by default 1.
      relevance: field of the batch with the relevances of the candidates, integers of the shape of
        the scores, above 0 for relevant ones and -1 where a list holds none. None: every place
        holds a candidate, of which the first is the relevant one; with an alpha of 1 alone.
      output: name of the output with the scores, of both networks.

    Returns:
      An objective with the terms `label` and `ranking_kd`; without `label` if alpha is 1.

    Raises:
      ValueError: alpha outside of [0, 1], another loss, a temperature for `"margin_mse"`, an alpha
        below 1 without relevances.

    Example:
      >>> list(ranking_kd().terms), list(ranking_kd(alpha=0.5, loss="listwise_kl").terms)
      (['ranking_kd'], ['label', 'ranking_kd'])

    Reference:
      Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture Knowledge
      Distillation, 2020.
    """
    check_share("alpha", alpha)
    if loss not in _LOSSES:
        raise ValueError(f"loss must be one of {sorted(_LOSSES)}, not {loss!r}")
    if loss == "margin_mse" and temperature is not None:
        raise ValueError(
            f"margin_mse has no temperature, which is {temperature}: write loss='listwise_kl', or "
            "leave it out"
        )
    fields = {} if relevance is None else {"relevance": relevance}
    has_targets = _has_pairs if loss == "margin_mse" else _has_candidates
    where = None if relevance is None else _lists(relevance, has_targets)
    distil = Term(
        _LOSSES[loss], alpha, temperature, student=output, teacher=output, where=where,
        fields=fields,
    )  # fmt: skip
    if not callable(alpha) and not is_traced(alpha) and alpha == 1:
        return Objective(ranking_kd=distil)
    if relevance is None:
        raise ValueError(
            f"alpha={alpha} learns from relevances, too: name their field of the batch, "
            'relevance="labels", or leave alpha=1'
        )
    weight = (lambda step: 1 - alpha(step)) if callable(alpha) else 1 - alpha
    ordered = _lists(relevance, _has_order)
    label = Term(losses.listnet, weight, student=output, where=ordered, fields=fields)
    return Objective(label=label, ranking_kd=distil)


def _lists(
    relevance: str, has_targets: Callable[[jax.Array], jax.Array]
) -> Callable[[Mapping[str, Any]], jax.Array]:
    """Returns a function from the batch to the lists that count.

    Args:
      relevance: field of the batch.
      has_targets: function from relevances to the lists that have something to learn from.
    """

    def where(batch: Mapping[str, Any]) -> jax.Array:
        counts = has_targets(lookup_field(batch, relevance, "ranking_kd"))
        padding = batch.get("where")
        return counts if padding is None else counts & padding

    return where


def _has_pairs(relevance: jax.Array) -> jax.Array:
    """Whether a list has a relevant candidate and another one."""
    return jnp.any(relevance > 0, axis=-1) & jnp.any(relevance == 0, axis=-1)


def _has_candidates(relevance: jax.Array) -> jax.Array:
    """Whether a list has two candidates."""
    return jnp.sum(relevance >= 0, axis=-1) > 1


def _has_order(relevance: jax.Array) -> jax.Array:
    """Whether some candidate of a list is more relevant than another one."""
    highest = jnp.max(relevance, axis=-1, keepdims=True)
    return jnp.any((relevance >= 0) & (relevance < highest), axis=-1)


RANKING_KD = Recipe(
    "ranking_kd",
    ranking_kd,
    "Hofstätter et al., Improving Efficient Neural Ranking Models with Cross-Architecture "
    "Knowledge Distillation, 2020.",
    task="ranking",
)
