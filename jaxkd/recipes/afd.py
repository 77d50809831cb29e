"""AFD: attention-based feature matching."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import stage_names


def afd(
    pair: Pair,
    *,
    qk_dim: int = 128,
    weight: float | Schedule = 200.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Matches attention maps of all layers by attention (AFD).

    Args:
      pair: the student and its teacher.
      qk_dim: width of queries and keys.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connector.

    Returns:
      An objective with the terms `label` and `afd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = afd(pair, qk_dim=64).terms["afd"]
      >>> len(term.student), len(term.teacher)
      (3, 3)

    Reference:
      Ji et al., Show, Attend and Distill: Knowledge Distillation via Attention-based Feature
      Matching, AAAI 2021.
    """
    student, teacher = stage_names(pair)
    connector = connectors.AFD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        qk_dim=qk_dim,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.afd, weight, None, student, teacher, connector)
    return with_labels(label_weight, afd=term)


AFD = Recipe(
    "afd",
    afd,
    "Ji et al., Show, Attend and Distill: Knowledge Distillation via Attention-based Feature "
    "Matching, AAAI 2021.",
    needs_pair=True,
)
