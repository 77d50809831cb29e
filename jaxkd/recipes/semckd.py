"""SemCKD: cross-layer distillation with semantic calibration."""

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import stage_names


def semckd(
    pair: Pair, *, weight: float | Schedule = 400.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Teaches every student layer by all teacher layers (SemCKD).

    The authors' weight is for 100 classes and trainings of 240 epochs. On ten classes of clothes
    students of 4 epochs reached 81.1 % of validation images with it, 85.9 % with 40 and 86.0 % with
    4 (`benchmarks/methods_tuned.py`): choose it on validation examples.

    The attention acts on the similarities of a batch: the batch size is fixed when the connector is
    made.

    Args:
      pair: the student and its teacher; the size of the pair's inputs is the batch size.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connector.

    Returns:
      An objective with the terms `label` and `semckd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = semckd(pair).terms["semckd"]
      >>> len(term.student), len(term.teacher)
      (3, 3)

    Reference:
      Chen et al., Cross-Layer Distillation with Semantic Calibration, AAAI 2021.
    """
    student, teacher = stage_names(pair)
    connector = connectors.SemCKD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        batch_size=pair.shape("student", "logits")[0],
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.semckd, weight, None, student, teacher, connector)
    return with_labels(label_weight, semckd=term)


SEMCKD = Recipe(
    "semckd",
    semckd,
    "Chen et al., Cross-Layer Distillation with Semantic Calibration, AAAI 2021.",
    needs_pair=True,
)
