"""When a run logs, evaluates and saves."""

from __future__ import annotations

import dataclasses

from jaxkd.networks._arguments import check_integer


@dataclasses.dataclass(frozen=True)
class Intervals:
    """The events of a run by its step number.

    Logs come every `log_every` steps, and after the last step. Evaluations and checkpoints come at
    log steps alone, so that no metrics of half an interval are in a row.

    Attributes:
      steps: number of updates in all.
      log_every: number of steps between two rows of metrics.
      eval_every: number of steps between two evaluations, a multiple of `log_every`; None for one
        after the last step.
      checkpoint_every: number of steps between two checkpoints, likewise.
      steps_per_call: number of steps in one call of the compiled program.

    Raises:
      TypeError: a number that is no integer.
      ValueError: a number below 1, or an interval that is no multiple of `log_every`.
    """

    steps: int
    log_every: int
    eval_every: int | None
    checkpoint_every: int | None
    steps_per_call: int

    def __post_init__(self):
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            check_integer(field.name, value)
            if value < 1:
                raise ValueError(f"{field.name} must be at least 1, not {value}")
        for name in ("eval_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value % self.log_every and value < self.steps:
                multiple = max(1, value // self.log_every) * self.log_every
                raise ValueError(
                    f"{name}={value} must be a multiple of log_every={self.log_every}, so that no "
                    f"metrics are lost between two rows; {multiple} is one, or log_every={value}"
                )

    def next_call(self, done: int) -> int:
        """Returns how many steps the next call makes after `done` of them, up to a log step."""
        to_log_step = self.log_every - done % self.log_every
        return min(self.steps_per_call, to_log_step, self.steps - done)

    def logs_after(self, done: int) -> bool:
        """Returns whether a log interval is over after `done` steps."""
        return self._is_due(self.log_every, done)

    def evaluates_after(self, done: int) -> bool:
        """Returns whether an evaluation follows `done` steps."""
        return self._is_due(self.eval_every, done)

    def saves_after(self, done: int) -> bool:
        """Returns whether a checkpoint follows `done` steps."""
        return self._is_due(self.checkpoint_every, done)

    def _is_due(self, every: int | None, done: int) -> bool:
        return done == self.steps or (every is not None and done % every == 0)
