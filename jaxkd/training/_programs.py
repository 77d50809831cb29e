"""The programs of a run, as digests and as the numbers in them: traced, never compiled."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.networks import PyTree
from jaxkd.networks._trace import trace
from jaxkd.training._optimizers import apply_optimizer
from jaxkd.training.make_step import as_outputs
from jaxkd.training.state import TrainState
from jaxkd.training.step import TrainStep
from jaxkd.views import Views

# Rows of the batches that programs are traced for, whatever the batch size.
_ROWS = 8


def optimizer_constants(step: TrainStep, state: TrainState) -> list[float] | None:
    """Returns the numbers in an optimizer's update, such as a learning rate.

    Args:
      step: the step.
      state: its state.

    Returns:
      At most 200 different numbers in the order of the program; None if it cannot be traced.
    """
    shapes = _member_shapes(step, state)
    arguments = (shapes.params, shapes.opt_state, shapes.params)
    try:
        closed = jax.make_jaxpr(lambda *given: _update(step, *given))(*arguments)
    except Exception:  # the step fails likewise, with its own message
        return None
    found: dict[float, None] = {}
    _collect(closed.jaxpr, found)
    for value in [*closed.consts, *jax.tree.leaves(_scalars(state.opt_state))]:
        if jnp.issubdtype(value.dtype, jnp.floating) and np.size(value) == 1:
            found[float(f"{float(np.ravel(value)[0]):.7g}")] = None
    return list(found)[:200]


def _scalars(opt_state: PyTree) -> list[Any]:
    """The hyperparameters that an optimizer keeps in its state, as inject_hyperparams does."""
    leaves = jax.tree_util.tree_leaves_with_path(opt_state)
    return [leaf for path, leaf in leaves if "hyperparams" in jax.tree_util.keystr(path)]


def _collect(program: Any, found: dict[float, None]) -> None:
    """Collects the floating-point literals of a program and of those that it calls."""
    for equation in program.eqns:
        for atom in equation.invars:
            value: Any = getattr(atom, "val", None)
            if np.ndim(value) == 0 and np.issubdtype(np.asarray(value).dtype, np.floating):
                found[float(f"{float(value):.7g}")] = None
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else (value,):
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    _collect(inner, found)


def _update(step: TrainStep, gradients: PyTree, opt_state: PyTree, params: PyTree) -> Any:
    extra: dict[str, Any] = {"value": jnp.zeros((), jnp.float32)}
    if step.options.get("split_gradients"):
        extra |= {"task_updates": gradients, "distillation_updates": gradients}
    return apply_optimizer(step.optimizer, gradients, opt_state, params, **extra)


def computations(step: TrainStep, state: TrainState, batch: Any) -> dict[str, str | None]:
    """Digests the programs of optimizer, student, teacher and objective.

    Args:
      step: the step.
      state: its state.
      batch: a batch; None for the optimizer alone.

    Returns:
      `"student.computation"` and the like → digest; None of what cannot be traced.
    """
    shapes = _member_shapes(step, state)
    arguments = (shapes.params, shapes.opt_state, shapes.params)
    optimizer = _traced(lambda *given: _update(step, *given), *arguments, numbers_are_literals=True)
    fields: dict[str, str | None] = {"optimizer.computation": optimizer and optimizer.digest}
    if batch is None or step.options.get("batch_transform"):
        return fields
    views, batch = step.views or Views(), jax.tree.map(_few_rows, dict(batch))
    try:
        rendered = dict(jax.eval_shape(views.render, batch) if step.views else batch)
        cached = jax.eval_shape(as_outputs, rendered.pop("teacher", None))
    except Exception:  # as above
        return fields
    key = jax.eval_shape(lambda: jax.random.key(0))
    student = _traced(
        lambda params, model_state, inputs, key: step.student.apply(
            params, model_state, inputs, train=True, key=key
        )[0],
        shapes.params["student"],
        shapes.model_state["student"],
        rendered["inputs"],
        key,
    )
    teacher = None
    if step.teacher is not None:
        network, train = step.teacher, bool(step.options.get("teacher_train"))
        teacher = _traced(
            lambda params, model_state, inputs, key: network.apply(
                params, model_state, inputs, train=train, key=key
            )[0],
            network.params,
            network.state,
            rendered["inputs"],
            key,
        )
        cached = teacher and teacher.shapes
    fields["student.computation"] = student and student.digest
    fields["teacher.computation"] = teacher and teacher.digest
    if student is None or (step.teacher is not None and teacher is None):
        return fields

    def objective(outputs, teacher_outputs, batch, number, params, model_state, key):
        return step.objective.evaluate(
            outputs, teacher_outputs, batch, step=number, params=params, state=model_state,
            train=True, key=key,
        )  # fmt: skip

    traced = _traced(
        objective,
        student.shapes,
        cached,
        rendered,
        shapes.step,
        shapes.params["connectors"],
        shapes.model_state["connectors"],
        key,
    )
    return {**fields, "objective.computation": traced and traced.digest}


def _few_rows(leaf: Any) -> Any:
    """The shape of a batch's array with a fixed number of rows, whatever the batch size."""
    shape, dtype = np.shape(leaf), jnp.result_type(leaf)
    return jax.ShapeDtypeStruct((_ROWS, *shape[1:]) if shape else shape, dtype)


def _traced(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """Traces a function; None where that fails, as the step then does with its own message."""
    try:
        return trace(function, *arguments, **options)
    except Exception:
        return None


def _member_shapes(step: TrainStep, state: TrainState) -> TrainState:
    """Returns the shapes of a state, of one member where it holds several."""

    def shape(leaf: Any) -> Any:
        return jax.ShapeDtypeStruct(leaf.shape[1:] if stacked else leaf.shape, leaf.dtype)

    stacked = step.members is not None
    shapes = jax.tree.map(shape, state)
    return shapes.replace(step=jax.ShapeDtypeStruct((), jnp.int32))
