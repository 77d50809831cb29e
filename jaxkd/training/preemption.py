"""Stopping on SIGTERM, in one process or at the same step in all processes of a job."""

from __future__ import annotations

import itertools
import pathlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

# Numbers the calls of `reached`, alike in all processes of a job, whatever they train.
_calls = itertools.count()


class Preempted(Exception):
    """Training was stopped by SIGTERM, after its state was saved if it had a `workdir`.

    Attributes:
      step: number of the last step.
      exit_code: exit status with which a program should end, so that a scheduler starts it again:
        75, the EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75

    def __init__(self, step: int, workdir: pathlib.Path | None):
        saved = f"which is saved in {workdir}" if workdir else "of which nothing was saved"
        super().__init__(
            f"stopped by SIGTERM after step {step}, {saved}: start the same command again to go on"
        )
        self.step, self._workdir = step, workdir

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self._workdir)


class StopSignal:
    """Handles SIGTERM while training, in place of the end of the process.

    With several processes the signal may reach one of them: JAX's coordination service passes it on
    and names a call that all of them have yet to reach, so that they stop at the same step.

    Attributes:
      received: whether the signal reached this process, where it is the only one.
    """

    def __init__(self) -> None:
        self.received = False
        self._previous: Any = None
        self._handles = False

    def __enter__(self) -> StopSignal:
        # Python handles signals in its main thread alone; in a job of many JAX handles them.
        self._handles = (
            jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        )
        if self._handles:
            self._previous = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handles:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)

    def reached(self) -> bool:
        """Returns whether to stop now; every process calls it once after each call of the step."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(next(_calls)))
        return self.received

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.received = True
