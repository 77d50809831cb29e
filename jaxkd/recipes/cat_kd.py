"""CAT-KD: class attention transfer."""

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def cat_kd(pair: Pair, *, weight: float | Schedule = 400.0, label_weight: float = 1.0) -> Objective:
    """Transfers class activation maps (CAT-KD).

    The authors' weight is for 100 classes and trainings of 240 epochs. On ten classes of clothes
    students of 4 epochs reached 80.1 % of validation images with it, 86.3 % with 40 and 85.8 % with
    4 (`benchmarks/methods_tuned.py`): choose it on validation examples. In an untrained student of
    these the gradient at 400 is 166 times that of the labels (`benchmarks/methods_stability.py`).

    Args:
      pair: the student and its teacher, as `pair.with_class_maps()` returns them.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `cat_kd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = cat_kd(pair.with_class_maps(), weight=40.0)
      >>> objective.terms["cat_kd"].student, objective.terms["cat_kd"].weight
      ('class_maps', 40.0)

    Reference:
      Guo et al., Class Attention Transfer Based Knowledge Distillation, CVPR 2023.
    """
    for side in ("student", "teacher"):
        pair.shape(side, "class_maps")
    term = Term(losses.cat_kd, weight, None, "class_maps", "class_maps")
    return with_labels(label_weight, cat_kd=term)


CAT_KD = Recipe(
    "cat_kd",
    cat_kd,
    "Guo et al., Class Attention Transfer Based Knowledge Distillation, CVPR 2023.",
    needs_pair=True,
    prepare=Pair.with_class_maps,
)
