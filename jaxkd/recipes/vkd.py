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

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = vkd(pair).terms["vkd"]
      >>> term.student, pair.width("student", "embedding"), pair.width("teacher", "embedding")
      ('embedding', 32, 64)

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
