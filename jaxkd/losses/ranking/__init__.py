"""Losses of lists of candidates that are ranked by their scores, `[..., candidates]`.

- `margin_mse`: differences between the scores of relevant and irrelevant candidates.
- `listwise_kl`: the distributions over the candidates that the scores give.
- `listnet`: the same with relevances in place of a teacher.

Which candidates are relevant, and which places of a list hold none, is said by relevances, as for
the metrics `NDCG` and `MeanReciprocalRank`: integers of the shape of the scores, above 0 for the
relevant ones and negative for no candidate. A term of an objective takes them from the labels with
`Term(losses.margin_mse, fields={"relevance": "labels"})`.
"""

from jaxkd.losses.ranking.listnet import listnet as listnet
from jaxkd.losses.ranking.listwise_kl import listwise_kl as listwise_kl
from jaxkd.losses.ranking.margin_mse import margin_mse as margin_mse

__all__ = ["listnet", "listwise_kl", "margin_mse"]
