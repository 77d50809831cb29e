"""Recipes on feature maps that compare stage by stage."""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import afterwards, at_first, with_labels
from jaxkd.recipes._pair import Pair


def stage_terms(
    name: str,
    pair: Pair,
    loss: Callable[..., Any],
    weight: float | Schedule,
    connect: Callable[[str, str], nnx.Module] | None = None,
    *,
    temperature: float | Schedule | None = None,
) -> dict[str, Term]:
    """One term for each pair of stages, `name1`, `name2`, …, each with its own connector."""
    return {
        f"{name}{number}": Term(
            loss,
            weight,
            temperature,
            student,
            teacher,
            connect(student, teacher) if connect else None,
        )
        for number, (student, teacher) in enumerate(pair.stages(), 1)
    }


def conv1x1(pair: Pair, student: str, teacher: str, rngs: nnx.Rngs, *, norm: bool = False):
    """A 1×1 convolution between two maps."""
    widths = pair.width("student", student), pair.width("teacher", teacher)
    return connectors.Conv1x1(*widths, norm=norm, rngs=rngs)


def fitnet(
    pair: Pair, *, weight: float | Schedule = 100.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Hints: regression of the teacher's middle map (Romero et al., 2015).

    Where the maps differ in size, the larger one is pooled.

    Args:
      pair: the networks.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the regressor's initial weights.

    Returns:
      An objective with the terms `label` and `fitnet`.
    """
    stages = pair.stages()
    student, teacher = stages[len(stages) // 2]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    term = Term(losses.feature_mse, weight, None, student, teacher, connector)
    return with_labels(label_weight, fitnet=term)


def at(
    pair: Pair, *, p: int = 2, weight: float | Schedule = 1000.0, label_weight: float = 1.0
) -> Objective:
    """Attention transfer at every stage (Zagoruyko and Komodakis, ICLR 2017).

    Args:
      pair: the networks.
      p: power of the activations.
      weight: of each term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label`, `at1`, `at2`, ….
    """
    terms = stage_terms("at", pair, functools.partial(losses.at, p=p), weight)
    return with_labels(label_weight, **terms)


def nst(pair: Pair, *, weight: float | Schedule = 50.0, label_weight: float = 1.0) -> Objective:
    """Neuron selectivity transfer at every stage (Huang and Wang, 2017).

    Args:
      pair: the networks.
      weight: of each term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label`, `nst1`, `nst2`, ….
    """
    return with_labels(label_weight, **stage_terms("nst", pair, losses.nst, weight))


def vid(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Variational information distillation at every stage (Ahn et al., CVPR 2019).

    Args:
      pair: the networks.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the regressors' initial weights.

    Returns:
      An objective with the terms `label`, `vid1`, `vid2`, ….
    """
    rngs = nnx.Rngs(seed)

    def connect(student, teacher):
        widths = pair.width("student", student), pair.width("teacher", teacher)
        return connectors.VID(*widths, rngs=rngs)

    return with_labels(label_weight, **stage_terms("vid", pair, losses.vid, weight, connect))


def ab(
    pair: Pair,
    *,
    margin: float = 1.0,
    weight: float = 3e-3,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Activation boundaries before the ReLU of every stage (Heo et al., AAAI 2019).

    Args:
      pair: the networks, with outputs `preact1`, ….
      margin: of the hinge.
      weight: of the last stage; the ones before have half of the next one's.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.
      steps: of the whole training; in the authors' code the boundaries alone are learned for the
        first 30 of 240 epochs, the labels alone afterwards.

    Returns:
      An objective with the terms `label`, `ab1`, `ab2`, ….
    """
    rngs = nnx.Rngs(seed)
    loss = functools.partial(losses.ab, margin=margin)
    stages = pair.stages("preact")
    terms = {
        f"ab{number}": Term(
            loss,
            at_first(weight * 2.0 ** (number - len(stages)), steps, 30 / 240),
            None,
            student,
            teacher,
            conv1x1(pair, student, teacher, rngs),
        )
        for number, (student, teacher) in enumerate(stages, 1)
    }
    label = Term(losses.cross_entropy, weight=afterwards(label_weight, steps, 30 / 240))
    return Objective(label=label, **terms)


def ofd(
    pair: Pair,
    *,
    margins: dict[str, Any] | None = None,
    weight: float = 1e-3,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Partial regression of maps before their ReLU (Heo et al., ICCV 2019).

    Args:
      pair: the networks, with outputs `preact1`, ….
      margins: for each of the teacher's outputs the margin of its channels, `losses.ofd_margin` of
        the batch normalization before it; None for 0, which leaves out all negative responses.
      weight: of the last stage; the ones before have half of the next one's.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.

    Returns:
      An objective with the terms `label`, `ofd1`, `ofd2`, ….
    """
    rngs = nnx.Rngs(seed)
    stages = pair.stages("preact")
    terms = {}
    for number, (student, teacher) in enumerate(stages, 1):
        widths = pair.width("student", student), pair.width("teacher", teacher)
        margin = (margins or {}).get(teacher, 0.0)
        terms[f"ofd{number}"] = Term(
            losses.ofd,
            weight * 2.0 ** (number - len(stages)),
            None,
            student,
            teacher,
            connectors.OFD(*widths, margin=margin, rngs=rngs),
        )
    return with_labels(label_weight, **terms)
