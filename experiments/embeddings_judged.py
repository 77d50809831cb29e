"""How alike two sentence encoders are, and how fast networks are side by side."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from jaxkd import Network
from jaxkd.compression import count_parameters, parameter_bytes
from jaxkd.reporting import Column, Format

# A round gives each network about as long as one call of the first one, and no more calls.
_MOST_CALLS = 50
_NEAR = 4  # neighbours of each sentence among the near pairs
_FOUND = 10  # places in which the nearest neighbour is looked for


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of sentences on which similarities are compared.

    Attributes:
      random: int `[pairs, 2]`, of any two sentences.
      near: int `[pairs, 2]`, of a sentence and one of those that the teacher finds nearest.
      nearest: int `[sentences]`, the teacher's nearest to each.
    """

    random: np.ndarray
    near: np.ndarray
    nearest: np.ndarray

    @classmethod
    def of(cls, teacher: np.ndarray, count: int) -> "Pairs":
        """Pairs by the teacher's embeddings.

        Args:
          teacher: embeddings `[sentences, width]` of length 1.
          count: of random pairs.

        Returns:
          The pairs, always the same.

        Raises:
          ValueError: fewer sentences than neighbours are looked for.
        """
        number = len(teacher)
        if number <= _FOUND:
            raise ValueError(f"{number} sentences are too few: hold out more than {_FOUND}")
        draws = np.random.PCG64(0).random_raw(2 * count).reshape(count, 2)
        first = draws[:, 0] % number
        other = (first + 1 + draws[:, 1] % (number - 1)) % number  # never itself
        order = _neighbours(teacher, _NEAR)
        near = np.stack([np.repeat(np.arange(number), _NEAR), order.ravel()], axis=1)
        return cls(np.stack([first, other], axis=1).astype(np.int64), near, order[:, 0])


def judge(student: np.ndarray, teacher: np.ndarray, pairs: Pairs) -> dict[str, float]:
    """How far a student agrees with its teacher.

    Args:
      student: embeddings `[sentences, width]`, of any length.
      teacher: `[sentences, width]`, of the same sentences, of length 1.
      pairs: of `Pairs.of`.

    Returns:
      - `cosine`: the mean cosine of the two embeddings of a sentence;
      - `spearman`: the rank correlation of the similarities of random pairs;
      - `near`: likewise of near pairs, which are all alike and hard to rank;
      - `found`: the share of sentences whose nearest for the teacher is among ten nearest for the
        student.
    """
    student = unit(student)
    near = _neighbours(student, _FOUND)
    return {
        "cosine": float(np.mean(np.sum(student * teacher, axis=1))),
        "spearman": spearman(student, teacher, pairs.random),
        "near": spearman(student, teacher, pairs.near),
        "found": float(np.mean((near == pairs.nearest[:, None]).any(axis=1))),
    }


def spearman(student: np.ndarray, teacher: np.ndarray, pairs: np.ndarray) -> float:
    """Rank correlation of two networks' similarities.

    Args:
      student: embeddings `[sentences, width]` of length 1.
      teacher: likewise, of another width perhaps.
      pairs: int `[pairs, 2]`.

    Returns:
      From -1 to 1; 0 where all of a network's similarities are the same.
    """
    from scipy.stats import spearmanr

    first, other = pairs.T
    ours, theirs = (np.sum(x[first] * x[other], axis=1) for x in (student, teacher))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(spearmanr(ours, theirs).statistic)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors over their lengths, in float32; zeros stay."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _neighbours(vectors: np.ndarray, count: int) -> np.ndarray:
    """The nearest to each, itself left out, nearest first."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]


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
        "networks alone, without the tokenizer."
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
