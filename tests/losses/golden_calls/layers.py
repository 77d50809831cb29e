"""Pooling and resizing of maps."""

import jax.numpy as jnp

from jaxkd import ops


def _probed(y, inputs):
    """The reference's output, channels second, and its product with the probe."""
    y = jnp.moveaxis(y, -1, 1)
    return jnp.sum(y * inputs["probe"]), {"out_y": y}


def _resized(resize):
    def call(inputs, outputs, in_size, out_size):
        return _probed(resize(jnp.moveaxis(inputs["x"], 1, -1), tuple(out_size)), inputs)

    return call


def _pyramid(inputs, outputs, M, in_size):  # noqa: N803
    levels = tuple(int(level) for level in M.strip("[]").split(","))
    return _probed(ops.pyramid(jnp.moveaxis(inputs["x"], 1, -1), levels), inputs)


CALLS = {
    "layer_adaptive_avg_pool2d": _resized(ops.adaptive_average_pool),
    "layer_interpolate_nearest": _resized(ops.resize_nearest),
    "layer_sdd_spp": _pyramid,
}
