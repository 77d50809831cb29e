"""Pooling and resizing of maps."""

import jax.numpy as jnp

from golden_calls._options import Mismatch
from jaxkd import ops


def _probed(y, inputs):
    """The reference's output, channels second, and its product with the probe."""
    y = jnp.moveaxis(y, -1, 1)
    if y.shape != inputs["probe"].shape:
        raise Mismatch(f"an output of shape {y.shape} and a probe of {inputs['probe'].shape}")
    return jnp.sum(y * inputs["probe"]), {"out_y": y}


def _resized(resize):
    def call(inputs, outputs, options):
        options.describes("in_size", inputs["x"], 2, 3)
        size = tuple(options["out_size"])
        return _probed(resize(jnp.moveaxis(inputs["x"], 1, -1), size), inputs)

    return call


def _pyramid(inputs, outputs, options):
    options.describes("in_size", inputs["x"], 2, 3)
    levels = options.choose("M", {"[1,2,4]": (1, 2, 4), "[1,2]": (1, 2), "[1]": (1,)})
    maps = jnp.moveaxis(inputs["x"], 1, -1)
    return _probed(ops.pyramid(maps, levels), inputs)


CALLS = {
    "layer_adaptive_avg_pool2d": _resized(ops.adaptive_average_pool),
    "layer_interpolate_nearest": _resized(ops.resize_nearest),
    "layer_sdd_spp": _pyramid,
}
