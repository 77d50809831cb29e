"""Text at the edges of a process, whatever its locale: the terminal, JSON of others, paths."""

import io
import sys


def print_any_text() -> None:
    """Has characters that the terminal's encoding lacks printed as `?`, not raised as an error.

    Under `LC_ALL=C` or a Windows code page, a `±` or a name would otherwise end a program after
    its work is done.
    """
    for stream in (sys.stdout, sys.stderr):
        # Streams that a notebook or a test puts there take any text already.
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="replace")
