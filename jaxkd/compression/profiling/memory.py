"""The memory that a forward pass needs."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxkd.compression.profiling._forward import batch_size_of, compile_forward
from jaxkd.networks import Network


@dataclasses.dataclass(frozen=True)
class MemoryUse:
    """The memory that one call of the evaluation forward pass needs, in bytes.

    Attributes:
      parameters: bytes of all parameters and other variables of the network.
      inputs: bytes of the batch.
      temporaries: bytes of intermediate arrays, as XLA allocates them.
      outputs: bytes of the logits.

    Example:
      >>> MemoryUse(parameters=2600, inputs=2048, temporaries=0, outputs=320).peak
      4968
    """

    parameters: int
    inputs: int
    temporaries: int
    outputs: int

    @property
    def peak(self) -> int:
        """All bytes while the program runs."""
        return self.parameters + self.inputs + self.temporaries + self.outputs


def memory_use(network: Network, inputs: Any) -> MemoryUse:
    """Reads from the compiled evaluation pass how much memory it needs.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      Bytes by kind. Types narrower than a byte count as the backend stores them.

    Raises:
      ValueError: the inputs are empty or differ in their leading axis, or the backend has no memory
        analysis.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
      >>> needed = memory_use(network, np.zeros((8, 64), np.float32))
      >>> needed.parameters, needed.inputs, needed.outputs
      (2600, 2048, 320)
    """
    batch_size_of(inputs)
    analysis = compile_forward(network, inputs).memory_analysis()
    if analysis is None:
        raise ValueError(f"{jax.default_backend()} has no analysis of a program's memory")
    of_inputs = sum(np.dtype(leaf.dtype).itemsize * leaf.size for leaf in jax.tree.leaves(inputs))
    return MemoryUse(
        parameters=analysis.argument_size_in_bytes - of_inputs,
        inputs=of_inputs,
        temporaries=analysis.temp_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
    )
