"""Losses that compare feature maps."""

import jax.numpy as jnp

from golden_calls._options import Refused
from jaxkd import losses


def _maps(inputs, index=""):
    """Student's and teacher's maps of a stage, channels last."""
    return tuple(jnp.moveaxis(inputs[f"feat_{side}{index}"], 1, -1) for side in "st")


def _stages(inputs):
    count = sum(name.startswith("feat_s") for name in inputs)
    return [_maps(inputs, index) for index in range(count)]


def _mean(loss, *, names=(), weights=()):
    """The mean over the batch; hyperparameters under our `names`, `weights` multiplied."""

    def call(inputs, outputs, options):
        factor = 1.0
        for weight in weights:
            factor *= options[weight]
        return factor * jnp.mean(loss(*_maps(inputs), **options.rest(**dict(names))))

    return call


def _sum_of_stages(loss):
    def call(inputs, outputs, options):
        hyperparameters = options.rest()
        stages = [jnp.mean(loss(*maps, **hyperparameters)) for maps in _stages(inputs)]
        others = {"out_stage": jnp.stack(stages)} if "out_stage" in outputs else {}
        return sum(stages), others

    return call


def _even(power):
    """A power that the references, which take it of signed numbers, share with magnitudes."""
    if power % 2:
        raise Refused(f"{power} is odd: the reference keeps signs, ours are powers of magnitudes")
    return power


def _attention(inputs, outputs, options):
    p = _even(options["p"])
    stages = jnp.stack([jnp.mean(losses.at(*maps, p=p)) for maps in _stages(inputs)])
    return jnp.sum(stages), {"out_stage": stages}


def _attention_torchdistill(inputs, outputs, options):
    squared = options.choose("mode", {"paper": False, "code": True})
    return jnp.mean(losses.at(*_maps(inputs), squared=squared))


def _factors(inputs, outputs, options):
    p1, p2 = options["p1"], options["p2"]
    return jnp.mean(losses.ft(*_maps(inputs), p1=p1, p2=p2 if p2 == 1 else _even(p2)))


def _boundaries(inputs, outputs, options):
    """The last stage counts in full, each before it half as much."""
    margin, weights = options["margin"], 0.5 ** jnp.arange(options["feat_num"])[::-1]
    # As many as both: the reference zips them.
    stages = [jnp.mean(losses.ab(*maps, margin=margin)) for maps in _stages(inputs)]
    weighted = 3 / 1000 * jnp.stack(stages[: len(weights)]) * weights[: len(stages)]
    return jnp.sum(weighted), {"out_stage": weighted}


def _boundaries_torchdistill(inputs, outputs, options):
    reduce = options.choose("reduction", {"mean": jnp.mean, "sum": jnp.sum})
    return reduce(losses.ab(*_maps(inputs), margin=options["margin"]))


def _factors_flattened(inputs, outputs, options):
    """torchdistill takes the mean for p = 1 and the p-norm otherwise."""
    p = options["p"]
    student, teacher = _maps(inputs)
    values = losses.ft(student, teacher, p2=p, flatten=True)
    if p != 1:
        values = (student[0].size * values) ** (1 / p)
    return jnp.mean(values)


def _flow(inputs, outputs, options):
    stages = _stages(inputs)
    pairs = [
        jnp.mean(losses.fsp((student, next_student), (teacher, next_teacher)))
        for (student, teacher), (next_student, next_teacher) in zip(
            stages, stages[1:], strict=False
        )
    ]
    return sum(pairs), {"out_stage": jnp.stack(pairs)}


def _flow_torchdistill(inputs, outputs, options):
    """Pooled by the maximum, and the columns' norms added up: built from `fsp_matrix`."""
    matrices = []
    for first, second in zip(*_stages(inputs), strict=True):
        size = tuple(map(min, first.shape[1:3], second.shape[1:3]))
        matrices.append(losses.fsp_matrix(_max_pool(first, size), _max_pool(second, size)))
    difference = matrices[0] - matrices[1]
    return jnp.mean(jnp.sum(jnp.linalg.norm(difference, axis=1), axis=-1))


def _max_pool(maps, size):
    rows, columns = (
        [slice(i * source // target, -(-(i + 1) * source // target)) for i in range(target)]
        for source, target in zip(maps.shape[1:3], size, strict=True)
    )
    return jnp.stack(
        [
            jnp.stack([jnp.max(maps[:, row, column], axis=(1, 2)) for column in columns], axis=1)
            for row in rows
        ],
        axis=1,
    )


def _margin(inputs, outputs, options):
    margin = losses.ofd_margin(inputs["bn_weight"], inputs["bn_bias"])
    return jnp.sum(margin), {"out_margin": margin}


def _overhaul(inputs, outputs, options):
    total = jnp.sum(losses.ofd(*_maps(inputs), margin=inputs["margin"]))
    return total, {"out_train_scale": total / len(inputs["feat_s"]) / 1000}


def _overhaul_mdistiller(inputs, outputs, options):
    return jnp.mean(losses.ofd(*_maps(inputs), margin=inputs["margin"]))


def _overhaul_mmrazor(inputs, outputs, options):
    """The teacher's connector has applied the margin."""
    values = losses.ofd(*_maps(inputs), margin=-jnp.inf)
    return options["loss_weight"] * jnp.mean(values) / options["mul_factor"]


def _wasserstein(inputs, outputs, options):
    mean_cov_ratio = options["mean_cov_ratio"]
    arguments = options.rest(eps="epsilon")

    def loss(mean_weight):
        values = losses.wkd_feature(*_maps(inputs), mean_weight=mean_weight, **arguments)
        return jnp.mean(values)

    deviations = loss(0.0)
    others = {"out_cov_loss": deviations, "out_mean_loss": loss(1.0) - deviations}
    return loss(mean_cov_ratio), others


CALLS = {
    "fitnet_mse": _mean(losses.feature_mse),
    "at": _attention,
    "at__torchdistill_paper": _attention_torchdistill,
    "nst": _sum_of_stages(losses.nst),
    "ab": _boundaries,
    "ab__torchdistill": _boundaries_torchdistill,
    "ft": _factors,
    "ft__torchdistill": _factors_flattened,
    "fsp": _flow,
    "fsp__torchdistill": _flow_torchdistill,
    "ofd_margin": _margin,
    "ofd": _overhaul,
    "ofd__mdistiller": _overhaul_mdistiller,
    "ofd__mmrazor": _overhaul_mmrazor,
    "reviewkd_hcl": _sum_of_stages(losses.hcl),
    "cwd": _mean(losses.cwd, names={"tau": "temperature"}, weights=("loss_weight",)),
    "pkd": _mean(losses.pkd, weights=("loss_weight",)),
    "ickd": _mean(losses.ickd),
    "ickd__torchdistill": lambda inputs, outputs, options: (
        jnp.mean(losses.ickd(*_maps(inputs))) / len(inputs["feat_s"])
    ),
    "wkd_feature": _wasserstein,
}
