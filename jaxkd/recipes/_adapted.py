"""Recipes on logits that need something more: a head, regions, costs or a learned temperature."""

import functools
from collections.abc import Callable

import jax
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import warmed_up, with_labels
from jaxkd.recipes._pair import Pair


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
    """Self-distillation from a weak head, without a teacher (Yang et al., ICCV 2023).

    Args:
      pair: the networks; the teacher is not asked.
      alpha: weight of the target class.
      beta: weight of the other classes.
      mu: weight of the weak head's own cross entropy.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the weak head's initial weights.

    Returns:
      An objective with the terms `label` and `uskd`.
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


def ctkd(
    pair: Pair,
    *,
    start: float = 1.0,
    span: float = 20.0,
    alpha: float = 0.9,
    steps: int | None = None,
) -> Objective:
    """A temperature learned against the student (Li et al., AAAI 2023).

    Args:
      pair: the networks; any pair will do.
      start: the lowest temperature.
      span: what the learned part adds at most.
      alpha: weight of the teacher, `1 - alpha` of the cross entropy.
      steps: of the whole training; the reversal grows over 10 of 240 epochs. Without it the
        temperature is learned at full strength from the start.

    Returns:
      An objective with the terms `label` and `ctkd`.
    """
    del pair
    strength = losses.curriculum_schedule(max(1, steps * 10 // 240)) if steps else lambda step: -1.0

    def ctkd(student, teacher, theta, *, step):
        temperature = start + span * jax.nn.sigmoid(losses.reverse_gradient(theta, strength(step)))
        return losses.kd(student, teacher, temperature=temperature)

    term = Term(ctkd, alpha, connector=connectors.LearnedScalar("theta", 1.0))
    return with_labels(1 - alpha, ctkd=term)


def sdd_pair(pair: Pair) -> Pair:
    """The networks with the logits of image regions among the outputs.

    Args:
      pair: networks whose logits are a dense layer on the global average of the last stage.

    Returns:
      The pair with the outputs `regions`.
    """
    return pair.with_heads_over_maps()


def sdd(
    pair: Pair,
    *,
    loss: Callable[..., jax.Array] = losses.dkd,
    weight: float = 1.0,
    label_weight: float = 1.0,
    steps: int | None = None,
) -> Objective:
    """Scale decoupled distillation on logits of image regions (Luo, CVPR 2024).

    Args:
      pair: what `sdd_pair` returns.
      loss: of each region: `losses.kd`, `losses.dkd` or `losses.nkd`, with their options fixed by
        `functools.partial`.
      weight: of the term.
      label_weight: of the cross entropy.
      steps: of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `sdd`.
    """
    for side in ("student", "teacher"):
        pair.shape(side, "regions")
    term = Term(
        functools.partial(losses.sdd, loss=loss),
        warmed_up(weight, steps, 20 / 240),
        None,
        "regions",
        "regions",
    )
    return with_labels(label_weight, sdd=term)


def wkd_logit(
    pair: Pair,
    *,
    kappa: float = 1.0,
    gamma: float = 600.0,
    temperature: float | Schedule = 8.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Transport between classes that the teacher finds alike (Lv et al., NeurIPS 2024).

    The cost of moving from class to class comes from the teacher's classifier.

    Args:
      pair: the networks.
      kappa: sharpness of the costs.
      gamma: weight of the classes that are not the target.
      temperature: of those classes.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `wkd_logit`.
    """
    kernel, _ = pair.teacher_head()
    cost = losses.class_distances(kernel.T, kappa=kappa)
    loss = functools.partial(losses.wkd_logit, cost=cost, gamma=gamma)
    term = Term(loss, weight=weight, temperature=temperature)
    return with_labels(label_weight, wkd_logit=term)
