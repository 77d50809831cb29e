"""Timing for the benchmarks: two ways of doing one thing, in alternation on the same machine."""

import dataclasses
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

# As few pairs as a median is taken of when time runs out.
FEWEST = 3


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Seconds of two functions that ran in alternation, `[pairs, 2]`."""

    seconds: np.ndarray

    @property
    def ratio(self) -> float:
        """The median over the pairs of the second's time over the first's."""
        return float(np.median(self._ratios))

    @property
    def spread(self) -> tuple[float, float]:
        """The 10th and the 90th percentile of that ratio."""
        low, high = np.percentile(self._ratios, [10, 90])
        return float(low), float(high)

    @property
    def medians(self) -> tuple[float, float]:
        """Median seconds of the first and of the second."""
        first, second = np.median(self.seconds, axis=0)
        return float(first), float(second)

    @property
    def _ratios(self) -> np.ndarray:
        return self.seconds[:, 1] / self.seconds[:, 0]


def interleaved(
    first: Callable[[], float], second: Callable[[], float], pairs: int, *, until: float = math.inf
) -> Pairs:
    """Runs two functions that return their own seconds, in alternation.

    Args:
      first: what the ratio is relative to.
      second: what is compared with it.
      pairs: how often each runs.
      until: value of `time.monotonic()` after which no pair is begun, once there are three.

    Returns:
      The seconds of each pair.
    """
    seconds: list[tuple[float, float]] = []
    for turn in range(pairs):
        if turn >= FEWEST and time.monotonic() > until:
            break
        # Who goes first alternates, since a machine's speed drifts.
        if turn % 2:
            b, a = second(), first()
        else:
            a, b = first(), second()
        seconds.append((a, b))
    return Pairs(np.array(seconds))


def timed(call: Callable[[], Any]) -> Callable[[], float]:
    """A function that calls another one, waits for the arrays it returns, and returns the seconds.

    What runs outside of JAX has to wait for itself.
    """

    def run() -> float:
        started = time.perf_counter()
        jax.block_until_ready(call())
        return time.perf_counter() - started

    return run


def timed_steps(step: Any, state: Any, batches: list[Any], *, looped: bool = False) -> Any:
    """A function that takes a training step on every batch and returns the seconds.

    Args:
      step: a `jaxkd.training.TrainStep`.
      state: where it begins; each call goes on where the last one ended.
      batches: on the device.
      looped: whether all steps run in one compiled loop rather than one a call.

    Returns:
      The function, which has run once: compilation is not in its time.
    """
    stacked = jax.device_put(jax.tree.map(lambda *x: np.stack(x), *batches)) if looped else None

    def run() -> float:
        nonlocal state
        started = time.perf_counter()
        if looped:
            state, _ = step.many(state, stacked, len(batches))
        else:
            for batch in batches:
                state, _ = step(state, batch)
        jax.block_until_ready(state.params)
        return time.perf_counter() - started

    run()
    return run
