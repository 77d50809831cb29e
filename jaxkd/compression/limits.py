"""What a program needs of a machine, and what the machine gives: memory, traffic, the roofline."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.compression._forward import batch_size_of, forward_of
from jaxkd.compression.cost import program_flops
from jaxkd.networks import Network
from jaxkd.ops import xla_convolutions


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes that one call of the evaluation forward pass needs.

    Attributes:
      parameters: of all parameters and other variables of the network.
      inputs: of the batch.
      temporaries: of what lies between the two and the logits; XLA plans it ahead.
      outputs: of the logits.
    """

    parameters: int
    inputs: int
    temporaries: int
    outputs: int

    @property
    def peak(self) -> int:
        """Bytes in all while the program runs."""
        return self.parameters + self.inputs + self.temporaries + self.outputs


@dataclasses.dataclass(frozen=True)
class Machine:
    """What a device does at its best, as measured.

    Attributes:
      name: of the device.
      flops_per_second: of a large float32 matrix product.
      bytes_per_second: of memory read and written by an addition over a large array.
    """

    name: str
    flops_per_second: float
    bytes_per_second: float

    @property
    def ridge_point(self) -> float:
        """FLOPs a byte at which computing takes as long as fetching."""
        return self.flops_per_second / self.bytes_per_second


@dataclasses.dataclass(frozen=True)
class Intensity:
    """How much a call computes for what it moves.

    Attributes:
      flops: of the call.
      bytes_accessed: of memory, as XLA counts them: each operation's operands and results, those
        that stay in a cache too, so that it is an upper bound.
    """

    flops: float
    bytes_accessed: float

    @property
    def flops_per_byte(self) -> float:
        """The arithmetic intensity."""
        return self.flops / self.bytes_accessed

    def bound(self, machine: Machine) -> str:
        """`"compute"` or `"memory"`: which of the two takes longer on the machine."""
        return "compute" if self.flops_per_byte >= machine.ridge_point else "memory"

    def roofline_seconds(self, machine: Machine) -> float:
        """The roofline: the slower of computing and of fetching all from memory.

        Only what stays in a cache can be faster.
        """
        return max(
            self.flops / machine.flops_per_second, self.bytes_accessed / machine.bytes_per_second
        )


def memory(network: Network, inputs: Any) -> Memory:
    """Reads from the compiled evaluation pass how much memory it needs.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`: arrays or `jax.ShapeDtypeStruct`s.

    Returns:
      Bytes by kind. Types narrower than a byte count as the backend lays them out.

    Raises:
      ValueError: the inputs are empty or differ in their leading axis, or the backend does not
        tell.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
      >>> needed = memory(network, np.zeros((8, 64), np.float32))
      >>> needed.parameters, needed.inputs, needed.outputs
      (2600, 2048, 320)
    """
    batch_size_of(inputs)
    analysis = _compiled(network, inputs).memory_analysis()
    if analysis is None:
        raise ValueError(f"{jax.default_backend()} does not tell what a program needs")
    own = sum(np.dtype(leaf.dtype).itemsize * leaf.size for leaf in jax.tree.leaves(inputs))
    return Memory(
        parameters=analysis.argument_size_in_bytes - own,
        inputs=own,
        temporaries=analysis.temp_size_in_bytes,
        outputs=analysis.output_size_in_bytes,
    )


def intensity(network: Network, inputs: Any) -> Intensity:
    """Counts what one call of the compiled evaluation pass computes and moves.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`.

    Returns:
      FLOPs and bytes of the whole batch, both XLA's counts of the compiled program: fused
      operations move nothing between them.

    Raises:
      ValueError: the inputs are empty or differ in their leading axis, or XLA does not know a cost.
    """
    batch_size_of(inputs)
    with xla_convolutions():  # whose work is counted, in whatever form they run
        program = _compiled(network, inputs)
    moved = float((program.cost_analysis() or {}).get("bytes accessed", 0.0))
    if moved <= 0:
        raise ValueError(f"XLA's cost analysis gives {moved} bytes accessed")
    return Intensity(program_flops(program), moved)


def machine(*, size: int = 1536, repeats: int = 5) -> Machine:
    """Measures what the default device does at its best.

    Args:
      size: of the square matrices; the array that is read and written has 16 times as many numbers.
      repeats: the best of so many counts.

    Returns:
      Its limits, for `Intensity.bound` and `Intensity.roofline_seconds`.

    Raises:
      ValueError: a size or repeats below 1.
    """
    if size < 1 or repeats < 1:
        raise ValueError(f"size and repeats must be at least 1, not {size} and {repeats}")
    square = jnp.ones((size, size))
    line = jnp.ones(16 * size * size)
    product = _best(jax.jit(jnp.matmul), (square, square), repeats)
    addition = _best(jax.jit(lambda x: x + 1), (line,), repeats)
    return Machine(
        name=jax.devices()[0].device_kind,
        flops_per_second=2 * size**3 / product,
        bytes_per_second=2 * line.nbytes / addition,
    )


def _best(function: Any, arguments: tuple[jax.Array, ...], repeats: int) -> float:
    jax.block_until_ready(function(*arguments))
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(function(*arguments))
        times.append(time.perf_counter() - start)
    return min(times)


def _compiled(network: Network, inputs: Any) -> jax.stages.Compiled:
    forward = jax.jit(forward_of(network), keep_unused=True)
    return forward.lower(network.params, network.state, inputs).compile()
