"""Checks that what is given as a data set or a batch is one."""

from collections.abc import Mapping
from typing import Any

from jaxkd.data._examples import Examples


def check_examples(dataset: Any) -> None:
    """Refuses what is no data set.

    Args:
      dataset: what was given.

    Raises:
      TypeError: something else; shows how a data set is made.
    """
    if not isinstance(dataset, Examples):
        raise TypeError(
            f"dataset must name its examples by ids, and an object of the class "
            f"{type(dataset).__name__} does not: write Dataset.from_arrays(inputs, labels, "
            "name='mine', split='train', num_classes=10), or data.from_sequence for what is read "
            "on demand"
        )


def check_batch(batch: Any) -> None:
    """Refuses what is no batch.

    Args:
      batch: what was given.

    Raises:
      TypeError: no mapping; shows how one is made.
      ValueError: a mapping without inputs; names its fields.
    """
    if not isinstance(batch, Mapping):
        made = {
            "tuple": "(inputs, labels) is {'inputs': inputs, 'labels': labels}",
            "Loader": "a loader has many: batch = loader[0], or fit(step, state, loader, steps=…)",
        }.get(type(batch).__name__, "write {'inputs': …, 'labels': …}")
        raise TypeError(
            "a batch is a dictionary of arrays, not an object of the class "
            f"{type(batch).__name__}: {made}"
        )
    if "inputs" not in batch:
        raise ValueError(
            "a batch needs 'inputs', what the student is called with; this one has "
            f"{sorted(batch)}: write {{'inputs': …, 'labels': …}}, with a dictionary as the inputs "
            "where the network takes several"
        )
