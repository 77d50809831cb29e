"""Stopping on SIGTERM or Ctrl-C, in one process or at the same step in all processes of a job."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
import signal
import sys
import threading
from types import FrameType, TracebackType
from typing import Any

import jax
from jax.experimental import multihost_utils

from jaxkd.training.state import TrainState

# Numbers the calls of `reached`, alike in all processes of a job, whatever they train.
_calls = itertools.count()


class Preempted(Exception):
    """Training was stopped by SIGTERM, after its state was saved if it had a `workdir`.

    Attributes:
      step: number of the last step.
      exit_code: exit status with which a program should end, so that a scheduler starts it again:
        75, the EX_TEMPFAIL of sysexits.h.

    Example:
      >>> stopped = Preempted(120, pathlib.Path("runs/kd"))
      >>> stopped.step, stopped.exit_code
      (120, 75)
      >>> str(stopped).startswith("stopped by SIGTERM after step 120, which is saved in runs")
      True
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


class Interrupted(KeyboardInterrupt):
    """Training was stopped by Ctrl-C, after its state was saved if it had a `workdir`.

    Attributes:
      step: number of the last step.
      state: the state after it, None in another process.

    Example:
      >>> stopped = Interrupted(120, None)
      >>> stopped.step, str(stopped).startswith("stopped by Ctrl-C after step 120, which was")
      (120, True)
    """

    def __init__(self, step: int, workdir: pathlib.Path | None, state: TrainState | None = None):
        super().__init__(
            f"stopped by Ctrl-C after step {step}, which is saved in {workdir}: call fit again "
            "with the same arguments to go on"
            if workdir
            else f"stopped by Ctrl-C after step {step}, which was not saved, since there is no "
            "workdir: `except jaxkd.training.Interrupted as stopped` has stopped.state"
        )
        self.step, self.state, self._workdir = step, state, workdir

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self._workdir)


class StopSignal:
    """Handles SIGTERM and Ctrl-C while training, in place of the end of the process.

    With several processes SIGTERM may reach one of them: JAX's coordination service passes it on
    and names a call that all of them have yet to reach, so that they stop at the same step. Ctrl-C
    is then left as it is.

    Args:
      terminates: whether to handle SIGTERM as well as Ctrl-C.

    Attributes:
      received: number of the signal that reached this process, where it is the only one.
    """

    def __init__(self, terminates: bool = True) -> None:
        self.received: int | None = None
        self._terminates = terminates
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignal:
        # Python handles signals in its main thread alone; in a job of many JAX handles them.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            # A Ctrl-C that is ignored, as that of a program in the background, stays so.
            if callable(signal.getsignal(signal.SIGINT)):
                self._previous[signal.SIGINT] = signal.signal(signal.SIGINT, self._interrupt)
            if self._terminates:
                self._previous[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._receive)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler or signal.SIG_DFL)
        # It came after the last call, and would be lost.
        if error is None and self.received is not None:
            signal.raise_signal(self.received)

    def reached(self) -> bool:
        """Returns whether to stop now; every process calls it once after each call of the step."""
        if jax.process_count() > 1:
            return bool(multihost_utils.reached_preemption_sync_point(next(_calls)))
        return self.received is not None

    def error(self, state: TrainState, workdir: pathlib.Path | None) -> BaseException:
        """Returns the error that says by what, and after which step, training was stopped.

        Args:
          state: the state after the last step.
          workdir: where it is saved, None if nowhere.
        """
        if self.received == signal.SIGINT:
            return Interrupted(int(state.step), workdir, state)
        return Preempted(int(state.step), workdir)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = number

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            self._previous[signal.SIGINT](number, frame)
            return
        self.received = number
        # A write of the program's own that the signal came in the middle of refuses another one.
        with contextlib.suppress(RuntimeError, OSError):
            print(
                "\nstopping after the steps that are being made; Ctrl-C again stops at once",
                file=sys.stderr,
                flush=True,
            )
