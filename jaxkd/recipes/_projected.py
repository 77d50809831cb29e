"""Recipes on the last map or embedding, behind a projector."""

import dataclasses

from flax import nnx

from jaxkd import connectors, losses, networks
from jaxkd.objective import Objective, Schedule, Term
from jaxkd.recipes._common import warmed_up, with_labels
from jaxkd.recipes._features import conv1x1, stage_terms
from jaxkd.recipes._pair import Pair


def reviewkd(
    pair: Pair,
    *,
    weight: float = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
    steps: int | None = None,
) -> Objective:
    """Knowledge review: stages fused from the last to the first (Chen et al., CVPR 2021).

    Args:
      pair: the networks; their stages and `embedding` are used.
      weight: of the term, the sum over stages.
      label_weight: of the cross entropy.
      seed: of the fusion blocks' initial weights.
      steps: of the whole training; the authors warm up for 20 of 240 epochs.

    Returns:
      An objective with the terms `label` and `reviewkd`.
    """
    stages = [*pair.stages(), ("embedding", "embedding")]
    student, teacher = (tuple(names) for names in zip(*stages, strict=True))
    connector = connectors.ReviewKD(
        [pair.width("student", name) for name in student],
        [pair.width("teacher", name) for name in teacher],
        [pair.size("teacher", name) for name in teacher[:-1]],
        rngs=nnx.Rngs(seed),
    )
    scheduled = warmed_up(weight, steps, 20 / 240)
    term = Term(losses.over_stages(losses.hcl), scheduled, None, student, teacher, connector)
    return with_labels(label_weight, reviewkd=term)


def simkd_pair(pair: Pair, *, factor: int = 2, seed: int = 0) -> Pair:
    """The networks as SimKD uses them.

    Args:
      pair: the networks.
      factor: by which the projector's inner width is smaller than the teacher's.
      seed: of the projector's initial weights.

    Returns:
      The pair whose student is the backbone with a projector behind its last map and the teacher's
      frozen last layer; it has the outputs `projected` and new `logits`, and is trained and
      deployed in this form.
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
    """The teacher's classifier reused on projected features (Chen et al., CVPR 2022).

    Args:
      pair: what `simkd_pair` returns.
      weight: of the only term; there is no cross entropy.

    Returns:
      An objective with the term `simkd`.
    """
    pair.shape("student", "projected")
    _, teacher = pair.stages()[-1]
    return Objective(simkd=Term(losses.feature_mse, weight, None, "projected", teacher))


def srrl(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Softmax regression of representations (Yang et al., ICLR 2021).

    Args:
      pair: the networks.
      weight: of the term, which holds the regression of features and of the teacher's logits.
      label_weight: of the cross entropy.
      seed: of the connector's initial weights.

    Returns:
      An objective with the terms `label` and `srrl`.
    """
    student, teacher = pair.stages()[-1]
    kernel, bias = pair.teacher_head()
    connector = connectors.SRRL(
        pair.width("student", student),
        pair.width("teacher", teacher),
        kernel=kernel,
        bias=bias,
        rngs=nnx.Rngs(seed),
    )
    term = Term(losses.srrl, weight, None, student, (teacher, "logits"), connector)
    return with_labels(label_weight, srrl=term)


def cat_kd_pair(pair: Pair) -> Pair:
    """The networks with their class activation maps among the outputs.

    Args:
      pair: networks whose logits are a dense layer on the global average of the last stage.

    Returns:
      The pair with the outputs `class_maps`.
    """
    return pair.with_heads_over_maps()


def cat_kd(pair: Pair, *, weight: float | Schedule = 400.0, label_weight: float = 1.0) -> Objective:
    """Class attention transfer (Guo et al., CVPR 2023).

    Args:
      pair: what `cat_kd_pair` returns.
      weight: of the term.
      label_weight: of the cross entropy.

    Returns:
      An objective with the terms `label` and `cat_kd`.
    """
    for side in ("student", "teacher"):
        pair.shape(side, "class_maps")
    term = Term(losses.cat_kd, weight, None, "class_maps", "class_maps")
    return with_labels(label_weight, cat_kd=term)


