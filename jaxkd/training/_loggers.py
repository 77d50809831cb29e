"""Several loggers as one: checked before a run, begun with it, closed after it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jaxkd.networks._arguments import shown
from jaxkd.training.logs import Logger, Split


def check_loggers(loggers: Any) -> tuple[Logger, ...]:
    """Refuses what is no logger, before anything runs.

    Args:
      loggers: what `fit` was given.

    Returns:
      The loggers.

    Raises:
      TypeError: one logger in place of several, a class, or an object without the methods.
    """
    line = 'write loggers=[jaxkd.training.logs.WandB(project="…")], or objects with write(step, '
    line += "values, split) and close()"
    if isinstance(loggers, str | Mapping) or not isinstance(loggers, Iterable):
        raise TypeError(f"loggers must be a list of loggers, not {shown(loggers)}: {line}")
    loggers = tuple(loggers)
    for logger in loggers:
        methods = (getattr(logger, name, None) for name in ("write", "close"))
        if inspect.isclass(logger) or not all(map(callable, methods)):
            raise TypeError(f"a logger cannot be {shown(logger)}: {line}")
    return loggers


class Loggers(contextlib.ExitStack):
    """The loggers of a run; each gets all rows and is closed at its end, whatever the others do.

    Args:
      loggers: the loggers.
      step: number of steps made before.

    Attributes:
      error: the first error of one of them while it took rows, which `fit` raises when its state
        is saved.
    """

    def __init__(self, loggers: Iterable[Logger], step: int):
        super().__init__()
        self._loggers, self._step = tuple(loggers), step
        self.error: Exception | None = None

    def __enter__(self) -> Loggers:
        super().__enter__()
        with contextlib.ExitStack() as opened:
            for logger in self._loggers:
                opened.callback(logger.close)
                if hasattr(logger, "begin"):
                    logger.begin(self._step)
            self.push(opened.pop_all())
        return self

    def write(self, step: int, values: Mapping[str, float], split: Split) -> None:
        """Gives a row to each logger."""
        for logger in self._loggers:
            self._call(logger.write, step, values, split)

    def flush(self) -> None:
        """Has each logger that keeps rows back write them."""
        for logger in self._loggers:
            if hasattr(logger, "flush"):
                self._call(logger.flush)

    def _call(self, method: Callable[..., None], *arguments: Any) -> None:
        try:
            method(*arguments)
        except Exception as error:  # whatever a service far away answers
            self.error = self.error or error
