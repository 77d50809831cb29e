"""How important each channel of a group is, by its weights or by a gradient."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from flax import nnx

from jaxkd.compression.pruning.channels import ChannelGroup
from jaxkd.networks._pure_module import PureModule

Importance = Callable[[ChannelGroup], Any]
"""A function from a group to one number a channel; the largest stay."""

IMPORTANCES = ("l1", "l2", "batch_norm", "taylor")


def importance_of(
    model: nnx.Module, importance: str | Importance, gradients: Mapping[str, Any] | None
) -> Importance:
    """Returns a function that scores the channels of a group; see `shrink`."""
    if callable(importance):
        return importance
    params = PureModule(model).params
    if importance == "taylor":
        shapes = {path: gradient.shape for path, gradient in (gradients or {}).items()}
        if wrong := sorted(p for p, leaf in params.items() if shapes.get(p) != leaf.shape):
            raise ValueError(
                "taylor needs gradients= like the parameters of jaxkd.from_nnx(model); they lack "
                f"{wrong[:5]} or have other shapes there"
            )

    def terms(path: str) -> np.ndarray | None:
        """What each number of a variable adds to its channel; None where it does not count."""
        leaf = params.get(path)
        if leaf is None:
            return None
        if importance == "batch_norm" and path.rpartition(".")[2] != "scale":
            return None
        if importance in ("l1", "l2") and leaf.ndim < 2:
            return None
        values = np.abs(np.asarray(leaf, np.float64))
        if importance == "taylor":
            return np.square(values * np.asarray(gradients[path], np.float64))  # type: ignore[index]
        return np.square(values) if importance == "l2" else values

    def score(group: ChannelGroup) -> np.ndarray:
        total, applies = np.zeros(group.size), False
        for lying in group.axes:
            values = terms(lying.path)
            if values is None:
                continue
            others = tuple(axis for axis in range(values.ndim) if axis != lying.axis)
            in_group = lying.channels >= 0
            # A channel may have many positions along the axis, so that plain indexing would not do.
            np.add.at(total, lying.channels[in_group], values.sum(axis=others)[in_group])
            applies = True
        if not applies:
            raise ValueError(
                f"importance={importance!r} does not apply to {group.name}, which has no such "
                f"parameters: give keep= for others, or another importance. {group}"
            )
        return np.sqrt(total) if importance == "l2" else total

    return score
