"""Being asked to stop: SIGTERM, on one process or agreed upon by all."""

import itertools
import pathlib
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

# The processes of a job count their calls together, whatever they train one after the other.
_calls = itertools.count()


class Preempted(Exception):
    """Training was asked to stop (SIGTERM), and has saved what it was at if it had a `workdir`.

    Attributes:
      step: the step that it stopped at.
      exit_code: what a program should end with, so that a scheduler starts it again: 75, the
        EX_TEMPFAIL of sysexits.h.
    """

    exit_code = 75

    def __init__(self, step: int, where: pathlib.Path | None):
        saved = f"which is saved in {where}" if where else "which nothing was saved of"
        super().__init__(
            f"stopped by SIGTERM after step {step}, {saved}: start the same command again to go on"
        )
        self.step = step


class StopSignal:
    """Hears SIGTERM while training, instead of dying of it.

    With several processes the notice may reach one of them: JAX's coordination service passes it on
    and names a call that all of them have yet to reach, so that they stop at the same step.

    Attributes:
      heard: whether the signal came to this process, which is alone.
    """

    def __init__(self) -> None:
        self.heard = False
        self._previous: Any = None
        self._listens = False

    def __enter__(self) -> "StopSignal":
        # Python hears signals in its main thread alone; JAX listens itself in a job of many.
        self._listens = (
            jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
        )
        if self._listens:
            self._previous = signal.signal(signal.SIGTERM, self._hear)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._listens:
            signal.signal(signal.SIGTERM, self._previous or signal.SIG_DFL)

    def reached(self) -> bool:
        """Whether to stop now; every process asks once after each call of the step."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(next(_calls)))
        return self.heard

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.heard = True
