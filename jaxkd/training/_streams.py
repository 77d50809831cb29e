"""Batches by step number, of whatever gives batches: by number, one after the other, or anew."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal, Protocol

import jax
import numpy as np

Resume = Literal["position", "skip", "as_given"]
_RESUMES = ("position", "skip", "as_given")
# Methods that say a position, and those that restore it: Grain's, and those of PyTorch.
_STATES = (("get_state", "set_state"), ("state_dict", "load_state_dict"))


class Batches(Protocol):
    """Batches by step number, such as a `jaxkd.data.Loader`."""

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step."""


class StepBatches:
    """Batches by step number, which are functions of nothing else and have no position.

    Args:
      batches: anything with `batches[step]`.
      any_fields: whether a batch may be without inputs, which a `batch_transform` makes.
    """

    def __init__(self, batches: Batches, any_fields: bool):
        self._batches, self._any_fields = batches, any_fields

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step."""
        try:
            batch = self._batches[step]
        except IndexError as error:
            length = len(self._batches) if isinstance(self._batches, list | tuple) else step + 1
            if length > step:
                raise
            raise IndexError(
                f"there is no batch for step {step}: the {type(self._batches).__name__} has "
                f"{length} batches. Train for steps={length}, or write batches * k to repeat it"
            ) from error
        return as_batch(batch, self._any_fields)

    def position(self, done: int) -> dict[str, Any] | None:
        """Returns None: the step's number says it all."""
        del done
        return None


class Stream:
    """Batches of an iterable or iterator by step number, read in order.

    An iterable that can be iterated again begins anew at its end.

    Args:
      source: what gives the batches.
      done: number of steps made before.
      saved: its position in the checkpoint that training resumes from, as `position` returned it.
      resume: how it goes on after `done` steps, see `fit`.
      any_fields: whether a batch may be without inputs, which a `batch_transform` makes.

    Raises:
      ValueError: its position is unknown after a resume, or it ended before.
    """

    def __init__(
        self, source: Iterable[Any], done: int, saved: Any, resume: Resume, any_fields: bool
    ):
        self._source, self._any_fields = source, any_fields
        self._read, self._in_pass, self._passes = done, 0, 0
        self._last: tuple[int, dict[str, Any]] | None = None
        self._iterator: Iterator[Any] | None = None
        if done and resume == "position":
            self._restore(done, saved)
        elif done and resume == "skip":
            self._read = 0
            for step in range(done):
                self._next(step)
                self._read += 1

    def __getitem__(self, step: int) -> dict[str, Any]:
        """Returns the batch of a step: the next one, or once more the one before."""
        if self._last is not None and self._last[0] == step:
            return self._last[1]
        if step != self._read:
            raise IndexError(f"a stream of batches is at step {self._read}, not at {step}")
        batch = as_batch(self._next(step), self._any_fields)
        self._last, self._read = (step, batch), step + 1
        return batch

    def position(self, done: int) -> dict[str, Any] | None:
        """Returns where the stream is, as plain data for a checkpoint.

        Args:
          done: number of steps made.

        Returns:
          The position, None where the stream says none.

        Raises:
          ValueError: it has given batches of later steps.
        """
        # Each process of a job reads a stream of its own, and a checkpoint has one document.
        if jax.process_count() > 1 or self._iterator is None:
            return None
        found = _with_methods(self._iterator, self._source)
        if found is None:
            return None
        if self._read != done:
            raise ValueError(f"its batches are at step {self._read}, and say no earlier position")
        owner, (get, _) = found
        try:
            state = _encode(getattr(owner, get)())
        except TypeError:
            return None
        return {"read": self._read, "in_pass": self._in_pass, "passes": self._passes, get: state}

    def _next(self, step: int) -> Any:
        if self._iterator is None:
            self._iterator = iter(self._source)
        try:
            batch = next(self._iterator)
        except StopIteration:
            if self._iterator is self._source or self._in_pass == 0:
                raise ValueError(self._ended(step)) from None
            self._iterator, self._in_pass = iter(self._source), 0
            self._passes += 1
            return self._next(step)
        self._in_pass += 1
        return batch

    def _ended(self, step: int) -> str:
        name = type(self._source).__name__
        if self._iterator is not self._source:
            return f"the {name} has no batch for step {step}: it is empty, or was used up before"
        return (
            f"the {name} ended before the batch of step {step}; it gave {self._in_pass} batches "
            "here. An iterator cannot begin anew: give fit what it came from (a list, a "
            "DataLoader, Grain's IterDataset), an object whose __iter__ makes a new one, an "
            "iterator that repeats, or fewer steps"
        )

    def _restore(self, done: int, saved: Any) -> None:
        name = type(self._source).__name__
        # Some restore a position as an iterable, before they are iterated.
        methods = _with_methods(self._source, None)
        if methods is None:
            self._iterator = iter(self._source)
            methods = _with_methods(self._iterator, None)
        get = next((m for m, _ in _STATES if isinstance(saved, Mapping) and m in saved), None)
        if methods is None or get != methods[1][0]:
            why = "says no position" if methods is None else "has no position in the checkpoint"
            raise ValueError(
                f"the run resumes after step {done}, and its batches are a {name} that {why}. "
                "Write fit(…, resume='skip') to read and drop those of the steps before, which is "
                "exact where it gives the same batches again; resume='as_given' to take the next "
                "ones that it gives; or give batches by step, as a jaxkd.data.Loader, or Grain's "
                "IterDataset, whose position is saved"
            )
        getattr(methods[0], methods[1][1])(_decode(saved[get]))
        if self._iterator is None:
            self._iterator = iter(self._source)
        self._in_pass, self._passes = saved["in_pass"], saved["passes"]


