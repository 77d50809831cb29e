"""A trial of a foreign teacher on some examples, before anything is computed with it."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxkd.teachers._foreign import ForeignTeacher


def check_teacher(teacher: ForeignTeacher, inputs: Any) -> None:
    """Refuses a teacher whose outputs are not a function of each example by itself.

    It is called five times: twice on the same batch, on the batch in another order, with other
    examples beside the first ones, and on half of the batch.

    Args:
      teacher: the teacher.
      inputs: rendered views of an even number of examples, NumPy `[batch, ...]` or a dictionary.

    Raises:
      ValueError: it changes its inputs, returns numbers that are not finite, differs between two
        calls, depends on the order or the rest of the batch, or returns other shapes for fewer
        examples.
    """
    half = len(jax.tree.leaves(inputs)[0]) // 2
    outputs = _try(teacher, inputs)
    for name, value in outputs.items():
        if np.isnan(value).any():
            _refuse(teacher, f"returns {name} that are not numbers (NaN) for real examples")
    again = "differs between two calls on the same inputs: it is random, or learns while it runs;"
    _compare(teacher, outputs, _try(teacher, inputs), again)
    rolled = _try(teacher, jax.tree.map(lambda leaf: np.roll(leaf, 1, axis=0), inputs))
    rolled = {name: np.roll(value, -1, axis=0) for name, value in rolled.items()}
    _compare(teacher, outputs, rolled, "depends on the order of the batch: in another one")
    beside = jax.tree.map(
        lambda leaf: np.concatenate([leaf[:half], np.repeat(leaf[:1], len(leaf) - half, 0)]), inputs
    )
    what = "depends on the rest of the batch: beside other examples"
    _compare(teacher, _rows(outputs, half), _rows(_try(teacher, beside), half), what)
    fewer = _try(teacher, jax.tree.map(lambda leaf: leaf[:half], inputs))
    shapes = [{n: v.shape[1:] for n, v in some.items()} for some in (outputs, fewer)]
    if shapes[0] != shapes[1]:
        _refuse(
            teacher,
            f"returns other shapes for {half} examples, {shapes[1]}, than for {2 * half}, "
            f"{shapes[0]}",
        )


class _Watched:
    """The call of a teacher, which notices whether its inputs are changed."""

    def __init__(self, teacher: ForeignTeacher):
        self._teacher, self.changed = teacher, False

    def __call__(self, given: Any) -> Any:
        before = jax.tree.map(np.array, given)
        result = self._teacher.call(given)
        pairs = zip(jax.tree.leaves(before), jax.tree.leaves(given), strict=True)
        self.changed |= not all(_same(old, new) for old, new in pairs)
        return result


def _same(one: Any, two: Any) -> bool:
    one, two = np.asarray(one), np.asarray(two)
    return one.shape == two.shape and one.tobytes() == two.tobytes()


def _try(teacher: ForeignTeacher, inputs: Any) -> dict[str, np.ndarray]:
    watched = _Watched(teacher)
    outputs = dataclasses.replace(teacher, call=watched)(inputs)
    if watched.changed:
        _refuse(
            teacher,
            "changes its inputs in place: let it work on a copy, x = x.copy(), or write x = x - "
            "mean instead of x -= mean",
        )
    return outputs


def _rows(outputs: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    return {name: value[:count] for name, value in outputs.items()}


def _compare(teacher: ForeignTeacher, one: Any, two: Any, what: str) -> None:
    for name, value in one.items():
        a, b = (np.asarray(side[name], np.float64) for side in (one, two))
        finite = np.isfinite(a) & np.isfinite(b)
        if not value.size:
            continue
        difference = np.abs(np.where(finite, a, 0) - np.where(finite, b, 0)).max()
        largest = np.abs(np.where(finite, a, 0)).max()
        # The shapes are the same, so that little but the order of sums can differ.
        if difference > (1e-3 if value.dtype.itemsize > 2 else 3e-2) * largest:
            _refuse(
                teacher,
                f"{what} its {name} differ by {difference:.3g} (of at most {largest:.3g}). Dropout "
                "and batch statistics belong in evaluation mode",
            )


def _refuse(teacher: ForeignTeacher, what: str) -> None:
    raise ValueError(
        f"the teacher {teacher.name} {what}. If it is meant, allow={{'teacher.mode'}} accepts it"
    )
