"""What is evaluated during a run belongs to it: the same classes, the same normalization."""

from __future__ import annotations

import contextvars
import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax

from jaxkd import views as own_views
from jaxkd.data import Examples
from jaxkd.metrics.in_step import Metric
from jaxkd.networks import Network
from jaxkd.training._validation import is_allowed
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.views import Normalize, Views


@dataclasses.dataclass(frozen=True)
class _EvaluatedRun:
    """A run, as far as what is evaluated in it is compared with it."""

    student: Network
    batches: Any
    views: Views | None
    dtype: Any
    allow: Collection[str]


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """What a function evaluates, where that is known before it is called; its `evaluated`.

    Attributes:
      network: the network.
      views: how the examples are rendered.
      dataset: the examples.
      metrics: name → metric; None for those that labels and logits call for.
    """

    network: Network | None
    views: Views | None
    dataset: Examples
    metrics: Mapping[str, Metric] | None = None


# The run whose `evaluate` is being called.
_RUN: contextvars.ContextVar[_EvaluatedRun | None] = contextvars.ContextVar("run", default=None)


def within_run(
    evaluate: Callable[[TrainState], Mapping[str, Any]],
    step: TrainStep,
    batches: Any,
    batch: Any,
    allow: Collection[str],
) -> Callable[[TrainState], Mapping[str, Any]]:
    """Makes an evaluation whose data and views are compared with those of a run.

    Args:
      evaluate: the function that `fit` was given; whatever it evaluates the student by is compared.
      step: the step that trains.
      batches: its batches by step number; compared if they have a `dataset`, as a `Loader`.
      batch: one of them, None after the last one.
      allow: names of what may differ, as `fit` takes them.

    Returns:
      A function of the same argument and result.

    Raises:
      ValueError: what the function is known to evaluate does not belong to the run.
    """
    leaves = jax.tree.leaves((batch or {}).get("inputs"))
    dtype = leaves[0].dtype if len(leaves) == 1 else None
    views = step.views
    if views is None and not step.options.get("batch_transform"):
        views = getattr(batches, "views", None)
    run = _EvaluatedRun(
        step.student, batches, views if isinstance(views, Views) else None, dtype, allow
    )

    def in_run(function: Callable[..., Any], *arguments: Any) -> Any:
        token = _RUN.set(run)
        try:
            return function(*arguments)
        finally:
            _RUN.reset(token)

    if isinstance(known := getattr(evaluate, "evaluated", None), Evaluated):
        in_run(check_evaluated, known.network, known.views, known)
    return functools.partial(in_run, evaluate)


def check_evaluated(network: Network | None, views: Views | None, batches: Any) -> None:
    """Refuses an evaluation of the student of the present run on what does not belong to it.

    Args:
      network: the network that is evaluated; others than the student, a teacher for one, pass.
      views: how its batches are rendered.
      batches: its batches; compared if they have a `dataset`, as those of `eval_batches`.

    Raises:
      ValueError: other classes, or another normalization of raw inputs of the same type; names
        both.
    """
    run, dataset = _RUN.get(), getattr(batches, "dataset", None)
    if run is None or network is None or not isinstance(dataset, Examples):
        return
    if network.apply is not run.student.apply:
        return
    check_classes(getattr(run.batches, "dataset", None), dataset, run.allow)
    if run.views is None or run.dtype is None or is_allowed("views", run.allow):
        return
    one, other = run.views, views or Views()
    if _normalizations(one) == _normalizations(other) or not (_is_known(one) and _is_known(other)):
        return
    leaves = jax.tree.leaves(dataset.read(dataset.ids[:1], 0))
    if len(leaves) != 1 or leaves[0].dtype != run.dtype:
        return  # Prepared otherwise.
    raise ValueError(
        f"the student trains on the views {one}, and is evaluated on {other}, which normalize "
        f"otherwise: give the evaluation the run's own Normalize, make_eval_step(network, "
        f"views=Views(({', '.join(map(repr, _normalizations(one)))},))). If it is meant, "
        "allow={'views'} accepts it"
    )


def check_classes(one: Any, other: Any, allow: Collection[str]) -> None:
    """Refuses an evaluation on other classes than those of the training data.

    Args:
      one: data set that trains; compared if both are `Examples`.
      other: data set of the evaluation.
      allow: names of what may differ.

    Raises:
      ValueError: another number of classes, or other names of classes; names both.
    """
    if not (isinstance(one, Examples) and isinstance(other, Examples)):
        return
    for field in ("num_classes", "class_names"):
        there, now = _in_both(getattr(one, field), getattr(other, field))
        if there and now and there != now and not is_allowed(f"dataset.{field}", allow):
            raise ValueError(
                f"the batches are of {one.name} with {field} {there}, the evaluation of "
                f"{other.name} with {now}: evaluate on the same classes in the same order, or "
                f"give allow={{'dataset.{field}'}}"
            )


def _in_both(one: Any, other: Any) -> tuple[Any, Any]:
    """Classes of the label sets that both have; nothing where only one has them by name."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        names = one.keys() & other.keys()
        return {n: one[n] for n in names}, {n: other[n] for n in names}
    return (None, None) if isinstance(one, Mapping) or isinstance(other, Mapping) else (one, other)


def _normalizations(views: Views) -> list[Normalize]:
    return [transform for transform in views.transforms if isinstance(transform, Normalize)]


def _is_known(views: Views) -> bool:
    """Whether no transform is or wraps one's own, which may normalize as well."""
    own = {value for value in vars(own_views).values() if isinstance(value, type)}
    own -= {own_views.Augment, own_views.OnHost}
    return all(type(transform) in own for transform in views.transforms)
