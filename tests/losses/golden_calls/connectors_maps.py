"""Losses behind the connectors of maps, with the references' weights."""

import jax.numpy as jnp
from flax import nnx

from golden_calls._options import Mismatch
from golden_calls._torch import load
from jaxkd import connectors, losses


def _last(channels_first):
    return jnp.moveaxis(channels_first, 1, -1)


def _rngs():
    """For initial weights, all of which are replaced."""
    return nnx.Rngs(0)


def _norm(name, inputs, prefix):
    return {f"{name}.scale": inputs[f"{prefix}.weight"], f"{name}.bias": inputs[f"{prefix}.bias"]}


def _variational(inputs, outputs, options):
    mid, width = inputs["regressor.0.weight"].shape[:2]
    module = connectors.VID(
        width,
        inputs["feat_t"].shape[1],
        mid_features=mid,
        initial_variance=options["init_pred_var"],
        epsilon=options["eps"],
        rngs=_rngs(),
    )
    # Initial parameters have single precision, to which the reference's are rounded.
    initial, expected = module.log_scale[...], outputs["out_default_log_scale"]
    initial = jnp.where(initial == jnp.float32(expected), expected, initial)
    kernels = {f"layers.{i}.kernel": inputs[f"regressor.{2 * i}.weight"] for i in range(3)}
    module = load(module, {"log_scale": inputs["log_scale"], **kernels})
    student, teacher = _last(inputs["feat_s"]), _last(inputs["feat_t"])
    value = jnp.mean(losses.vid(teacher=teacher, **module(student, teacher=teacher)))
    return value, {"out_default_log_scale": initial}


def _review(inputs, outputs, options):
    """The references count their fusion blocks and sizes from the pooled feature backwards."""
    in_channels, out_channels = options["in_channels"], options["out_channels"]
    stages = len(in_channels)
    student, teacher = (
        (*(_last(inputs[f"feat_{side}{i}"]) for i in range(stages - 1)), inputs[f"pooled_{side}"])
        for side in "st"
    )
    for name, side in (("shapes", student), ("out_shapes", teacher)):
        if options[name] != (seen := [1, *(maps.shape[2] for maps in side[-2::-1])]):
            raise Mismatch(f"{name} is {options[name]}, the maps say {seen}")
    sizes = [(size, size) for size in options["out_shapes"][:0:-1]]
    weights = {}
    for stage in range(stages):
        ours, theirs = f"blocks.{stage}", f"abfs.{stages - 1 - stage}"
        for part, conv in (("reduce", "conv1"), ("expand", "conv2")):
            weights[f"{ours}.{part}.conv.kernel"] = inputs[f"{theirs}.{conv}.0.weight"]
            weights |= _norm(f"{ours}.{part}.norm", inputs, f"{theirs}.{conv}.1")
        if stage < stages - 1:
            for ending, name in (("kernel", "weight"), ("bias", "bias")):
                weights[f"{ours}.attention.{ending}"] = inputs[f"{theirs}.att_conv.0.{name}"]
    module = load(connectors.ReviewKD(in_channels, out_channels, sizes, rngs=_rngs()), weights)
    value = jnp.mean(losses.over_stages(losses.hcl)(module(student), teacher))
    warmup = min(options["epoch"] / options["warmup_epochs"], 1)
    return options["reviewkd_weight"] * warmup * value


def _reused_classifier(inputs, outputs, options):
    student, teacher = _last(inputs["feat_s"]), _last(inputs["feat_t"])
    module = connectors.SimKD(
        student.shape[-1],
        teacher.shape[-1],
        factor=options["factor"],
        kernel=inputs["cls.weight"].T,
        bias=inputs["cls.bias"],
        size=teacher.shape[1:3],
        rngs=_rngs(),
    )
    weights = {}
    for index, part in enumerate(("reduce", "mix", "expand")):
        weights[f"{part}.conv.kernel"] = inputs[f"transfer.{3 * index}.weight"]
        weights |= _norm(f"{part}.norm", inputs, f"transfer.{3 * index + 1}")
    result = load(module, weights)(student)
    others = {
        "out_projected": jnp.moveaxis(result["projected"], -1, 1),
        "out_logits": result["logits"],
    }
    return jnp.mean(losses.feature_mse(result["projected"], teacher)), others


def _softmax_regression(inputs, outputs, options):
    """On pooled vectors, of the student too."""
    module = connectors.SRRL(
        inputs["feat_s"].shape[-1],
        inputs["feat_t"].shape[-1],
        kernel=inputs["cls.weight"].T,
        bias=inputs["cls.bias"],
        rngs=_rngs(),
    )
    weights = {"project.conv.kernel": inputs["transfer.0.weight"]}
    module = load(module, weights | _norm("project.norm", inputs, "transfer.1"))
    student = module(inputs["feat_s"])["student"]
    value = jnp.mean(losses.srrl(student, (inputs["feat_t"], inputs["logits_t"])))
    return value, {"out_projected": student[0], "out_logits": student[1]}


def _embedded_correlations(inputs, outputs, options):
    """The reference calls the normalization of the batch `l2norm`."""
    student, teacher = _last(inputs["feat_s"]), _last(inputs["feat_t"])
    widths = student.shape[-1], teacher.shape[-1]
    module = connectors.Conv1x1(*widths, norm=True, relu=False, rngs=_rngs())
    weights = {"conv.kernel": inputs["embed_s.conv2d.weight"]}
    module = load(module, weights | _norm("norm", inputs, "embed_s.l2norm"))
    return jnp.mean(losses.ickd(module(student), teacher))


CALLS = {
    "vid_regressor": _variational,
    "reviewkd_full": _review,
    "simkd": _reused_classifier,
    "srrl__simkd": _softmax_regression,
    "ickd_embed": _embedded_correlations,
}
