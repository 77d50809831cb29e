"""The roofline model: a program's arithmetic and traffic against the peaks of a device.

Williams, Waterman and Patterson, Roofline: An Insightful Visual Performance Model, 2009.
"""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp

from jaxkd.compression.profiling._forward import batch_size_of, compile_forward
from jaxkd.compression.profiling.flops import program_flops
from jaxkd.networks import Network
from jaxkd.ops import xla_convolutions


@dataclasses.dataclass(frozen=True)
class DevicePeak:
    """The measured peak performance of a device.

    Attributes:
      name: name of the device.
      flops_per_second: FLOPs a second in a large float32 matrix product.
      bytes_per_second: bytes of memory read and written a second by an addition over a large array.

    Example:
      >>> peak = DevicePeak("accelerator", flops_per_second=2e13, bytes_per_second=1e12)
      >>> peak.ridge_point
      20.0
    """

    name: str
    flops_per_second: float
    bytes_per_second: float

    @property
    def ridge_point(self) -> float:
        """FLOPs a byte with which arithmetic takes as long as memory traffic."""
        return self.flops_per_second / self.bytes_per_second


@dataclasses.dataclass(frozen=True)
class ArithmeticIntensity:
    """The arithmetic of a call beside its memory traffic.

    Attributes:
      flops: FLOPs of the call.
      bytes_accessed: bytes of memory, as XLA counts them: operands and results of each operation,
        including those that stay in a cache, so that it is an upper bound.

    Example:
      >>> peak = DevicePeak("accelerator", flops_per_second=2e13, bytes_per_second=1e12)
      >>> call = ArithmeticIntensity(flops=4e9, bytes_accessed=1e9)
      >>> call.flops_per_byte, call.bound(peak), call.roofline_seconds(peak)
      (4.0, 'memory', 0.001)
    """

    flops: float
    bytes_accessed: float

    @property
    def flops_per_byte(self) -> float:
        """The arithmetic intensity."""
        return self.flops / self.bytes_accessed

    def bound(self, peak: DevicePeak) -> str:
        """Returns `"compute"` or `"memory"`: which of the two takes longer on the device."""
        return "compute" if self.flops_per_byte >= peak.ridge_point else "memory"

    def roofline_seconds(self, peak: DevicePeak) -> float:
        """Computes the least time of the call: that of its arithmetic or of its memory traffic.

        Only arrays that stay in a cache make it faster.

        Returns:
          The time in seconds.
        """
        return max(self.flops / peak.flops_per_second, self.bytes_accessed / peak.bytes_per_second)


def arithmetic_intensity(network: Network, inputs: Any) -> ArithmeticIntensity:
    """Counts the FLOPs and the memory traffic of one call of the compiled evaluation pass.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`.

    Returns:
      FLOPs and bytes of the batch, both XLA's counts of the compiled program: there is no traffic
      between fused operations.

    Raises:
      ValueError: the inputs are empty or differ in their leading axis, or XLA does not know a cost.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
      >>> found = arithmetic_intensity(network, jnp.ones((8, 64)))
      >>> 2 * 8 * 64 * 10 <= found.flops < 11_000, found.bound(DevicePeak("device", 2e13, 1e12))
      (True, 'memory')
    """
    batch_size_of(inputs)
    with xla_convolutions():  # the count is that of XLA's convolutions, in whatever form they run
        program = compile_forward(network, inputs)
    accessed = float((program.cost_analysis() or {}).get("bytes accessed", 0.0))
    if accessed <= 0:
        raise ValueError(f"XLA's cost analysis gives {accessed} bytes accessed")
    return ArithmeticIntensity(program_flops(program), accessed)


def measure_device_peak(*, size: int = 1536, repeats: int = 5) -> DevicePeak:
    """Measures the peak performance of the default device.

    Args:
      size: side of the square matrices; the array that is read and written has 16 times as many
        numbers.
      repeats: number of measurements, of which the best counts.

    Returns:
      The peaks, for `ArithmeticIntensity.bound` and `ArithmeticIntensity.roofline_seconds`.

    Raises:
      ValueError: the size or the repeats are below 1.

    Example:
      >>> peak = measure_device_peak(size=256, repeats=2)
      >>> peak.flops_per_second > 0 and peak.bytes_per_second > 0
      True
    """
    if size < 1 or repeats < 1:
        raise ValueError(f"size and repeats must be at least 1, not {size} and {repeats}")
    square = jnp.ones((size, size))
    line = jnp.ones(16 * size * size)
    product = _best(jax.jit(jnp.matmul), (square, square), repeats)
    addition = _best(jax.jit(lambda x: x + 1), (line,), repeats)
    return DevicePeak(
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
