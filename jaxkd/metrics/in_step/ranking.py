"""Metrics of candidates that are ranked by their scores."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.losses._arguments import to_rank
from jaxkd.metrics.in_step._metric import Batch, Mean, OfLabels, Outputs, mean_of


class _OfCandidates(OfLabels):
    """A metric of lists of candidates."""

    def ranked(self, outputs: Outputs, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Returns the relevances, best score first (0 for no candidate), and the best order.

        A score that is NaN ranks nothing: its candidate is never found.
        """
        scores, labels, where = self.read(outputs, batch)
        if scores.shape != labels.shape or scores.ndim < 2:
            raise self.refuse(
                scores, labels, "it needs a score and a relevance for each candidate, [batch, n]"
            )
        counts = labels >= 0 if where is None else to_rank(where, labels.ndim) & (labels >= 0)
        scores = jnp.where(counts, scores, -jnp.inf)
        relevance = jnp.where(counts, labels, 0).astype(scores.dtype)
        # Of equal scores those that are no candidates come last.
        order = jnp.lexsort((~counts, -scores))
        found = jnp.where(jnp.isnan(scores), 0, relevance)
        return jnp.take_along_axis(found, order, -1), -jnp.sort(-relevance, axis=-1)


@dataclasses.dataclass(frozen=True)
class NDCG(Mean, _OfCandidates):
    """Normalized discounted cumulative gain of the first k candidates, mean over the queries.

    The gain of a candidate is `2**relevance - 1`, its discount `1 / log2(1 + rank)`. Queries
    without a relevant candidate do not count.

    Attributes:
      output: name of the network's output, scores `[batch, n]`.
      labels: field of the batch with relevances `[batch, n]`; negative ones are no candidates.
      k: number of first candidates; None for all.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = NDCG()
      >>> scores, relevance = jnp.array([[1.0, 2.0, 9.0]]), jnp.array([[1, 0, -1]])
      >>> print(f"{metric.compute(metric({'logits': scores}, {'labels': relevance})):.4f}")
      0.6309

    Reference:
      Järvelin and Kekäläinen, Cumulated Gain-based Evaluation of IR Techniques, 2002.
    """

    is_fraction = True

    k: int | None = None

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum over the queries, and their number."""
        ranked, best = self.ranked(outputs, batch)
        discounts = 1 / jnp.log2(2 + jnp.arange(ranked.shape[-1], dtype=ranked.dtype))
        if self.k is not None:
            discounts = jnp.where(jnp.arange(ranked.shape[-1]) < self.k, discounts, 0)
        gain, ideal = (jnp.sum((2**part - 1) * discounts, axis=-1) for part in (ranked, best))
        counts = ideal > 0
        return mean_of(gain / jnp.where(counts, ideal, 1), counts)


@dataclasses.dataclass(frozen=True)
class MeanReciprocalRank(Mean, _OfCandidates):
    """Mean over the queries of `1 / rank` of the first relevant candidate.

    Queries without a relevant candidate do not count.

    Attributes:
      output: name of the network's output, scores `[batch, n]`.
      labels: field of the batch with relevances `[batch, n]`, relevant above 0; negative ones are
        no candidates.

    Example:
      >>> import jax.numpy as jnp
      >>> metric = MeanReciprocalRank()
      >>> scores, relevance = jnp.array([[3.0, 2.0, 9.0]]), jnp.array([[0, 1, -1]])
      >>> metric.compute(metric({"logits": scores}, {"labels": relevance}))
      0.5
    """

    is_fraction = True

    def __call__(self, outputs: Outputs, batch: Batch) -> Any:
        """Returns the sum over the queries, and their number."""
        ranked, best = self.ranked(outputs, batch)
        relevant = ranked > 0
        ranks = 1.0 + jnp.argmax(relevant, axis=-1)
        reciprocal = jnp.where(jnp.any(relevant, axis=-1), 1 / ranks, 0)
        return mean_of(reciprocal, jnp.any(best > 0, axis=-1))
