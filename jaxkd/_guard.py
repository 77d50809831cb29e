"""Errors and warnings of a command as single lines, and what Ctrl-C leaves to be said."""

import os
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

_INTERRUPTED = 130
# Kinds whose messages are sentences; others need the name of their class.
_SENTENCES = (
    ValueError,
    TypeError,
    OSError,
    ImportError,
    NotImplementedError,
    FloatingPointError,  # of a training that diverges
)
# What JAX adds to each error that went through it.
_OF_JAX = ("For simplicity, JAX has removed", "---")


def guarded(run: Callable[[], int | None], command: Sequence[str]) -> int:
    """Calls a command; whatever it raises or warns of is a line on the standard error.

    Args:
      run: the command.
      command: its words, for what to write to go on.

    Returns:
      The exit status: what the command returned, 1 after an error, 130 after Ctrl-C, and that of an
      exception that has an `exit_code`, 75 after SIGTERM. With `JAXKD_TRACEBACK` in the environment
      errors are raised.
    """
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        try:
            return int(run() or 0)
        except KeyboardInterrupt:
            return _stopped(command, _INTERRUPTED)
        except Exception as error:
            if (status := getattr(error, "exit_code", None)) is not None:
                return _stopped(command, int(status))
            if os.environ.get("JAXKD_TRACEBACK"):
                raise
            print(f"error: {line_of(error)}", file=sys.stderr)
            return 1


def line_of(error: BaseException) -> str:
    """Returns an error, with its notes, in one line.

    Args:
      error: the error.

    Returns:
      The line. Of a kind that no check of this library raises it says how to see where it came
      from.
    """
    text = str(error)
    expected = isinstance(error, _SENTENCES) and bool(text)
    if not expected:
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    notes = [n for n in getattr(error, "__notes__", ()) if not n.startswith(_OF_JAX)]
    lines = [text, *notes, *([] if expected else ["JAXKD_TRACEBACK=1 shows where it came from"])]
    return joined("\n".join(lines))


def joined(text: str) -> str:
    """Joins lines to one; a mark stands between two of them where there is none."""
    line = ""
    for part in (" ".join(part.split()) for part in text.splitlines()):
        if line and part:
            line += " " if line[-1] in ".:;,!?" else ". " if part[0].isupper() else "; "
        line += part
    return line


def _show_warning(message: Any, *_: Any, **__: Any) -> None:
    print(f"warning: {joined(str(message))}", file=sys.stderr)


def _stopped(command: Sequence[str], status: int) -> int:
    print(f"\nstopped; to go on: {shlex.join(command)}", file=sys.stderr)
    return status
