"""VkD: an orthogonal projector."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import embedding_widths, with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def vkd(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Matches the normalized embedding of the teacher through an orthogonal projector (VkD).

    Args:
      pair: the student and its teacher.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the projector.

    Returns:
      An objective with the terms `label` and `vkd`.

    Reference:
      Miles, Elezi, Deng, VkD: Improving Knowledge Distillation using Orthogonal Projections, CVPR
      2024.
    """
    connector = connectors.OrthogonalProjection(*embedding_widths(pair), rngs=nnx.Rngs(seed))
    term = Term(losses.vkd, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, vkd=term)


VKD = Recipe(
    "vkd",
    vkd,
    "Miles, Elezi, Deng, VkD: Improving Knowledge Distillation using Orthogonal Projections, CVPR "
    "2024.",
    needs_pair=True,
)
