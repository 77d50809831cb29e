"""Losses on features that need more than a pair of maps: variances, heads, attention, views."""

import jax.numpy as jnp
import numpy as np

from golden_calls import Differs
from jaxkd import losses


def _last(channels_first):
    return jnp.moveaxis(channels_first, 1, -1)


def _variational(inputs, outputs, options):
    variance = losses.vid_variance(inputs["log_scale"], epsilon=options["eps"])
    return jnp.mean(
        losses.vid(_last(inputs["pred_mean"]), _last(inputs["feat_t"]), variance=variance)
    )


def _softmax_regression(inputs, outputs, options):
    student = _last(inputs["feat_s"]), inputs["pred_sc"]
    teacher = _last(inputs["feat_t"]), inputs["pred_t"]
    statistics = jnp.mean(losses.srrl(student, teacher, weight=0.0))
    value = jnp.mean(losses.srrl(student, teacher, weight=options["weight"]))
    return value, {"out_stat": statistics}


def _orthogonal(inputs, outputs, options):
    projected = inputs["z_s"] @ inputs["P"].T
    return options["alpha"] * jnp.mean(losses.vkd(projected, _last(inputs["z_t"])))


def _projected(inputs):
    return inputs["feat_s"] @ inputs["embed.weight"].T + inputs["embed.bias"]


_TINY = np.finfo(np.float64).tiny


def _simple_recipe(inputs, outputs, options):
    """The reference adds nothing inside the logarithm."""
    arguments = options.rest(bn_eps="norm_epsilon")
    return losses.srd(_projected(inputs), inputs["feat_t"], epsilon=_TINY, **arguments)


def _simple_recipe_deit(inputs, outputs, options):
    return losses.srd_correlation(
        _projected(inputs), inputs["feat_t"], **options.rest(eps="epsilon")
    )


def _simple_recipe_torchdistill(inputs, outputs, options):
    features = losses.srd(
        inputs["feat_s"],
        inputs["feat_t"],
        exponent=options["exponent"],
        normalize=False,
        epsilon=_TINY,
    )
    logits = losses.kl_divergence(inputs["logits_s"], inputs["logits_t"], **options.rest())
    return 2 * features + jnp.mean(logits)


def _generated(inputs, outputs, options):
    values = losses.mgd(_last(inputs["gen_s"]), _last(inputs["feat_t"]))
    return options["alpha_mgd"] * jnp.mean(values)


def _class_maps(inputs, outputs, options):
    arguments = options.rest(cam_resolution="resolution")
    return jnp.mean(losses.cat_kd(_last(inputs["cam_s"]), _last(inputs["cam_t"]), **arguments))


def _calibrated(inputs, outputs, options):
    options.describes("num_stu", inputs["weight"], 1)
    options.describes("num_tea", inputs["weight"], 2)
    _, num_stu, num_tea = inputs["weight"].shape
    student, teacher = (
        tuple(
            tuple(_last(inputs[f"{side}_{i}_{j}"]) for j in range(num_tea)) for i in range(num_stu)
        )
        for side in ("s_value", "f_target")
    )
    return jnp.mean(losses.semckd(student, teacher, attention=inputs["weight"]))


def _singular(layout, *, reference=True):
    """All pairs of consecutive stages; `reference` takes the signs of its singular vectors."""

    def call(inputs, outputs, options):
        if reference:
            options.describes("k", outputs["out_vt_0"], -1)
        k = options["k"]
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


def _truncated(scores, right, ratio, chosen):
    """All views that the teacher has right, and a share of the others, the best ranked first.

    The reference breaks ties of its ranking at random, so those go to what it has `chosen`.

    Args:
      scores: the teacher's, `[views, classes]`.
      right: boolean, of the same shape, one True each.
      ratio: the share.
      chosen: indices of views.
    """
    of_right = jnp.sum(jnp.where(right, scores, 0), axis=-1, keepdims=True)
    rank = jnp.sum(scores > of_right, axis=-1)
    wrong = jnp.sum(rank > 0)
    number = len(rank) - wrong + jnp.floor(wrong * ratio)
    order = jnp.lexsort((~np.isin(np.arange(len(rank)), chosen), rank))
    return (jnp.argsort(order) < number).reshape(-1, 3)


def _self_supervised(inputs, outputs, options):
    label, ratio_tf, ratio_ss = inputs["label"], options["ratio_tf"], options["ratio_ss"]

    def views(name):
        return inputs[name].reshape(len(label), 4, -1)

    student, teacher = views("logits_s"), views("logits_t")
    directions = views("ss_t")
    directions /= jnp.linalg.norm(directions, axis=-1, keepdims=True)
    cosines = directions[:, 1:].reshape(3 * len(label), -1) @ directions[:, 0].T
    classes = teacher[:, 1:].reshape(3 * len(label), -1)
    keep_tf = _truncated(
        classes,
        np.repeat(label, 3)[:, None] == np.arange(classes.shape[1]),
        ratio_tf,
        outputs["out_index_tf"],
    )
    keep_ss = _truncated(
        cosines, np.repeat(np.eye(len(label)) == 1, 3, axis=0), ratio_ss, outputs["out_index_ss"]
    )
    parts = {
        "out_loss1": jnp.mean(losses.cross_entropy(student[:, 0], label)),
        "out_loss2": jnp.mean(losses.kd(student[:, 0], teacher[:, 0], temperature=options["kd_T"])),
        "out_loss3": losses.sskd_transformed(
            student, teacher, label, ratio=ratio_tf, temperature=options["tf_T"], keep=keep_tf
        ),
        "out_loss4": losses.sskd_similarity(
            views("ss_s"),
            views("ss_t"),
            ratio=ratio_ss,
            temperature=options["ss_T"],
            keep=keep_ss,
        ),
    }
    weights = [options[f"{name}_weight"] for name in ("ce", "kd", "tf", "ss")]
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
