"""VID: variational information distillation."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import stage_terms


def vid(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Maximizes a variational bound of the mutual information at every stage (VID).

    Args:
      pair: the student and its teacher.
      weight: weight of each term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the regressors.

    Returns:
      An objective with the terms `label`, `vid1`, `vid2`, ….

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = vid(pair)
      >>> {name: term.student for name, term in objective.terms.items()}
      {'label': 'logits', 'vid1': 'stage1', 'vid2': 'stage2', 'vid3': 'stage3'}

    Reference:
      Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.
    """
    rngs = nnx.Rngs(seed)

    def connect(student, teacher):
        widths = pair.width("student", student), pair.width("teacher", teacher)
        return connectors.VID(*widths, rngs=rngs)

    return with_labels(label_weight, **stage_terms("vid", pair, losses.vid, weight, connect))


VID = Recipe(
    "vid",
    vid,
    "Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019.",
    needs_pair=True,
)