def by_step(
    batches: Any, done: int, saved: Any, resume: Resume, *, any_fields: bool
) -> StepBatches | Stream:
    """Returns batches by step number.

    Args:
      batches: batches by step number, an iterable of batches or an iterator.
      done: number of steps made before.
      saved: position of an iterator in the checkpoint that training resumes from, if it has one.
      resume: how an iterator goes on after a resume, see `fit`.
      any_fields: whether a batch may be without inputs, which a `batch_transform` makes.

    Returns:
      The batches, with the position that they have.

    Raises:
      TypeError: one batch, or something that gives none.
      ValueError: an iterator whose position is unknown after a resume; another word for `resume`.
    """
    if resume not in _RESUMES:
        raise ValueError(f"resume must be one of {_RESUMES}, not {resume!r}")
    if isinstance(batches, Mapping) and "inputs" in batches:
        raise TypeError("batches is one batch, not many: write [batch] * steps to repeat it")
    if hasattr(type(batches), "__getitem__"):
        return StepBatches(batches, any_fields)
    if isinstance(batches, Iterable):
        return Stream(batches, done, saved, resume, any_fields)
    raise TypeError(
        f"batches is a {type(batches).__name__}, which gives no batches: write jaxkd.data.Loader("
        "dataset, views, batch_size), a list, a generator or any other iterable of batches; call "
        "a function that returns one"
    )


def as_batch(batch: Any, any_fields: bool = False) -> dict[str, Any]:
    """Returns a batch with arrays for tensors of PyTorch and TensorFlow, and lists of numbers.

    Args:
      batch: dictionary of arrays, nested or not.
      any_fields: whether it may be without inputs.

    Returns:
      The same fields.

    Raises:
      TypeError: no dictionary; says what to write.
      ValueError: a dictionary without `"inputs"`; names its fields.
    """
    if not isinstance(batch, Mapping):
        if isinstance(batch, tuple | list) and len(batch) == 2:
            line = '({"inputs": x, "labels": y} for x, y in batches)'
        else:
            line = '({"inputs": batch} for batch in batches)'
        raise TypeError(
            f"a batch must be a dictionary, not a {_kind(batch)}: write {line}, or a class whose "
            "__iter__ yields them if it is to be iterated more than once"
        )
    if "inputs" not in batch and not any_fields:
        inputs, labels = _guess(batch)
        raise ValueError(
            f"a batch has the fields {list(batch)}, and none is 'inputs': write "
            f'({{"inputs": {inputs}, "labels": batch[{labels!r}]}} for batch in batches), '
            "or a class whose __iter__ yields them if it is to be iterated more than once"
        )
    return {
        name: jax.tree.map(_as_array, value, is_leaf=_is_list_of_numbers)
        for name, value in batch.items()
    }


