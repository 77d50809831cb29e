"""A profiler that watches some steps of a run."""

from __future__ import annotations

import pathlib
from typing import Any

import jax


class ProfilerTrace:
    """Traces some steps, from the second call on, since the first one compiles.

    Args:
      steps: number of steps to trace, None for no trace.
      workdir: the trace is written to `profile` in it.
    """

    def __init__(self, steps: int | None, workdir: pathlib.Path | None):
        self._left, self._workdir, self._running = steps or 0, workdir, False

    def after_call(self, count: int, state: Any) -> None:
        """Starts or stops the trace where it is time.

        Args:
          count: number of steps of the call.
          state: what the call returned; a trace starts and stops when it is computed.
        """
        if self._running:
            self._left -= count
            if self._left <= 0:
                self._stop(state)
        elif self._left > 0:
            assert self._workdir is not None
            jax.block_until_ready(state)
            jax.profiler.start_trace(str(self._workdir / "profile"))
            self._running = True

    def _stop(self, state: Any) -> None:
        jax.block_until_ready(state)
        jax.profiler.stop_trace()
        self._running = False

    def __enter__(self) -> ProfilerTrace:
        return self

    def __exit__(self, *error: Any) -> None:
        if self._running:
            self._stop(None)
