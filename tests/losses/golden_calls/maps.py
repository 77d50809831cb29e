"""Losses that compare feature maps."""

import jax.numpy as jnp

from jaxkd import losses


def _maps(inputs, index=""):
    """Student's and teacher's maps of a stage, channels last."""
    return tuple(jnp.moveaxis(inputs[f"feat_{side}{index}"], 1, -1) for side in "st")


def _stages(inputs):
    count = sum(name.startswith("feat_s") for name in inputs)
    return [_maps(inputs, index) for index in range(count)]


def _mean(loss, *, names=(), weights=()):
    """The mean over the batch; hyperparameters under our `names`, `weights` multiplied."""
    names = dict(names)

    def call(inputs, outputs, **hyperparameters):
        factor = 1.0
        for weight in weights:
            factor *= hyperparameters.pop(weight)
        arguments = {names.get(name, name): value for name, value in hyperparameters.items()}
        return factor * jnp.mean(loss(*_maps(inputs), **arguments))

    return call


def _sum_of_stages(loss):
    def call(inputs, outputs, **hyperparameters):
        stages = [jnp.mean(loss(*maps, **hyperparameters)) for maps in _stages(inputs)]
        others = {"out_stage": jnp.stack(stages)} if "out_stage" in outputs else {}
        return sum(stages), others

    return call


def _attention_norm(inputs, outputs, mode):
    assert mode == "paper"
    return jnp.mean(losses.at(*_maps(inputs), squared=False))


def _boundaries(inputs, outputs, margin, feat_num):
    """The last stage counts in full, each before it half as much."""
    stages = jnp.stack([jnp.mean(losses.ab(*maps, margin=margin)) for maps in _stages(inputs)])
    weighted = 3 / 1000 * stages * 0.5 ** jnp.arange(feat_num)[::-1]
    return jnp.sum(weighted), {"out_stage": weighted}


def _boundaries_torchdistill(inputs, outputs, margin, reduction):
    reduce = {"mean": jnp.mean, "sum": jnp.sum}[reduction]
    return reduce(losses.ab(*_maps(inputs), margin=margin))


def _factors_flattened(inputs, outputs, p):
    """torchdistill takes the mean for p = 1 and the p-norm otherwise."""
    student, teacher = _maps(inputs)
    values = losses.ft(student, teacher, p2=p, flatten=True)
    if p != 1:
        values = (student[0].size * values) ** (1 / p)
    return jnp.mean(values)


def _flow(inputs, outputs):
    stages = _stages(inputs)
    pairs = [
        jnp.mean(losses.fsp((student, next_student), (teacher, next_teacher)))
        for (student, teacher), (next_student, next_teacher) in zip(
            stages, stages[1:], strict=False
        )
    ]
    return sum(pairs), {"out_stage": jnp.stack(pairs)}


def _flow_torchdistill(inputs, outputs):
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


def _margin(inputs, outputs):
    margin = losses.ofd_margin(inputs["bn_weight"], inputs["bn_bias"])
    return jnp.sum(margin), {"out_margin": margin}


def _overhaul(inputs, outputs):
    total = jnp.sum(losses.ofd(*_maps(inputs), margin=inputs["margin"]))
    return total, {"out_train_scale": total / len(inputs["feat_s"]) / 1000}


def _overhaul_mdistiller(inputs, outputs):
    return jnp.mean(losses.ofd(*_maps(inputs), margin=inputs["margin"]))


def _overhaul_mmrazor(inputs, outputs, mul_factor, loss_weight):
    """The teacher's connector has applied the margin."""
    values = losses.ofd(*_maps(inputs), margin=-jnp.inf)
    return loss_weight * jnp.mean(values) / mul_factor


def _wasserstein(inputs, outputs, mean_cov_ratio, grid, eps):
    def loss(mean_weight):
        values = losses.wkd_feature(*_maps(inputs), mean_weight=mean_weight, grid=grid, epsilon=eps)
        return jnp.mean(values)

    deviations = loss(0.0)
    others = {"out_cov_loss": deviations, "out_mean_loss": loss(1.0) - deviations}
    return loss(mean_cov_ratio), others


CALLS = {
    "fitnet_mse": _mean(losses.feature_mse),
    "at": _sum_of_stages(losses.at),
    "at__torchdistill_paper": _attention_norm,
    "nst": _sum_of_stages(losses.nst),
    "ab": _boundaries,
    "ab__torchdistill": _boundaries_torchdistill,
    "ft": _mean(losses.ft),
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
    "ickd__torchdistill": lambda inputs, outputs: (
        jnp.mean(losses.ickd(*_maps(inputs))) / len(inputs["feat_s"])
    ),
    "wkd_feature": _wasserstein,
}
