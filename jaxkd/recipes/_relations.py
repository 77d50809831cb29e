"""Recipes on relations between examples, and contrastive ones."""

import functools
from collections.abc import Callable
from typing import Any

from flax import nnx
from jax.typing import ArrayLike

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import with_labels
from jaxkd.recipes._pair import Pair


def _on_embeddings(
    name: str, loss: Callable[..., Any], weight: float | Schedule, label_weight: float
) -> Objective:
    term = Term(loss, weight, None, "embedding", "embedding")
    return with_labels(label_weight, **{name: term})


def rkd(
    *,
    distance_weight: float = 25.0,
    angle_weight: float = 50.0,
    label_weight: float = 1.0,
) -> Objective:
    """Distances and angles between embeddings (Park et al., CVPR 2019).

    Args:
      distance_weight: of the distances.
      angle_weight: of the angles.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `rkd`.
    """
    loss = functools.partial(losses.rkd, distance_weight=distance_weight, angle_weight=angle_weight)
    return _on_embeddings("rkd", loss, 1.0, label_weight)


def pkt(*, weight: float | Schedule = 3e4, label_weight: float = 1.0) -> Objective:
    """Probabilistic knowledge transfer between embeddings (Passalis and Tefas, ECCV 2018).

    Args:
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `pkt`.
    """
    return _on_embeddings("pkt", losses.pkt, weight, label_weight)


def cka(*, weight: float | Schedule = 1.0, label_weight: float = 1.0) -> Objective:
    """Centered kernel alignment of embeddings (Kornblith et al., ICML 2019, as a loss).

    Args:
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `cka`.
    """
    return _on_embeddings("cka", losses.cka, weight, label_weight)


def sp(pair: Pair, *, weight: float | Schedule = 3000.0, label_weight: float = 1.0) -> Objective:
    """Similarities of the last maps (Tung and Mori, ICCV 2019).

    Args:
      pair: the networks.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `sp`.
    """
    student, teacher = pair.stages()[-1]
    return with_labels(label_weight, sp=Term(losses.sp, weight, None, student, teacher))


def cc(
    pair: Pair,
    *,
    dim: int = 128,
    weight: float | Schedule = 0.02,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Correlation congruence of embeddings (Peng et al., ICCV 2019).

    Args:
      pair: the networks.
      dim: of the space in which both embeddings are compared.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the embeddings' initial weights.

    Returns:
      An objective with the terms `label` and `cc`.
    """
    connector = connectors.PairedProjection(*_linear_pair(pair, dim, nnx.Rngs(seed)))
    loss = functools.partial(losses.cc, learned_teacher=True)
    term = Term(loss, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, cc=term)


def itrd(
    pair: Pair,
    *,
    alpha: float = 1.5,
    correlation_weight: float = 2.0,
    mutual_weight: float = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Information-theoretic representation distillation (Miles et al., BMVC 2022).

    Args:
      pair: the networks.
      alpha: order of the correlation term; 1.01 for wide networks.
      correlation_weight: of the correlations.
      mutual_weight: of the mutual information.
      label_weight: of the cross entropy.
      seed: of the embedding's initial weights.

    Returns:
      An objective with the terms `label` and `itrd`.
    """
    widths = pair.width("student", "embedding"), pair.width("teacher", "embedding")
    connector = connectors.Linear(*widths, rngs=nnx.Rngs(seed))
    loss = functools.partial(
        losses.itrd,
        alpha=alpha,
        correlation_weight=correlation_weight,
        mutual_weight=mutual_weight,
    )
    term = Term(loss, 1.0, None, "embedding", "embedding", connector)
    return with_labels(label_weight, itrd=term)


def crd(
    pair: Pair,
    *,
    num_examples: int,
    dim: int = 128,
    num_negatives: int = 16_384,
    temperature: float = 0.07,
    momentum: float = 0.5,
    classes: ArrayLike | None = None,
    weight: float | Schedule = 0.8,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Contrastive representation distillation with memory banks (Tian et al., ICLR 2020).

    Batches need the field `id`, smaller than `num_examples`.

    Args:
      pair: the networks.
      num_examples: rows of the banks, the largest example id and one.
      dim: of the embeddings.
      num_negatives: K.
      temperature: of the scores.
      momentum: of the banks.
      classes: int `[num_examples]`, so that negatives come from other classes, as in the authors'
        code; None for all examples but the example itself.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the embeddings' and the banks' initial values.

    Returns:
      An objective with the terms `label` and `crd`.
    """
    widths = pair.width("student", "embedding"), pair.width("teacher", "embedding")
    connector = connectors.CRD(
        *widths,
        num_examples,
        dim=dim,
        num_negatives=num_negatives,
        temperature=temperature,
        momentum=momentum,
        labels=classes,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.crd, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, crd=term)


def info_nce(
    pair: Pair,
    *,
    dim: int = 128,
    temperature: float | Schedule = 0.07,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Contrast within the batch, without a bank, for data sets of any size.

    Args:
      pair: the networks.
      dim: of the embeddings.
      temperature: of the scores.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the embeddings' initial weights.

    Returns:
      An objective with the terms `label` and `info_nce`.
    """
    connector = connectors.PairedProjection(*_linear_pair(pair, dim, nnx.Rngs(seed)))
    loss = functools.partial(losses.info_nce, learned_teacher=True)
    term = Term(loss, weight, temperature, "embedding", "embedding", connector)
    return with_labels(label_weight, info_nce=term)


def _linear_pair(pair: Pair, dim: int, rngs: nnx.Rngs) -> list[nnx.Module]:
    return [
        connectors.Linear(pair.width(side, "embedding"), dim, rngs=rngs)
        for side in ("student", "teacher")
    ]
