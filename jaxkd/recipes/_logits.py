"""Recipes on logits: nothing but the teacher's logits is needed, so they run from any cache."""

import functools

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import warmed_up, with_labels


def dkd(
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float | Schedule = 4.0,
    label_weight: float = 1.0,
    steps: int | None = None,
) -> Objective:
    """Decoupled distillation (Zhao et al., CVPR 2022).

    Args:
      alpha: weight of the target class against the rest.
      beta: weight of the classes among the rest; 2, 6 or 8 by pair of networks.
      temperature: T.
      label_weight: of the cross entropy.
      steps: of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `dkd`.

    Example:
      >>> list(dkd(beta=6.0).terms)
      ['label', 'dkd']
    """
    loss = functools.partial(losses.dkd, alpha=alpha, beta=beta)
    term = Term(loss, weight=warmed_up(1.0, steps, 20 / 240), temperature=temperature)
    return with_labels(label_weight, dkd=term)


def dist(
    *,
    beta: float = 1.0,
    gamma: float = 1.0,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 2.0,
    label_weight: float = 1.0,
) -> Objective:
    """Correlations within and between classes (Huang et al., NeurIPS 2022).

    Args:
      beta: weight of the correlation over the classes of an example.
      gamma: weight of the correlation over the examples of a class.
      temperature: tau; 1 for ImageNet.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `dist`.
    """
    loss = functools.partial(losses.dist, beta=beta, gamma=gamma)
    return with_labels(label_weight, dist=Term(loss, weight=weight, temperature=temperature))


def nkd(
    *,
    gamma: float = 1.5,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Normalized distillation (Yang et al., ICCV 2023).

    Args:
      gamma: weight of the classes that are not the target.
      temperature: of those classes.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `nkd`.
    """
    loss = functools.partial(losses.nkd, gamma=gamma)
    return with_labels(label_weight, nkd=Term(loss, weight=weight, temperature=temperature))


def wsld(
    *,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 2.25,
    label_weight: float = 1.0,
) -> Objective:
    """Weighted soft labels (Zhou et al., ICLR 2021).

    Args:
      temperature: T.
      weight: of the term, the authors' alpha.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `wsld`.
    """
    term = Term(losses.wsld, weight=weight, temperature=temperature)
    return with_labels(label_weight, wsld=term)


def ttm(
    *, gamma: float = 0.1, weight: float | Schedule = 1.0, label_weight: float = 1.0
) -> Objective:
    """Transformed teacher matching (Zheng and Yang, ICLR 2024).

    Args:
      gamma: exponent of the teacher's probabilities, 1 / T.
      weight: of the term; the authors choose one for every pair of networks.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `ttm`.
    """
    loss = functools.partial(losses.ttm, gamma=gamma)
    return with_labels(label_weight, ttm=Term(loss, weight=weight))


def wttm(
    *, gamma: float = 0.1, weight: float | Schedule = 1.0, label_weight: float = 1.0
) -> Objective:
    """Transformed teacher matching with a weight for each example (Zheng and Yang, ICLR 2024).

    Args:
      gamma: exponent of the teacher's probabilities, 1 / T.
      weight: of the term; the authors choose one for every pair of networks.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `wttm`.
    """
    loss = functools.partial(losses.wttm, gamma=gamma)
    return with_labels(label_weight, wttm=Term(loss, weight=weight))


def lskd(
    *,
    temperature: float | Schedule = 2.0,
    weight: float | Schedule = 9.0,
    label_weight: float = 0.1,
) -> Objective:
    """Distillation of standardized logits (Sun et al., CVPR 2024).

    Args:
      temperature: the base temperature.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `lskd`.
    """
    term = Term(losses.lskd, weight=weight, temperature=temperature)
    return with_labels(label_weight, lskd=term)


def mlkd(
    *,
    temperatures: tuple[float, ...] = (2.0, 3.0, 4.0, 5.0, 6.0),
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
) -> Objective:
    """Multi-level logit distillation on one view (Jin et al., CVPR 2023).

    The authors add a second, strongly augmented view: `losses.mlkd_two_views`.

    Args:
      temperatures: at each of which the three levels are compared.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `mlkd`.
    """
    loss = functools.partial(losses.mlkd, temperatures=temperatures)
    return with_labels(label_weight, mlkd=Term(loss, weight=weight))


def rld(
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    alpha_temperature: float = 1.0,
    temperature: float | Schedule = 4.0,
    label_weight: float = 1.0,
    steps: int | None = None,
) -> Objective:
    """Refined logits (Sun et al., 2024).

    Args:
      alpha: weight of the student's target against the teacher's first choice.
      beta: weight of the classes that the teacher ranks below the target.
      alpha_temperature: of the first part.
      temperature: of the second.
      label_weight: of the cross entropy.
      steps: of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `rld`.
    """
    loss = functools.partial(
        losses.rld, alpha=alpha, beta=beta, alpha_temperature=alpha_temperature
    )
    term = Term(loss, weight=warmed_up(1.0, steps, 20 / 240), temperature=temperature)
    return with_labels(label_weight, rld=term)


def logit_mse(*, weight: float | Schedule = 1.0, label_weight: float = 1.0) -> Objective:
    """Regression of the teacher's logits (Ba and Caruana, 2014).

    Args:
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `logit_mse`.
    """
    return with_labels(label_weight, logit_mse=Term(losses.logit_mse, weight=weight))
