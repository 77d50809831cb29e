"""Layers whose kernel is one matrix, and its singular values."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression._layers import find_layers

SCHEMES = ("channel", "spatial")


def check_ranks(model: nnx.Module, ranks: Mapping[str, int], scheme: str) -> dict[str, Any]:
    """Checks ranks against the layers that they belong to.

    Returns:
      Path → layer, in the order of `ranks`.

    Raises:
      ValueError: as `factorize`.
    """
    check_scheme(scheme)
    layers = factorable_layers(model, scheme)
    unknown = [path for path in ranks if path not in layers]
    if unknown or not ranks:
        raise ValueError(
            f"{unknown or 'no layers'} cannot be factorized ({scheme}): this module has "
            f"{list(layers)} (nnx.Linear, nnx.Conv without groups or mask)"
        )
    for path, rank in ranks.items():
        full = min(kernel_sides(layers[path], scheme))
        if not 1 <= rank <= full:
            raise ValueError(f"the rank of {path!r} must be between 1 and {full}, not {rank}")
    return {path: layers[path] for path in ranks}


def check_scheme(scheme: str) -> None:
    """Refuses an unknown scheme."""
    if scheme not in SCHEMES:
        raise ValueError(f"scheme must be one of {list(SCHEMES)}, not {scheme!r}")


def factorable_layers(model: nnx.Module, scheme: str) -> dict[str, Any]:
    """Finds the layers whose kernel is one matrix.

    That of a grouped convolution would be several, and the mask of a masked one would be lost.

    Returns:
      Path → layer.
    """
    layers = {}
    for path, layer in find_layers(model, (nnx.Linear, nnx.Conv)).items():
        if isinstance(layer, nnx.Conv):
            if layer.feature_group_count != 1 or layer.mask is not None:
                continue
            if scheme == "spatial" and len(layer.kernel_size) != 2:
                continue
        layers[path] = layer
    return layers


def kernel_sides(layer: Any, scheme: str) -> tuple[int, int]:
    """Returns the numbers of rows and columns of the kernel as a matrix."""
    shape = layer.kernel.shape
    if isinstance(layer, nnx.Conv) and scheme == "spatial":
        high, wide, before, after = shape
        return high * before, wide * after
    return math.prod(shape[:-1]), shape[-1]


def kernel_matrix(layer: Any, scheme: str) -> jax.Array:
    """Returns the kernel as a matrix in float32."""
    kernel = layer.kernel[...].astype(jnp.float32)
    if isinstance(layer, nnx.Conv) and scheme == "spatial":
        kernel = kernel.transpose(0, 2, 1, 3)
    return kernel.reshape(kernel_sides(layer, scheme))


def singular_values(layer: Any, scheme: str) -> jax.Array:
    """Computes the singular values of the kernel."""
    return jnp.linalg.svd(kernel_matrix(layer, scheme), compute_uv=False)
