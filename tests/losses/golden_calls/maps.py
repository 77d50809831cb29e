"""Losses that compare feature maps."""

import jax.numpy as jnp

from jaxkd import losses


def _hint(inputs, outputs):
    student, teacher = (jnp.moveaxis(inputs[name], 1, -1) for name in ("feat_s", "feat_t"))
    return losses.masked_mean(losses.feature_mse(student, teacher))


CALLS = {
    "fitnet_mse": _hint,
}
