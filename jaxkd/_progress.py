"""Progress as one line of plain text, in terminals, notebooks and log files alike."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

from jaxkd._files import print_any_text

# Seconds between two states of a line that is written over, and between two lines of a file.
_REWRITTEN, _WRITTEN = 0.25, 30.0


class ProgressLine:
    """A line such as `training: 1,200/10,000 steps, 41 steps/s, 3 min 34 s left, loss 0.53`.

    In a terminal and in a notebook it is written over; elsewhere, as in the file of a job, a line
    follows every half minute, and one at the end.

    Args:
      text: text before the numbers, None for no line.
      total: number of units in all.
      done: number of units made before.
      unit: plural of what is counted.
      stream: where it is written, standard error by default, since results are on the other.
      clock: returns seconds.
    """

    def __init__(
        self,
        text: str | None,
        total: int,
        done: int = 0,
        *,
        unit: str,
        stream: Any = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self._total, self._unit, self._clock = total, unit, clock
        self._stream = sys.stderr if stream is None else stream
        # Programs without a console have no standard error.
        self._text = None if self._stream is None else text
        self._rewrites = _is_rewritten(self._stream)
        self._done, self._note, self._last, self._width = done, "", "", 0
        self._begin, self._from = clock(), done
        self._shown: float | None = None if self._rewrites else self._begin
        if text is not None:
            print_any_text()

    def update(self, done: int, note: str = "") -> None:
        """Sets the number of units made, and a text after the numbers."""
        self._done, self._note = done, note
        now = self._clock()
        pause = _REWRITTEN if self._rewrites else _WRITTEN
        if self._shown is None or now - self._shown >= pause:
            self._shown = now
            self._show(self._state(now))

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Says that the call inside compiles, and then how long that took; it is no work."""
        if self._rewrites:
            self._show("compiling")
        begin = self._clock()
        yield
        self._begin, self._from = self._clock(), self._done
        self.say(f"compiled in {self._begin - begin:.1f} s")

    def say(self, message: str) -> None:
        """Writes a line that stays, after the same text."""
        self._show(message)
        self._end()

    def close(self) -> None:
        """Writes the last state."""
        self._show(self._state(self._clock()))
        self._end()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(self, *error: Any) -> None:
        self.close()

    def _state(self, now: float) -> str:
        parts = [f"{self._done:,}/{self._total:,} {self._unit}"]
        made, seconds = self._done - self._from, now - self._begin
        if made > 0 and seconds > 0:
            rate, left = made / seconds, self._total - self._done
            parts.append(f"{rate:{',.0f' if rate > 9.5 else '.2g'}} {self._unit}/s")
            parts.append(f"{_duration(left / rate)} left" if left else f"in {_duration(seconds)}")
        return ", ".join([*parts, *([self._note] if self._note else [])])

    def _show(self, message: str) -> None:
        if self._text is None:
            return
        line = f"{self._text}: {message}"
        if self._rewrites:
            # A line that wraps would not be written over.
            line = line[: max(shutil.get_terminal_size().columns - 1, 20)]
            self._write("\r" + line.ljust(self._width))
            self._width = len(line)
        elif line != self._last:
            self._write(line + "\n")
        self._last = line

    def _end(self) -> None:
        if self._rewrites and self._text is not None and self._width:
            self._write("\n")
        self._width = 0

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            # A terminal that was closed, a pipe that nobody reads: the work goes on without a line.
            self._text = None


def _is_rewritten(stream: Any) -> bool:
    """Whether a line can be written over: in a terminal, and in the output of a notebook."""
    with contextlib.suppress(AttributeError, ValueError):  # of no stream, or one that is closed
        return bool(stream.isatty()) or type(stream).__module__.startswith("ipykernel")
    return False


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if seconds < 10:
        return f"{seconds:.1f} s"
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
