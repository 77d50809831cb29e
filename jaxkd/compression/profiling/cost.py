"""All that a network costs: parameters, bytes, FLOPs, latency and throughput."""

import dataclasses
from typing import Any

import jax

from jaxkd.compression.profiling._forward import batch_size_of
from jaxkd.compression.profiling.flops import flops
from jaxkd.compression.profiling.latency import Latency, latency
from jaxkd.compression.profiling.parameters import count_parameters, parameter_bytes
from jaxkd.networks import Network


@dataclasses.dataclass(frozen=True)
class NetworkCost:
    """The cost of a network.

    Attributes:
      parameters: number of parameters.
      parameter_bytes: bytes of the parameter arrays.
      flops: FLOPs of the evaluation forward pass for one example.
      single: time of a call with one example.
      batched: time of a call with the given batch.

    Example:
      >>> single, batched = Latency(0.002, 0.002, 0.003, 1), Latency(0.016, 0.015, 0.02, 32)
      >>> cost = NetworkCost(650, 2600, 1290.0, single, batched)
      >>> cost.latency_s, cost.throughput
      (0.002, 2000.0)
    """

    parameters: int
    parameter_bytes: int
    flops: float
    single: Latency
    batched: Latency

    @property
    def latency_s(self) -> float:
        """Median time of a call with one example, in seconds."""
        return self.single.median_s

    @property
    def throughput(self) -> float:
        """Examples a second in calls with the given batch."""
        return self.batched.examples_per_second


def measure_cost(
    network: Network, inputs: Any, *, repeats: int = 50, warmup: int = 5
) -> NetworkCost:
    """Measures the cost of a network.

    Args:
      network: the network, with its parameters.
      inputs: a batch as the network takes it, `[batch, ...]`. The throughput is that of this batch,
        the latency that of its first example.
      repeats: number of timed calls, for each of the two.
      warmup: number of calls before those.

    Returns:
      Parameters, bytes, FLOPs an example, and the times at batch 1 and at the whole batch.

    Raises:
      ValueError: as in `jaxkd.compression.flops` and
        `jaxkd.compression.latency`.

    Example:
      >>> import numpy as np
      >>> from flax import nnx
      >>> import jaxkd
      >>> network = jaxkd.from_nnx(nnx.Linear(64, 10, rngs=nnx.Rngs(0)))
      >>> cost = measure_cost(network, np.zeros((8, 64), np.float32), repeats=3)
      >>> cost.parameters, cost.parameter_bytes, cost.flops
      (650, 2600, 1290.0)
    """
    batch_size_of(inputs)
    first = jax.tree.map(lambda x: x[:1], inputs)
    return NetworkCost(
        parameters=count_parameters(network.all_params()),
        parameter_bytes=parameter_bytes(network.all_params()),
        flops=flops(network, inputs),
        single=latency(network, first, repeats=repeats, warmup=warmup),
        batched=latency(network, inputs, repeats=repeats, warmup=warmup),
    )
