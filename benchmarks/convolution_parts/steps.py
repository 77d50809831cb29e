"""Train steps with our convolutions and with XLA's own, one a call and in loops."""

import argparse
import contextlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

import jaxkd
from benchmarks.side_by_side import Pairs, interleaved, timed_steps
from jaxkd import TrainState, make_train_step, recipes
from jaxkd.ops import xla_convolutions
from jaxkd.training import TrainStep

LEARNING_RATE, MOMENTUM = 0.01, 0.9
SGD = optax.sgd(LEARNING_RATE, momentum=MOMENTUM)
# Steps in a loop, and students of a population.
COUNT = 8
LOSSES_APART = 1e-4
# Seconds: what is shorter is repeated within one measurement.
SHORTEST = 0.25

Context = Callable[[], contextlib.AbstractContextManager[Any]]


class Runner:
    """A train step that has been compiled and is called within a context.

    Attributes:
      loss: of the first batch; of several members, of each.
      seconds: of one step, roughly.
      one: takes a step and returns its seconds.
    """

    def __init__(
        self,
        step: TrainStep,
        make_state: Callable[[], TrainState],
        batch: Any,
        context: Context = contextlib.nullcontext,
    ):
        self._step, self._make_state, self._context = step, make_state, context
        self._batch = jax.device_put(batch)
        with context():
            state, metrics = step(make_state(), self._batch)
            self.loss = np.asarray(metrics["loss"])
            started = time.perf_counter()
            run = timed_steps(step, state, [self._batch])
            self.seconds = time.perf_counter() - started
        self.one = self._within(run)

    def loop(self) -> Callable[[], float]:
        """A function that takes `COUNT` steps in one compiled loop and returns their seconds."""
        batches = [self._batch] * COUNT
        with self._context():
            run = timed_steps(self._step, self._make_state(), batches, looped=True)
        return self._within(run)

    def _within(self, run: Callable[[], float]) -> Callable[[], float]:
        def inside() -> float:
            # What is compiled within a context is found within it alone.
            with self._context():
                return run()

        return inside


def both(student: jaxkd.Network, batch: Any) -> tuple[Runner, Runner]:
    """The student's step with our convolutions, and with XLA's own.

    Raises:
      ValueError: they give different losses.
    """
    objective = recipes.kd()
    # Two steps: what is compiled within a context is found within it alone.
    steps = [make_train_step(student, objective, SGD) for _ in range(2)]
    ours, plain = (
        Runner(step, step.init, batch, context)
        for step, context in zip(steps, (contextlib.nullcontext, xla_convolutions), strict=True)
    )
    if not np.allclose(ours.loss, plain.loss, rtol=LOSSES_APART):
        raise ValueError(f"losses differ: {ours.loss}, with XLA's convolutions {plain.loss}")
    return ours, plain


def compared(
    first: Callable[[], float],
    second: Callable[[], float],
    longest: float,
    arguments: argparse.Namespace,
) -> Pairs:
    """Times two functions in alternation.

    Args:
      first: returns its seconds; what the ratio is relative to.
      second: what is compared with it.
      longest: seconds that the slower one takes, roughly.
      arguments: of the command line.

    Returns:
      The seconds of each pair, of one call each.
    """
    calls = min(50, max(1, round(SHORTEST / longest)))
    return interleaved(
        lambda: sum(first() for _ in range(calls)) / calls,
        lambda: sum(second() for _ in range(calls)) / calls,
        arguments.repetitions,
        until=time.monotonic() + arguments.seconds,
    )