def stack(batches: Batches, start: int, count: int, size: int) -> Any:
    """Stacks batches along a new first axis, filled up to `size` with the last one.

    Args:
      batches: batches by step number.
      start: the first step.
      count: number of steps.
      size: length of the new axis.

    Returns:
      The arrays of the batches, with the new axis.

    Raises:
      ValueError: batches of other shapes than the first one; names both.
    """
    if size == 1:
        return jax.tree.map(lambda leaf: leaf[None], batches[start])
    rows = [batches[start + index] for index in range(count)]
    for index, row in enumerate(rows):
        one, other = (jax.tree.map(np.shape, batch) for batch in (rows[0], row))
        if one != other:
            raise ValueError(
                f"the batch of step {start + index} has the shapes {other}, that of step {start} "
                f"has {one}: steps that are made in one call take batches of one shape. Leave out "
                "an incomplete last batch (drop_last=True, drop_remainder=True), or give "
                "fit(…, steps_per_call=1)"
            )
    rows += [rows[-1]] * (size - count)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *rows)


def _is_list_of_numbers(value: Any) -> bool:
    """Returns whether a value is a list of numbers, nested or not, as rows of Hugging Face are."""
    given = value
    while isinstance(value, list) and value:
        value = value[0]
    return isinstance(given, list) and isinstance(value, int | float)


def _as_array(leaf: Any) -> Any:
    if isinstance(leaf, np.ndarray | jax.Array):
        return leaf
    if hasattr(leaf, "detach"):  # A tensor of PyTorch, which may have a gradient or be elsewhere.
        leaf = leaf.detach().cpu()
    return leaf.numpy() if callable(getattr(leaf, "numpy", None)) else np.asarray(leaf)


def _kind(batch: Any) -> str:
    if isinstance(batch, tuple | list):
        return f"{type(batch).__name__} of {len(batch)}"
    return type(batch).__name__


def _guess(batch: Mapping[str, Any]) -> tuple[str, Any]:
    """Returns what looks like the inputs, and which field like labels, for the line to write."""
    labels = [name for name in batch if str(name).startswith(("label", "target", "y"))]
    inputs = [name for name in batch if name not in labels]
    if labels and len(inputs) > 1:
        return f"{{name: batch[name] for name in {inputs}}}", labels[0]
    return f"batch[{(inputs or ['image'])[0]!r}]", (labels or inputs[1:] or ["label"])[0]


def _with_methods(*owners: Any) -> tuple[Any, tuple[str, str]] | None:
    """Returns the first object that says and restores a position, and its methods' names."""
    for owner in owners:
        for pair in _STATES:
            if all(callable(getattr(owner, name, None)) for name in pair):
                return owner, pair
    return None


def _encode(state: Any) -> Any:
    """Returns a position as JSON can hold it."""
    if isinstance(state, np.generic):
        state = state.item()
    if state is None or isinstance(state, bool | int | float | str):
        return state
    if isinstance(state, bytes):
        return {"bytes": base64.b64encode(state).decode()}
    if isinstance(state, list | tuple):
        return {type(state).__name__: [_encode(item) for item in state]}
    if isinstance(state, Mapping):
        return {"dict": [[_encode(key), _encode(value)] for key, value in state.items()]}
    if isinstance(state, np.ndarray):
        return {"array": [state.dtype.str, list(state.shape), _encode(state.tobytes())]}
    if hasattr(state, "detach"):
        return {"tensor": _encode(state.detach().cpu().numpy())}
    raise TypeError(f"a position holds a {type(state).__name__}")


def _decode(document: Any) -> Any:
    """Returns a position as `_encode` was given it."""
    if not isinstance(document, Mapping):
        return document
    ((kind, value),) = document.items()
    match kind:
        case "bytes":
            return base64.b64decode(value)
        case "dict":
            return {_decode(key): _decode(item) for key, item in value}
        case "array":
            return np.frombuffer(_decode(value[2]), value[0]).reshape(value[1]).copy()
        case "tensor":
            import torch

            return torch.from_numpy(_decode(value))
    items = [_decode(item) for item in value]
    return tuple(items) if kind == "tuple" else items
