"""Losses behind connectors of several layers or generated features, with references' weights."""

import jax.numpy as jnp
from flax import nnx

from golden_calls._options import Mismatch
from golden_calls._torch import load
from jaxkd import connectors, losses


def _maps(inputs, prefix):
    """The maps `prefix0`, `prefix1`, … as a tuple, channels last."""
    count = sum(name.removeprefix(prefix).isdigit() for name in inputs)
    return tuple(jnp.moveaxis(inputs[f"{prefix}{index}"], 1, -1) for index in range(count))


def _weights(inputs, layers):
    """Arrays by our names; `layers` are pairs of (ours, with `kernel` or `scale`; the reference's).

    A layer has a bias if the reference's has one.
    """
    weights = {}
    for ours, theirs in layers:
        weights[ours] = inputs[f"{theirs}.weight"]
        if f"{theirs}.bias" in inputs:
            weights[ours.rpartition(".")[0] + ".bias"] = inputs[f"{theirs}.bias"]
    return weights


def _generated(mask, *, masked_above=False):
    """The reference for positions masks samples above 1 - ratio, ours those below ratio."""

    def call(inputs, outputs, options):
        student, teacher = (jnp.moveaxis(inputs[f"feat_{side}"], 1, -1) for side in "st")
        widths = student.shape[-1], teacher.shape[-1]
        ratio = options["lambda_mgd"]
        module = connectors.MGD(*widths, mask_ratio=ratio, mask=mask, rngs=nnx.Rngs(0))
        layers = [("first.kernel", "generation.0"), ("second.kernel", "generation.2")]
        if widths[0] != widths[1]:
            layers.append(("align.kernel", "align"))
        noise = jnp.moveaxis(inputs["mask_noise"], 1, -1)
        generated = load(module, _weights(inputs, layers))(
            student, noise=1 - noise if masked_above else noise
        )
        return options["alpha_mgd"] * jnp.mean(losses.mgd(generated, teacher))

    return call


def _semantic_calibration(inputs, outputs, options):
    student, teacher = _maps(inputs, "feat_s"), _maps(inputs, "feat_t")
    module = connectors.SemCKD(
        [maps.shape[-1] for maps in student],
        [maps.shape[-1] for maps in teacher],
        batch_size=len(student[0]),
        factor=options["factor"],
        soft=options["soft"],
        rngs=nnx.Rngs(0),
    )
    layers = []
    for ours, theirs, count in (("queries", "query", len(student)), ("keys", "key", len(teacher))):
        for index in range(count):
            for part, linear in (("first", "linear1"), ("second", "linear2")):
                layers.append((f"{ours}.{index}.{part}.kernel", f"{theirs}_{index}.{linear}"))
    for i in range(len(student)):
        for j in range(len(teacher)):
            ours, theirs = f"projections.{i}.{j}", f"regressor{i}{j}.regressor"
            for number, part in enumerate(
                ("widen.conv.kernel", "widen.norm.scale", "", "mix.conv.kernel", "mix.norm.scale")
            ):
                if part:
                    layers.append((f"{ours}.{part}", f"{theirs}.{number}"))
            layers.append((f"{ours}.narrow.kernel", f"{theirs}.6"))
    made = load(module, _weights(inputs, layers))(student, teacher=teacher)
    return jnp.mean(losses.semckd(**made)), {"out_attention": made["attention"]}


def _attention_matching(inputs, outputs, options):
    """The reference's `n_t` numbers the distinct sizes of the teacher's layers."""
    student, teacher = _maps(inputs, "feat_s"), _maps(inputs, "feat_t")
    sizes = list(dict.fromkeys(maps.shape[1:3] for maps in teacher))
    if options["n_t"] != (numbers := [sizes.index(maps.shape[1:3]) for maps in teacher]):
        raise Mismatch(f"n_t is {options['n_t']}, the teacher's layers say {numbers}")
    module = connectors.AFD(
        [maps.shape[-1] for maps in student],
        [maps.shape[-1] for maps in teacher],
        qk_dim=options["qk_dim"],
        rngs=nnx.Rngs(0),
    )
    pairs = [("bilinear", "linear_trans_s.bilinear")]
    pairs += [(f"keys.{i}", f"linear_trans_s.key_layer.{i}") for i in range(len(student))]
    pairs += [(f"queries.{j}", f"linear_trans_t.query_layer.{j}") for j in range(len(teacher))]
    layers = []
    for ours, theirs in pairs:
        layers.append((f"{ours}.linear.kernel", f"attention.{theirs}.linear"))
        layers.append((f"{ours}.norm.scale", f"attention.{theirs}.bn"))
    weights = _weights(inputs, layers) | {
        "student_layers": inputs["attention.p_s"],
        "teacher_layers": inputs["attention.p_t"],
    }
    made = load(module, weights)(student, teacher=teacher)
    return jnp.mean(losses.afd(teacher=teacher, **made))


CALLS = {
    "mgd_full": _generated("channels"),
    "mgd_full__det": _generated("positions", masked_above=True),
    "semckd_full": _semantic_calibration,
    "afd": _attention_matching,
}
