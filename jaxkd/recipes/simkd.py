"""SimKD: the reused teacher classifier."""

import dataclasses

from flax import nnx

from jaxkd import connectors, losses, networks
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def with_teacher_classifier(pair: Pair, *, factor: int = 2, seed: int = 0) -> Pair:
    """Puts a projector and the teacher's frozen classifier behind the student's last map.

    Args:
      pair: the student and its teacher.
      factor: factor by which the inner width of the projector is smaller than the teacher's.
      seed: seed of the initial weights of the projector.

    Returns:
      The pair whose student is the backbone with a projector behind its last map and the teacher's
      frozen last layer; it has the outputs `projected` and new `logits`, and is trained and
      deployed in this form.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> extended = with_teacher_classifier(pair, factor=4)
      >>> pair.width("teacher", "stage3"), extended.width("student", "projected")
      (64, 64)
    """
    student, teacher = pair.stages()[-1]
    kernel, bias = pair.teacher_head()
    projector = connectors.SimKD(
        pair.width("student", student),
        pair.width("teacher", teacher),
        factor=factor,
        kernel=kernel,
        bias=bias,
        rngs=nnx.Rngs(seed),
    )
    extended = networks.extend(pair.student, projector, student)
    return dataclasses.replace(pair, student=extended)


def simkd(pair: Pair, *, weight: float | Schedule = 1.0) -> Objective:
    """Reuses the teacher's classifier on projected features (SimKD).

    Args:
      pair: the student and its teacher, as `with_teacher_classifier` returns them.
      weight: weight of the only term; there is no cross entropy.

    Returns:
      An objective with the term `simkd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = simkd(with_teacher_classifier(pair))
      >>> list(objective.terms), objective.terms["simkd"].student, objective.terms["simkd"].teacher
      (['simkd'], 'projected', 'stage3')

    Reference:
      Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022.
    """
    pair.shape("student", "projected")
    _, teacher = pair.stages()[-1]
    return Objective(simkd=Term(losses.feature_mse, weight, None, "projected", teacher))


SIMKD = Recipe(
    "simkd",
    simkd,
    "Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022.",
    needs_pair=True,
    prepare=with_teacher_classifier,
)
