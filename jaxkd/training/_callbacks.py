"""What a caller's own functions see of a run, and how they stop it."""

from __future__ import annotations

import dataclasses
import inspect
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import numpy as np

from jaxkd.networks._arguments import shown
from jaxkd.training.distributed import all_processes
from jaxkd.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class FitEvent:
    """The end of a log interval or an evaluation, as the callbacks of `fit` see it.

    Attributes:
      step: number of steps made.
      steps: number of steps in all.
      split: `"train"` for the means over a log interval, `"eval"` for an evaluation.
      metrics: metric → number; of students that train together, float64 `[N]`. Read-only.
      state: the state after `step` steps. The next step reuses its memory, so that a callback
        copies what it keeps: `event.state.network(student)`.

    Example:
      >>> def stop_when_good(event):
      ...     return event.split == "eval" and event.metrics["accuracy"] > 0.9
      >>> stop_when_good(FitEvent(100, 1000, "eval", {"accuracy": 0.95}, state=None))
      True
    """

    step: int
    steps: int
    split: Literal["train", "eval"]
    metrics: Mapping[str, Any]
    state: TrainState

    def __post_init__(self):
        object.__setattr__(self, "metrics", types.MappingProxyType(dict(self.metrics)))


# Returns True to stop the run after the step.
Callback = Callable[[FitEvent], bool | None]


def check_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Refuses what cannot be called, before anything runs.

    Args:
      callbacks: what `fit` was given.

    Returns:
      The callbacks.

    Raises:
      TypeError: one callback in place of several, a class, or something that is not callable.
    """
    line = "write callbacks=[f], where f(event) returns True to stop and else None"
    if isinstance(callbacks, str | Mapping) or not isinstance(callbacks, Iterable):
        raise TypeError(f"callbacks must be a list of functions, not {shown(callbacks)}: {line}")
    callbacks = tuple(callbacks)
    for callback in callbacks:
        if isinstance(callback, type) or not callable(callback):
            raise TypeError(f"a callback cannot be {shown(callback)}: {line}")
        _check_takes_one("a callback", callback, "event")
    return callbacks


def check_evaluate(evaluate: Any) -> None:
    """Refuses an evaluation that cannot be called with a state, before anything runs.

    Args:
      evaluate: what `fit` was given.

    Raises:
      TypeError: something that is not callable, or takes other arguments.
    """
    if evaluate is None:
        return
    if isinstance(evaluate, type) or not callable(evaluate):
        raise TypeError(
            f"evaluate must be a function from the state to numbers, not {shown(evaluate)}: write "
            "evaluate=jaxkd.training.evaluator(make_eval_step(student), data)"
        )
    _check_takes_one("evaluate", evaluate, "state")


def _check_takes_one(role: str, function: Callable[..., Any], argument: str) -> None:
    """Refuses a function that cannot be called with one argument.

    Args:
      role: what the function is, such as `"evaluate"`.
      function: the function.
      argument: name of what it is called with.

    Raises:
      TypeError: it needs more arguments, or takes none; says what to write.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return  # Of some that are not written in Python there is none.
    try:
        signature.bind(argument)
    except TypeError as error:
        raise TypeError(
            f"{role} is called with the {argument} alone, and {shown(function)} takes {signature} "
            f"({error}): write lambda {argument}: f({argument}, …) with what else it needs"
        ) from None


def asks_to_stop(callbacks: Iterable[Callback], event: FitEvent) -> bool:
    """Calls each callback; returns whether one of them, in any process, asks to stop.

    Args:
      callbacks: all of them are called.
      event: what they see.

    Returns:
      Whether to stop, the same in every process.

    Raises:
      TypeError: a callback returns something else than True, False or None.
    """
    asked = False
    for callback in callbacks:
        answer = callback(event)
        if not (answer is None or isinstance(answer, bool | np.bool_)):
            raise TypeError(
                f"{shown(callback)} returned {shown(answer)}: a callback returns True to stop the "
                "run, and else None"
            )
        asked = asked or bool(answer)
    return not all_processes(not asked)
