"""WKD: Wasserstein distances of logits and of features."""

import functools

from flax import nnx

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe
from jaxkd.recipes._stages import conv1x1


def wkd_logit(
    pair: Pair,
    *,
    kappa: float = 1.0,
    gamma: float = 600.0,
    temperature: float | Schedule = 8.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Transports probability between classes that are similar to the teacher (WKD-L).

    The cost of moving from class to class comes from the teacher's classifier.

    Args:
      pair: the student and its teacher.
      kappa: sharpness of the costs.
      gamma: weight of the classes that are not the target.
      temperature: temperature of those classes.
      weight: weight of the term.
      label_weight: weight of the cross entropy with the labels.

    Returns:
      An objective with the terms `label` and `wkd_logit`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> objective = wkd_logit(pair, temperature=4.0)
      >>> list(objective.terms), objective.terms["wkd_logit"].temperature
      (['label', 'wkd_logit'], 4.0)

    Reference:
      Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge
      Distillation, NeurIPS 2024.
    """
    kernel, _ = pair.teacher_head()
    cost = losses.class_distances(kernel.T, kappa=kappa)
    loss = functools.partial(losses.wkd_logit, cost=cost, gamma=gamma)
    term = Term(loss, weight=weight, temperature=temperature)
    return with_labels(label_weight, wkd_logit=term)


def wkd_feature(
    pair: Pair, *, weight: float | Schedule = 0.05, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Matches means and spreads of the channels of the last map (WKD-F).

    Args:
      pair: the student and its teacher.
      weight: weight of the term, a sum over channels.
      label_weight: weight of the cross entropy with the labels.
      seed: seed of the initial weights of the connector.

    Returns:
      An objective with the terms `label` and `wkd_feature`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> term = wkd_feature(pair).terms["wkd_feature"]
      >>> term.student, term.teacher, term.weight
      ('stage3', 'stage3', 0.05)

    Reference:
      Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge
      Distillation, NeurIPS 2024.
    """
    student, teacher = pair.stages()[-1]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    term = Term(losses.wkd_feature, weight, None, student, teacher, connector)
    return with_labels(label_weight, wkd_feature=term)


WKD_LOGIT = Recipe(
    "wkd_logit",
    wkd_logit,
    "Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge "
    "Distillation, NeurIPS 2024.",
    needs_pair=True,
)
WKD_FEATURE = Recipe(
    "wkd_feature",
    wkd_feature,
    "Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge "
    "Distillation, NeurIPS 2024.",
    needs_pair=True,
)
