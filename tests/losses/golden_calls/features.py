"""Losses on features that need more than a pair of maps: variances, heads, attention, views."""

import jax.numpy as jnp
import numpy as np

from golden_calls import Differs
from jaxkd import losses


def _last(channels_first):
    return jnp.moveaxis(channels_first, 1, -1)


def _variational(inputs, outputs, eps):
    variance = losses.vid_variance(inputs["log_scale"], epsilon=eps)
    return jnp.mean(
        losses.vid(_last(inputs["pred_mean"]), _last(inputs["feat_t"]), variance=variance)
    )


def _softmax_regression(inputs, outputs, weight):
    student = _last(inputs["feat_s"]), inputs["pred_sc"]
    teacher = _last(inputs["feat_t"]), inputs["pred_t"]
    statistics = jnp.mean(losses.srrl(student, teacher, weight=0.0))
    return jnp.mean(losses.srrl(student, teacher, weight=weight)), {"out_stat": statistics}


def _orthogonal(inputs, outputs, alpha):
    projected = inputs["z_s"] @ inputs["P"].T
    return alpha * jnp.mean(losses.vkd(projected, _last(inputs["z_t"])))


def _projected(inputs):
    return inputs["feat_s"] @ inputs["embed.weight"].T + inputs["embed.bias"]


_TINY = np.finfo(np.float64).tiny


def _simple_recipe(inputs, outputs, exponent, bn_eps):
    """The reference adds nothing inside the logarithm."""
    return losses.srd(
        _projected(inputs), inputs["feat_t"], exponent=exponent, norm_epsilon=bn_eps, epsilon=_TINY
    )


def _simple_recipe_deit(inputs, outputs, eps):
    return losses.srd_correlation(_projected(inputs), inputs["feat_t"], epsilon=eps)


def _simple_recipe_torchdistill(inputs, outputs, exponent, temperature):
    features = losses.srd(
        inputs["feat_s"], inputs["feat_t"], exponent=exponent, normalize=False, epsilon=_TINY
    )
    logits = losses.kl_divergence(inputs["logits_s"], inputs["logits_t"], temperature=temperature)
    return 2 * features + jnp.mean(logits)


def _generated(inputs, outputs, alpha_mgd):
    return alpha_mgd * jnp.mean(losses.mgd(_last(inputs["gen_s"]), _last(inputs["feat_t"])))


def _class_maps(inputs, outputs, cam_resolution, normalize):
    return jnp.mean(
        losses.cat_kd(
            _last(inputs["cam_s"]),
            _last(inputs["cam_t"]),
            resolution=cam_resolution,
            normalize=normalize,
        )
    )


def _calibrated(inputs, outputs, num_stu, num_tea):
    student, teacher = (
        tuple(
            tuple(_last(inputs[f"{side}_{i}_{j}"]) for j in range(num_tea)) for i in range(num_stu)
        )
        for side in ("s_value", "f_target")
    )
    return jnp.mean(losses.semckd(student, teacher, attention=inputs["weight"]))


def _singular(layout, *, reference=True):
    """All pairs of consecutive stages; `reference` takes the signs of its singular vectors."""

    def call(inputs, outputs, k):
        count = sum(name.startswith("feat_s") for name in inputs)
        student, teacher = (
            [layout(inputs[f"feat_{side}{index}"]) for index in range(count)] for side in "st"
        )
        pairs = [
            jnp.mean(
                losses.kdsvd(
                    student[index : index + 2],
                    teacher[index : index + 2],
                    k=k,
                    signs_like=[outputs[f"out_vt_{i}"] for i in (index, index + 1)]
                    if reference
                    else None,
                )
            )
            for index in range(count - 1)
        ]
        others = {"out_stage": jnp.stack(pairs)} if "out_stage" in outputs and reference else {}
        return (sum(pairs), others) if reference else sum(pairs)

    return call


def _self_supervised(
    inputs,
    outputs,
    kd_T,  # noqa: N803
    tf_T,  # noqa: N803
    ss_T,  # noqa: N803
    ratio_tf,
    ratio_ss,
    ce_weight,
    kd_weight,
    tf_weight,
    ss_weight,
):
    """The reference breaks ties of its ranking at random, so its choice of views is taken over."""
    label = inputs["label"]

    def views(name):
        return inputs[name].reshape(len(label), 4, -1)

    def kept(name):
        return np.isin(np.arange(3 * len(label)), outputs[name]).reshape(-1, 3)

    student, teacher = views("logits_s"), views("logits_t")
    parts = {
        "out_loss1": jnp.mean(losses.cross_entropy(student[:, 0], label)),
        "out_loss2": jnp.mean(losses.kd(student[:, 0], teacher[:, 0], temperature=kd_T)),
        "out_loss3": losses.sskd_transformed(
            student, teacher, label, ratio=ratio_tf, temperature=tf_T, keep=kept("out_index_tf")
        ),
        "out_loss4": losses.sskd_similarity(
            views("ss_s"),
            views("ss_t"),
            ratio=ratio_ss,
            temperature=ss_T,
            keep=kept("out_index_ss"),
        ),
    }
    weights = (ce_weight, kd_weight, tf_weight, ss_weight)
    return sum(weight * part for weight, part in zip(weights, parts.values(), strict=True)), parts


CALLS = {
    "vid": _variational,
    "srrl": _softmax_regression,
    "vkd": _orthogonal,
    "srd": _simple_recipe,
    "srd__deit": _simple_recipe_deit,
    "srd__torchdistill": _simple_recipe_torchdistill,
    "mgd": _generated,
    "catkd": _class_maps,
    "semckd": _calibrated,
    "kdsvd": _singular(_last),
    "kdsvd__mdistiller": Differs(
        why="reads [batch, channels, height, width] as [batch, channels * height, width]",
        correct=_singular(_last, reference=False),
        # With the axes where they are, the width stands where we have the channels.
        reference=_singular(jnp.asarray),
    ),
    "sskd": _self_supervised,
}
