"""A warning of a teacher that is right no more often than chance would be."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import numpy as np

from jaxkd.data import Examples, raw_batch
from jaxkd.networks import Network
from jaxkd.views import Views

# Number of training examples that a teacher is tried on.
_TRIED = 64


def warn_of_chance(teacher: Any, examples: Examples, views: Views) -> None:
    """Warns of a teacher whose classes seem to be in another order than those of the data.

    Nothing refuses such a teacher, nor one that is given inputs of another range than it was
    trained with: both show in its predictions. Teachers of something else than one class an
    example, and data with fewer than 64 labeled examples, are not tried.

    Args:
      teacher: the teacher, a network or one outside of JAX; None for none.
      examples: training examples.
      views: how it sees them, without random changes.
    """
    labels, classes = examples.labels, getattr(examples, "num_classes", None)
    if teacher is None or not classes or not _are_classes(labels):
        return
    labeled = np.flatnonzero(labels >= 0)
    if len(labeled) < _TRIED:
        return
    rows = labeled[np.linspace(0, len(labeled) - 1, _TRIED).astype(int)]
    ids = examples.ids[rows]
    inputs = views.render(raw_batch(examples, views, ids, 0 * ids))["inputs"]
    logits = _logits(teacher, inputs)
    if np.shape(logits) != (_TRIED, classes):
        return
    hits = int((np.argmax(logits, -1) == labels[rows]).sum())
    if hits > _TRIED / classes:
        return
    names = list(map(str, getattr(examples, "class_names", ())))[:5]
    order = f", in this order ({', '.join(names)}{', …' * (classes > len(names))})" * bool(names)
    warnings.warn(
        f"the teacher is right on {hits} of {_TRIED} training examples, no more than chance: are "
        f"its classes those of {examples.name}{order}, and its inputs in the range that it was "
        "trained with (views=Views((Normalize(mean, std),)), --mean and --std of a command)?",
        stacklevel=4,
    )


def _are_classes(labels: Any) -> bool:
    return isinstance(labels, np.ndarray) and labels.ndim == 1 and labels.dtype.kind in "iu"


def _logits(teacher: Any, inputs: Any) -> Any:
    """Returns the logits of a batch, None where a teacher has none."""
    if not isinstance(teacher, Network):
        return teacher(jax.tree.map(np.asarray, inputs)).get("logits")
    apply = jax.jit(lambda params, state, inputs: teacher.apply(params, state, inputs)[0])
    return apply(teacher.params, teacher.state, inputs).get("logits")
