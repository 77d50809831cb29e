"""NKD and USKD: normalized distillation, and self-distillation without a teacher."""

import functools

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe


def nkd(
    *,
    gamma: float = 1.5,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Distills normalized probabilities of the classes that are not the target (NKD).

    Args:
      gamma: weight of the classes that are not the target.
      temperature: temperature of those classes.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `nkd`.

    Example:
      >>> objective = nkd(gamma=2.0, temperature=2.0)
      >>> list(objective.terms), objective.terms["nkd"].temperature
      (['label', 'nkd'], 2.0)

    Reference:
      Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach
      with Normalized Loss and Customized Soft Labels, ICCV 2023.
    """
    loss = functools.partial(losses.nkd, gamma=gamma)
    return with_labels(label_weight, nkd=Term(loss, weight=weight, temperature=temperature))


def uskd(
    pair: Pair,
    *,
    alpha: float = 1.0,
    beta: float = 0.1,
    mu: float = 0.005,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Distills a student into itself by way of a weak head, without a teacher (USKD).

    Args:
      pair: the student and its teacher; of the teacher, only the number of classes is
        used.
      alpha: weight of the target class.
      beta: weight of the other classes.
      mu: weight of the weak head's own cross entropy.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the weak head.

    Returns:
      An objective with the terms `label` and `uskd`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = uskd(pair)
      >>> objective.terms["uskd"].student, objective.needs_teacher
      (('logits', 'stage2'), False)

    Reference:
      Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach
      with Normalized Loss and Customized Soft Labels, ICCV 2023.
    """
    stages = pair.stages()
    student, _ = stages[len(stages) // 2]
    head = connectors.PooledLinear(
        pair.width("student", student), pair.num_classes, rngs=nnx.Rngs(seed)
    )
    loss = functools.partial(losses.uskd, alpha=alpha, beta=beta, mu=mu)
    connector = connectors.PerStage([None, head])
    term = Term(loss, weight, None, ("logits", student), "logits", connector)
    return with_labels(label_weight, uskd=term)


NKD = Recipe(
    "nkd",
    nkd,
    "Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach "
    "with Normalized Loss and Customized Soft Labels, ICCV 2023.",
)
USKD = Recipe(
    "uskd",
    uskd,
    "Yang et al., From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach "
    "with Normalized Loss and Customized Soft Labels, ICCV 2023.",
    needs_pair=True,
)
