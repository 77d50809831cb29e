"""What networks cost, as several experiments report it: their size, and interleaved timing."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxkd import Network
from jaxkd.compression import count_parameters, parameter_bytes
from jaxkd.study import Column, Format

# In a round, a network is called for about as long as one call of the first network takes, and
# no more often than this.
_MAX_CALLS = 50


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a network is in comparison with the first one of those that were timed.

    Attributes:
      per_second: number of examples a second, at the median duration of a call.
      ratio: median over all rounds of the first network's duration by this network's.
      low: tenth percentile of that ratio.
      high: ninetieth percentile of that ratio.
    """

    per_second: float
    ratio: float
    low: float
    high: float

    def cells(self) -> list[str | int | float]:
        """Returns the cells of a table's row below `speed_columns`."""
        return [round(self.per_second), self.ratio, f"{self.low:.1f} to {self.high:.1f}"]


SIZE_COLUMNS = (Column("Parameters", "count"), Column("Size", Format(",.1f", 1e-6, "MB")))
"""Columns of a table for `size_cells`."""


def size_cells(network: Network) -> list[int]:
    """Returns the cells of a table's row below `SIZE_COLUMNS`."""
    return [count_parameters(network.params), parameter_bytes(network.params)]


def speed_columns(examples: str) -> list[Column | str]:
    """Returns the columns of a table for the cells of `Speed`, where the teacher was timed first.

    Args:
      examples: what a network takes, in the plural, `"Sentences"` for instance.
    """
    ratio = Column("Speed relative to the teacher", "times")
    return [Column(f"{examples} a second", "count"), ratio, "Middle 80 % of rounds"]


def timing_caption(batch: str, rounds: int) -> str:
    """Returns what a table's caption says about the numbers of `interleaved_speeds`.

    Args:
      batch: what a batch consists of, `"32 sentences"` for instance.
      rounds: number of rounds.
    """
    return (
        f"Speed: batches of {batch}, {rounds} interleaved rounds; forward passes alone, of inputs "
        "that are on the device."
    )


def interleaved_speeds(
    networks: Mapping[str, Network], inputs: Any, *, rounds: int = 20
) -> dict[str, Speed]:
    """Times networks in interleaved rounds, so that other load slows all of them alike.

    Args:
      networks: networks by name; the first is what the others are compared with.
      inputs: a batch `[batch, ...]`, the same for all networks.
      rounds: number of rounds, in each of which every network is timed.

    Returns:
      The speed of each network's compiled forward pass, until its output is ready on the device.

    Raises:
      ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    passes = {name: _ForwardPass(network, inputs) for name, network in networks.items()}
    longest = next(iter(passes.values())).seconds(1)
    # Several calls of a fast network are measured together, against the resolution of the clock.
    calls = {
        name: min(_MAX_CALLS, max(1, round(longest / forward.seconds(1))))
        for name, forward in passes.items()
    }
    durations = {name: np.empty(rounds) for name in passes}
    for number in range(rounds):
        for name, forward in passes.items():
            durations[name][number] = forward.seconds(calls[name])
    first = next(iter(durations.values()))
    speeds = {}
    for name, seconds in durations.items():
        low, ratio, high = np.percentile(first / seconds, (10, 50, 90)).tolist()
        speeds[name] = Speed(len(inputs) / float(np.median(seconds)), ratio, low, high)
    return speeds


class _ForwardPass:
    """A network's compiled forward pass on a batch that is on the device."""

    def __init__(self, network: Network, inputs: Any):
        self._arguments = jax.device_put((network.params, network.state, inputs))
        self._forward = jax.jit(lambda p, s, x: network.apply(p, s, x)[0]["logits"])
        for _ in range(2):  # the first one compiles
            self.seconds(1)

    def seconds(self, calls: int) -> float:
        """Returns the mean duration of a call over several ones."""
        started = time.perf_counter()
        for _ in range(calls):
            logits = self._forward(*self._arguments)
        jax.block_until_ready(logits)
        return (time.perf_counter() - started) / calls
