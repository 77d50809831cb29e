"""The time of a forward pass."""

import dataclasses
import time
from typing import Any

import jax
import numpy as np

from jaxkd.compression.profiling._forward import batch_size_of, forward_of
from jaxkd.networks import Network


@dataclasses.dataclass(frozen=True)
class Latency:
    """The time of one call of a compiled forward pass, over many calls.

    Attributes:
      median_s: median time of a call, in seconds.
      p10_s: 10th percentile, in seconds: the time on an idle machine.
      p90_s: 90th percentile, in seconds.
      batch_size: number of examples in a call.

    Example:
      >>> Latency(median_s=0.004, p10_s=0.003, p90_s=0.006, batch_size=32).examples_per_second
      8000.0
    """

    median_s: float
    p10_s: float
    p90_s: float
    batch_size: int

    @property
    def examples_per_second(self) -> float:
        """Examples a second at the median time."""
        return self.batch_size / self.median_s


def latency(network: Network, inputs: Any, *, repeats: int = 50, warmup: int = 5) -> Latency:
    """Times the compiled evaluation forward pass.

    Every call is timed on its own until its result is ready on the device. Inputs and parameters
    are on the device before the clock starts, so their transfer is not part of the time.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`.
      repeats: number of timed calls.
      warmup: number of calls before those; the first of them compiles.

    Returns:
      Median, 10th and 90th percentile of the times, in seconds.

    Raises:
      ValueError: `repeats` or `warmup` is below one, or the inputs are empty or differ in their
        leading axis.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
      >>> measured = latency(network, np.zeros((8, 64), np.float32), repeats=10)
      >>> measured.batch_size, 0 < measured.p10_s <= measured.median_s <= measured.p90_s
      (8, True)
    """
    if repeats < 1 or warmup < 1:
        raise ValueError(
            f"repeats and warmup must be at least 1, got repeats={repeats} and warmup={warmup}: "
            "the first call compiles and must not be timed"
        )
    batch_size = batch_size_of(inputs)
    arguments = jax.device_put((network.params, network.state, inputs))
    forward = jax.jit(forward_of(network))
    for _ in range(warmup):
        jax.block_until_ready(forward(*arguments))
    times = np.empty(repeats)
    for i in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(forward(*arguments))
        times[i] = time.perf_counter() - start
    p10, median, p90 = (float(t) for t in np.percentile(times, (10, 50, 90)))
    return Latency(median_s=median, p10_s=p10, p90_s=p90, batch_size=batch_size)
