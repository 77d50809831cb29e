"""The evaluation pass as a function of its inputs alone, and as StableHLO."""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks import Network
from jaxkd.ops import xla_convolutions

Forward = Callable[[jax.Array], jax.Array]
Preprocess = Callable[[Any], Any]

PLATFORMS = ("cpu", "cuda", "tpu")


class ExportError(ValueError):
    """A network cannot be exported, or what was exported is not the network."""


def require() -> None:
    """Refuses to start without what `jax.export` needs and does not ask for.

    Raises:
      ImportError: it is missing; names the extra.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            "exporting programs needs the package flatbuffers: pip install 'jaxkd-distill[export]'"
        )


def forward(network: Network, preprocess: Preprocess | None = None) -> Forward:
    """Logits in float32 of inputs; the variables are constants of the function."""
    variables = jax.tree.map(np.asarray, (network.params, network.state))

    def logits(inputs: jax.Array) -> jax.Array:
        # Constants of no device, whichever the network was trained on.
        params, state = jax.tree.map(jnp.asarray, variables)
        given = inputs if preprocess is None else preprocess(inputs)
        outputs, _ = network.apply(params, state, given, train=False)
        return outputs["logits"].astype(jnp.float32)

    return logits


def lower(
    function: Forward, like: jax.ShapeDtypeStruct, batch: int | None, platforms: tuple[str, ...]
) -> Any:
    """The function as an `jax.export.Exported`.

    Args:
      function: as `forward` makes it.
      like: shape and type of one input.
      batch: size of the leading axis; None for any.
      platforms: that the program is for.

    Raises:
      ExportError: JAX cannot export the function for these platforms, or not for any batch.
    """
    from jax import export

    size = export.symbolic_shape("batch")[0] if batch is None else batch
    spec = jax.ShapeDtypeStruct((size, *like.shape), like.dtype)
    try:
        with xla_convolutions():  # devices have operations for them
            return export.export(jax.jit(function), platforms=platforms)(spec)
    except Exception as error:  # the network's own, JAX's of symbolic sizes, of custom calls
        many = " for any batch size; give a batch size, or mend the network" if not batch else ""
        raise ExportError(
            f"the network cannot be exported for {', '.join(platforms)}{many}: "
            f"{type(error).__name__}: {error}"
        ) from error


def serialize(function: Forward, like: jax.ShapeDtypeStruct, batch: int | None) -> bytes:
    """StableHLO with the weights inside, as `jax.export.deserialize` reads it."""
    return bytes(lower(function, like, batch, PLATFORMS).serialize())
