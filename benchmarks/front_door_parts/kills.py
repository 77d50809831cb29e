"""Killing a command at chosen moments of its work."""

import pathlib
import subprocess
import time
from collections.abc import Mapping, Sequence

MOMENTS = {
    "the cache is built": "study/caches/*/*",
    "a student trains on labels": "study/labels/seed0/checkpoints/*",
    "a student trains by distillation": "study/kd/seed*/checkpoints/*",
    "the test examples are evaluated": "study/test_evaluations.json",
    "the student is exported": ".student.partial.*/student/*",
}
"""What goes on → a file below `--out` that is there from then on, in the order of the work."""
_POLL = 0.005


class NotKilledError(RuntimeError):
    """A command ended before the moment at which it was to be killed."""


def kill_at(
    pattern: str,
    out: pathlib.Path,
    command: Sequence[str],
    log: pathlib.Path,
    env: Mapping[str, str] | None = None,
) -> float:
    """Starts a command and kills it by SIGKILL as soon as a file is there.

    Args:
      pattern: of the file, below `out`.
      out: folder of the command.
      command: its words.
      log: file that its output is appended to.
      env: its environment, None for that of this process.

    Returns:
      Seconds until the kill.

    Raises:
      NotKilledError: the command ended first, or the file was there before.
    """
    if any(out.glob(pattern)):
        raise NotKilledError(f"{pattern} is in {out} before the command is started")
    started = time.monotonic()
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=env)
        while process.poll() is None:
            if any(out.glob(pattern)):
                process.kill()
                process.wait()
                return time.monotonic() - started
            time.sleep(_POLL)
    raise NotKilledError(
        f"the command ended with the status {process.returncode} before {pattern} was in {out}: "
        + " ".join(log.read_text(encoding="utf-8", errors="replace").split()[-40:])
    )
