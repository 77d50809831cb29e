"""The evaluation pass as a function of its inputs alone, and as StableHLO."""

import importlib.util
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.export._inputs import batched
from jaxkd.networks import Network
from jaxkd.networks._outputs import logits_of
from jaxkd.ops import xla_convolutions

# From an array, or dotted name → array, to logits.
Forward = Callable[[Any], jax.Array]
Preprocess = Callable[[Any], Any]

PLATFORMS = ("cpu", "cuda", "tpu")


class ExportError(ValueError):
    """A network cannot be exported, or an exported file differs from it.

    Example:
      >>> issubclass(ExportError, ValueError)  # one `except` for what cannot be exported or differs
      True
    """


def require() -> None:
    """Checks for a package that `jax.export` needs but does not depend on.

    Raises:
      ImportError: it is missing; the message names the extra.
    """
    if importlib.util.find_spec("flatbuffers") is None:
        raise ImportError(
            "exporting programs needs the package flatbuffers: pip install 'jaxkd-distill[export]'"
        )


def forward(
    network: Network,
    preprocess: Preprocess | None = None,
    nest: Callable[[Any], Any] = lambda inputs: inputs,
) -> Forward:
    """Returns the function from inputs to logits in float32, with the variables as constants.

    When it is called, it raises ExportError for a network that has no logits.

    Args:
      network: the network.
      preprocess: what makes the network's inputs of nested inputs.
      nest: what makes nested inputs of those of the file.

    Returns:
      The function.
    """
    variables = jax.tree.map(np.asarray, (network.params, network.state))

    def logits(inputs: Any) -> jax.Array:
        # Constants of no device, whichever the network was trained on, whose values are known while
        # the function is traced.
        with jax.ensure_compile_time_eval():
            params, state = jax.tree.map(jnp.asarray, variables)
        given = nest(inputs) if preprocess is None else preprocess(nest(inputs))
        outputs, _ = network.apply(params, state, given, train=False)
        try:
            return logits_of(outputs, "an exported program", network.name).astype(jnp.float32)
        except ValueError as error:
            raise ExportError(str(error)) from None

    return logits


def lower(function: Forward, like: Any, batch: int | None, platforms: tuple[str, ...]) -> Any:
    """Lowers a function to a `jax.export.Exported`.

    Args:
      function: function made by `forward`.
      like: shape and type of one example, or name → shape and type.
      batch: size of the leading axis; None for any.
      platforms: platforms that the program is for.

    Returns:
      The program.

    Raises:
      ExportError: JAX cannot export the function for these platforms, or not for any batch.
    """
    from jax import export

    size = export.symbolic_shape("batch")[0] if batch is None else batch
    compiled = jax.jit(function, keep_unused=True)  # the file has every input
    try:
        with xla_convolutions():  # devices have operations for them
            return export.export(compiled, platforms=platforms)(batched(like, size))
    except Exception as error:  # of the network, of JAX for symbolic sizes or custom calls
        many = " for any batch size; give a batch size, or change the network" if not batch else ""
        raise ExportError(
            f"the network cannot be exported for {', '.join(platforms)}{many}: "
            f"{type(error).__name__}: {error}"
        ) from error


def serialize(function: Forward, like: Any, batch: int | None) -> bytes:
    """Returns StableHLO with the weights inside, for `jax.export.deserialize`."""
    return bytes(lower(function, like, batch, PLATFORMS).serialize())
