"""Running a teacher outside of JAX over batches: rendered here, computed there, encoded here."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from jaxkd.cache._contract import CacheError
from jaxkd.cache._encode import encode_batch
from jaxkd.cache._record_format import RecordFormat
from jaxkd.networks import Network
from jaxkd.networks._arguments import shown
from jaxkd.teachers import ForeignTeacher, from_callable

RUNS = Network | ForeignTeacher
"""Kinds of teachers that can be run here, where a fingerprint only names one."""

Teacher = Network | ForeignTeacher | Callable[[Any], Any]
"""What a cache is built of: a network, a foreign teacher, or a function of NumPy arrays."""


def runnable(teacher: Any, name: str | None = None) -> Network | ForeignTeacher:
    """Returns a teacher that can be run: a function of NumPy arrays becomes a foreign teacher.

    Args:
      teacher: a network, a foreign teacher, or a function.
      name: of the function.

    Raises:
      TypeError: what cannot be run, or a function without a name; says what to write.
      ValueError: a name beside a teacher that has one.
    """
    if isinstance(teacher, RUNS):
        if name is not None:
            raise ValueError(
                f"name={name!r} is for a function; this teacher is called {teacher.name} already: "
                "leave it out"
            )
        return teacher
    if remedy := _adapter(teacher):
        raise TypeError(f"the teacher is {shown(teacher)}, a model of a library: write {remedy}")
    if not callable(teacher):
        raise TypeError(
            f"the teacher is run here, so it must be a Network, not {teacher!r:.80}: make one by "
            "jaxkd.from_nnx, from_linen or from_function, or give a teacher of jaxkd.teachers or a "
            "function of NumPy arrays; outputs computed elsewhere are written by "
            "jaxkd.cache.Writer"
        )
    if name is None:
        raise TypeError(
            f"the teacher is {shown(teacher)}, which has no parameters to be known by: give it a "
            "name, name='resnet50-v2', with which a cache is opened again, or write "
            "teacher = jaxkd.teachers.from_callable(function, name='resnet50-v2'). A function of "
            "JAX is a network: jaxkd.from_function(function, params)"
        )
    return from_callable(teacher, name=name)


def _adapter(teacher: Any) -> str | None:
    """The line that adapts a model of a known library."""
    if isinstance(teacher, nnx.Module):
        return "jaxkd.from_nnx(module)"
    if isinstance(teacher, nn.Module):
        return "jaxkd.from_linen(module, variables)"
    if hasattr(teacher, "state_dict") and hasattr(teacher, "forward"):
        return "jaxkd.teachers.from_torch(module)"
    if hasattr(teacher, "get_inputs") and hasattr(teacher, "run"):
        return "jaxkd.teachers.from_onnx(session, name='…')"
    return None


def make_foreign_fn(contents: Any, records: bool = True) -> Callable[[dict[str, Any]], Any]:
    """Returns what `make_teacher_fn` returns, of a foreign teacher.

    Args:
      contents: the teacher, its data set and views, and the format of the records.
      records: whether to encode the outputs, as in `make_teacher_fn`.
    """
    teacher: ForeignTeacher = contents.teacher
    record_format: RecordFormat = contents.record_format
    encoded = jax.jit(functools.partial(encode_batch, record_format=record_format, records=records))

    def foreign_fn(batch: dict[str, Any]) -> Any:
        outputs = teacher(contents.rendered(batch))
        try:
            values = checked_outputs(
                outputs, record_format, record_format.num_logits, len(batch["id"])
            )
        except ValueError as error:
            raise CacheError(
                f"the teacher {teacher.name} does not return what the cache was created for: "
                f"{error}"
            ) from None
        numbers = {name: batch[name] for name in ("id", "view", "labels")}
        return encoded(values, numbers, contents.dataset.token_mask(batch["id"]))

    return foreign_fn


def checked_outputs(
    outputs: Mapping[str, np.ndarray], record_format: RecordFormat, width: int | None, count: int
) -> dict[str, np.ndarray]:
    """Returns the outputs that are stored, as arrays of the shapes that a cache was created for.

    Args:
      outputs: output → array.
      record_format: codecs and shapes.
      width: number of logits, padding included; None: that of their shape.
      count: number of examples.

    Raises:
      TypeError: numbers that are not real.
      ValueError: an output that is missing, of another shape, or too large for float32.
    """
    values = {}
    for name in record_format.codecs:
        if name not in outputs:
            raise ValueError(f"the cache stores {name!r}, the outputs are {sorted(outputs)}")
        values[name] = np.asarray(outputs[name])
        shape = tuple(record_format.shapes[name])
        if name == "logits":
            shape = (*shape[:-1], width or shape[-1])
        if values[name].shape != (count, *shape):
            raise ValueError(
                f"{name} of {count} examples must have the shape {(count, *shape)}, not "
                f"{values[name].shape}"
            )
        _check_real(name, values[name])
    return values


def _check_real(name: str, values: np.ndarray) -> None:
    """Refuses numbers that their conversion to 32 bits would change beyond rounding."""
    if values.dtype.kind not in "biuf" and not jnp.issubdtype(values.dtype, jnp.floating):
        raise TypeError(
            f"{name} must be real numbers, not of dtype {values.dtype}: return its real part, or "
            "both parts as outputs of their own"
        )
    if values.dtype == np.float64:
        with np.errstate(over="ignore"):
            narrow = values.astype(np.float32)
        if (bad := np.isfinite(values) & ~np.isfinite(narrow)).any():
            raise ValueError(
                f"{name} has {bad.sum()} numbers such as {values[bad][0]:.3g}, which overflow as "
                "float32, what codecs store: correct or clip them, np.clip(values, -1e30, 1e30)"
            )
