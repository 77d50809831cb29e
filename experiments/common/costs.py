"""What networks cost, as the reports of several experiments show it: size, and speed in turns."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxkd import Network
from jaxkd.compression import count_parameters, parameter_bytes
from jaxkd.study import Column, Format

# A round gives each network about as long as one call of the first one, and no more calls.
_MOST_CALLS = 50


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast a network is beside another.

    Attributes:
      per_second: examples a second at the median time.
      times: the median of how many times as fast it is as the first network, round by round.
      low: the tenth percentile of that.
      high: the ninetieth.
    """

    per_second: float
    times: float
    low: float
    high: float

    def cells(self) -> list[str | int | float]:
        """What stands below `speed_columns`."""
        return [round(self.per_second), self.times, f"{self.low:.1f} to {self.high:.1f}"]


SIZE_COLUMNS = (Column("Parameters", "count"), Column("Size", Format(",.1f", 1e-6, "MB")))


def size_cells(network: Network) -> list[int]:
    """What stands below `SIZE_COLUMNS`."""
    return [count_parameters(network.params), parameter_bytes(network.params)]


def speed_columns(examples: str) -> list[Column | str]:
    """The columns of a table for a `Speed` beside the teacher's.

    Args:
      examples: what a network takes, `"Sentences"` for instance.
    """
    times = Column("Times the teacher", "times")
    return [Column(f"{examples} a second", "count"), times, "Middle 80 % of rounds"]


def how_timed(batch: str, rounds: int) -> str:
    """What a caption says of the numbers of `side_by_side`.

    Args:
      batch: what a batch is made of, `"32 sentences"` for instance.
      rounds: how often each network had its turn.
    """
    return (
        f"Speed: batches of {batch}, {rounds} rounds in which each network had its turn; the "
        "networks alone, on what they take."
    )


def side_by_side(
    networks: Mapping[str, Network], inputs: Any, *, rounds: int = 20
) -> dict[str, Speed]:
    """Times networks in turns, so that whatever else the machine does slows all of them alike.

    Args:
      networks: by name; the first is what others are compared with.
      inputs: a batch `[batch, ...]`, the same for all.
      rounds: how often each has its turn.

    Returns:
      The speed of each network: of the compiled forward pass, its answer ready on the device.

    Raises:
      ValueError: fewer than one round.
    """
    if rounds < 1:
        raise ValueError(f"rounds must be at least 1, not {rounds}")
    calls = {name: _Call(network, inputs) for name, network in networks.items()}
    longest = next(iter(calls.values())).seconds(1)
    numbers = {
        name: min(_MOST_CALLS, max(1, round(longest / call.seconds(1))))
        for name, call in calls.items()
    }
    taken = {name: np.empty(rounds) for name in calls}
    for turn in range(rounds):
        for name, call in calls.items():
            taken[name][turn] = call.seconds(numbers[name])
    first = next(iter(taken.values()))
    speeds = {}
    for name, seconds in taken.items():
        low, times, high = np.percentile(first / seconds, (10, 50, 90)).tolist()
        speeds[name] = Speed(len(inputs) / float(np.median(seconds)), times, low, high)
    return speeds


class _Call:
    """A network's compiled forward pass on a batch that is on the device."""

    def __init__(self, network: Network, inputs: Any):
        self._arguments = jax.device_put((network.params, network.state, inputs))
        self._forward = jax.jit(lambda p, s, x: network.apply(p, s, x)[0]["logits"])
        for _ in range(2):  # the first one compiles
            self.seconds(1)

    def seconds(self, calls: int) -> float:
        """Of a call, as the mean of several."""
        started = time.perf_counter()
        for _ in range(calls):
            answer = self._forward(*self._arguments)
        jax.block_until_ready(answer)
        return (time.perf_counter() - started) / calls