def mgd(
    pair: Pair, *, weight: float | Schedule = 7e-5, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Masked generative distillation of the last map (Yang et al., ECCV 2022).

    Args:
      pair: the networks.
      weight: of the term, a sum over the map.
      label_weight: of the cross entropy.
      seed: of the generator's initial weights.

    Returns:
      An objective with the terms `label` and `mgd`.
    """
    student, teacher = pair.stages()[-1]
    widths = pair.width("student", student), pair.width("teacher", teacher)
    connector = connectors.MGD(*widths, rngs=nnx.Rngs(seed))
    term = Term(losses.mgd, weight, None, student, teacher, connector)
    return with_labels(label_weight, mgd=term)


def ickd(
    pair: Pair, *, weight: float | Schedule = 2.5, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Correlations between channels of the last map (Liu et al., ICCV 2021).

    Args:
      pair: the networks.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the connector's initial weights.

    Returns:
      An objective with the terms `label` and `ickd`.
    """
    student, teacher = pair.stages()[-1]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    return with_labels(
        label_weight, ickd=Term(losses.ickd, weight, None, student, teacher, connector)
    )


def wkd_feature(
    pair: Pair, *, weight: float | Schedule = 0.05, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Means and spreads of channels of the last map (Lv et al., NeurIPS 2024).

    Args:
      pair: the networks.
      weight: of the term, a sum over channels.
      label_weight: of the cross entropy.
      seed: of the connector's initial weights.

    Returns:
      An objective with the terms `label` and `wkd_feature`.
    """
    student, teacher = pair.stages()[-1]
    connector = conv1x1(pair, student, teacher, nnx.Rngs(seed), norm=True)
    term = Term(losses.wkd_feature, weight, None, student, teacher, connector)
    return with_labels(label_weight, wkd_feature=term)


def cwd(
    pair: Pair,
    *,
    temperature: float | Schedule = 4.0,
    weight: float | Schedule = 3.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """Where each channel looks, at every stage (Shu et al., ICCV 2021; made for dense prediction).

    Args:
      pair: the networks.
      temperature: of the softmax over places.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.

    Returns:
      An objective with the terms `label`, `cwd1`, `cwd2`, ….
    """
    rngs = nnx.Rngs(seed)

    def connect(student, teacher):
        return conv1x1(pair, student, teacher, rngs)

    return with_labels(
        label_weight,
        **stage_terms("cwd", pair, losses.cwd, weight, connect, temperature=temperature),
    )


def pkd(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """Pearson correlation of maps at every stage (Cao et al., NeurIPS 2022; made for detection).

    Args:
      pair: the networks.
      weight: of each term.
      label_weight: of the cross entropy.
      seed: of the connectors' initial weights.

    Returns:
      An objective with the terms `label`, `pkd1`, `pkd2`, ….
    """
    rngs = nnx.Rngs(seed)

    def connect(student, teacher):
        return conv1x1(pair, student, teacher, rngs)

    return with_labels(label_weight, **stage_terms("pkd", pair, losses.pkd, weight, connect))


def srd(
    pair: Pair,
    *,
    weight: float | Schedule = 2.0,
    temperature: float | Schedule = 1.0,
    label_weight: float = 1.0,
    seed: int = 0,
) -> Objective:
    """A linear projector under batch normalization, and KL (Miles and Mikolajczyk, AAAI 2024).

    Args:
      pair: the networks.
      weight: of the logarithm of the feature's distance.
      temperature: of the KL divergence, whose weight is 1.
      label_weight: of the cross entropy.
      seed: of the projector's initial weights.

    Returns:
      An objective with the terms `label`, `srd` and `kl`.
    """
    connector = connectors.Linear(*_embedding(pair), rngs=nnx.Rngs(seed))
    return with_labels(
        label_weight,
        srd=Term(losses.srd, weight, None, "embedding", "embedding", connector),
        kl=Term(losses.kl_divergence, temperature=temperature),
    )


def vkd(
    pair: Pair, *, weight: float | Schedule = 1.0, label_weight: float = 1.0, seed: int = 0
) -> Objective:
    """An orthogonal projector onto the normalized teacher (Miles et al., CVPR 2024).

    Args:
      pair: the networks.
      weight: of the term.
      label_weight: of the cross entropy.
      seed: of the projector's initial weights.

    Returns:
      An objective with the terms `label` and `vkd`.
    """
    connector = connectors.OrthogonalProjection(*_embedding(pair), rngs=nnx.Rngs(seed))
    term = Term(losses.vkd, weight, None, "embedding", "embedding", connector)
    return with_labels(label_weight, vkd=term)


def _embedding(pair: Pair) -> tuple[int, int]:
    return pair.width("student", "embedding"), pair.width("teacher", "embedding")
