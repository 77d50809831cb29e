"""Recipes that relate several layers to each other, and those with a stage of their own."""

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import afterwards, at_first, with_labels
from jaxkd.recipes._features import conv1x1
from jaxkd.recipes._pair import Pair


def semckd(
    pair: Pair, *, weight: float | Schedule = 400.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Every student layer taught by all teacher layers (Chen et al., AAAI 2021).

    The attention acts on the similarities of a batch: the batch size is fixed when the connector is
    made.

    Args:
      pair: the networks; the size of the pair's inputs is the batch size.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the connector's initial weights.

    Returns:
      An objective with the terms `label` and `semckd`.
    """
    student, teacher = (tuple(names) for names in zip(*pair.stages(), strict=True))
    connector = connectors.SemCKD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        batch_size=pair.shape("student", "logits")[0],
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.semckd, weight, None, student, teacher, connector)
    return with_labels(label_weight, semckd=term)


def afd(
    pair: Pair,
    *,
    qk_dim: int = 128,
    weight: float | Schedule = 200.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Attention maps of all layers, matched by attention (Ji et al., AAAI 2021).

    Args:
      pair: the networks.
      qk_dim: width of queries and keys.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the connector's initial weights.

    Returns:
      An objective with the terms `label` and `afd`.
    """
    student, teacher = (tuple(names) for names in zip(*pair.stages(), strict=True))
    connector = connectors.AFD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        qk_dim=qk_dim,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.afd, weight, None, student, teacher, connector)
    return with_labels(label_weight, afd=term)


def _fitted(pair: Pair, rngs: nnx.Rngs, first: int, count: int) -> tuple:
    """`count` matched stages from the one numbered `first`, with connectors of channels."""
    stages = pair.stages()[first : first + count]
    each = connectors.PerStage([conv1x1(pair, *names, rngs) for names in stages])
    student, teacher = (tuple(names) for names in zip(*stages, strict=True))
    return student, teacher, each


def fsp(
    pair: Pair,
    *,
    weight: float = 50.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """The flow between neighboring stages (Yim et al., CVPR 2017).

    Args:
      pair: the networks.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.
      steps: of the whole training; in the first eighth the flow alone is learned, afterwards the
        labels alone.

    Returns:
      An objective with the terms `label`, `fsp1`, `fsp2`, ….
    """
    rngs = nnx.Rngs(seed)
    terms = {}
    for number in range(len(pair.stages()) - 1):
        scheduled = at_first(weight, steps, 1 / 8)
        terms[f"fsp{number + 1}"] = Term(
            losses.fsp, scheduled, None, *_fitted(pair, rngs, number, 2)
        )
    label = Term(losses.cross_entropy, weight=afterwards(label_weight, steps, 1 / 8))
    return Objective(label=label, **terms)


def kdsvd(
    pair: Pair,
    *,
    k: int = 1,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Singular vectors of neighboring stages (Lee et al., ECCV 2018).

    Args:
      pair: the networks.
      k: number of singular vectors.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.

    Returns:
      An objective with the terms `label`, `kdsvd1`, `kdsvd2`, ….
    """
    rngs = nnx.Rngs(seed)

    def loss(student, teacher, *, where=None):
        return losses.kdsvd(student, teacher, k=k, where=where)

    terms = {
        f"kdsvd{number + 1}": Term(loss, weight, None, *_fitted(pair, rngs, number, 2))
        for number in range(len(pair.stages()) - 1)
    }
    return with_labels(label_weight, **terms)


def ft(
    pair: Pair,
    *,
    rate: float = 0.5,
    weight: float = 200.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Factors of the last map, paraphrased from the teacher's (Kim et al., NeurIPS 2018).

    Args:
      pair: the networks.
      rate: width of the factors as a share of the teacher's.
      weight: of the factors' distance.
      label_weight: of the cross entropy.
      seed: of the paraphraser's and the translator's initial weights.
      steps: of the whole training; in the first eighth the paraphraser learns to reconstruct the
        teacher's map while the student learns from labels alone, then it is frozen. Without it
        both happen at once.

    Returns:
      An objective with the terms `label` and `ft`.
    """
    student, teacher = pair.stages()[-1]
    widths = pair.width("student", student), pair.width("teacher", teacher)
    connector = connectors.FactorTransfer(*widths, rate=rate, rngs=nnx.Rngs(seed))
    reconstruct = at_first(1.0, steps, 1 / 8)
    transfer = afterwards(weight, steps, 1 / 8)

    def at_step(value, step):
        return value(step) if callable(value) else value

    def factor_transfer(student, teacher, reconstruction, target, *, step):
        error = jnp.mean(jnp.square(reconstruction - jax.lax.stop_gradient(target)), axis=(1, 2, 3))
        factors = losses.ft(student, teacher)
        return at_step(reconstruct, step) * error + at_step(transfer, step) * factors

    term = Term(factor_transfer, 1.0, None, student, teacher, connector)
    return with_labels(label_weight, ft=term)


def ofa(
    pair: Pair,
    *,
    epsilon: float = 1.0,
    temperature: float | Schedule = 1.0,
    weight: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Heads on the student's stages learn the teacher's logits (Hao et al., NeurIPS 2023).

    Made for networks of different families, whose features have nothing in common.

    Args:
      pair: the networks.
      epsilon: strength of the target class; 1.5 for ImageNet.
      temperature: of all softmaxes.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the heads' initial weights.

    Returns:
      An objective with the terms `label`, `ofa1`, `ofa2`, … of the stages and `ofa` of the logits.
    """
    rngs = nnx.Rngs(seed)

    def loss(student, teacher, labels, *, temperature=1.0):
        return losses.ofa(student, teacher, labels, epsilon=epsilon, temperature=temperature)

    terms = {"ofa": Term(loss, weight, temperature)}
    for number, (student, _) in enumerate(pair.stages(), 1):
        width = pair.width("student", student)
        head = connectors.PooledLinear(width, pair.num_classes, rngs=rngs)
        terms[f"ofa{number}"] = Term(loss, weight, temperature, student, "logits", head)
    return with_labels(label_weight, **terms)
