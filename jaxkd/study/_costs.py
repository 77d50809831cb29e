"""What a trained student costs: its size, and the work of a forward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd import compression
from jaxkd.networks import Network
from jaxkd.study.tables import Column, Format

PREFIX = "cost."
"""Of the names of costs among what is kept of a run."""

COLUMNS = {
    "parameters": Column("Parameters", "count"),
    "nonzero": Column("Parameters not zero", "count"),
    "bytes": Column("Bytes of the weights", "kilobytes"),
    "flops": Column("Forward pass", Format(",.1f", 1e-3, "kFLOPs")),
}
"""The costs, each with its column of a table."""


def costs_of(network: Network, flops: float) -> dict[str, np.ndarray]:
    """Returns what a network costs, by name with `PREFIX`.

    Args:
      network: the network, as it is deployed.
      flops: FLOPs of the forward pass of one example.

    Returns:
      The number of parameters and of those that are not zero, bytes of the parameters in their own
      types, as a file of weights has them, and the FLOPs.
    """
    params = network.all_params()
    nonzero = sum(np.count_nonzero(_numbers(leaf)) for leaf in jax.tree.leaves(params))
    costs = {
        "parameters": compression.count_parameters(params),
        "nonzero": nonzero,
        "bytes": compression.parameter_bytes(params),
        "flops": flops,
    }
    return {PREFIX + name: np.array(float(costs[name])) for name in COLUMNS}


def forward_flops(network: Network, inputs: Any) -> float:
    """Returns the FLOPs of the forward pass of one example, nan where XLA cannot count them."""
    try:
        return compression.flops(network, inputs)
    except ValueError:  # a loop of unknown length
        return math.nan


def kept_costs(kept: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns the costs of the runs of an arm, `[seeds]` by name; none of an earlier version's."""
    names = [n for n in COLUMNS if all(PREFIX + n in each for each in kept)]
    return {name: np.array([float(each[PREFIX + name]) for each in kept]) for name in names}


def differing(costs: Mapping[str, Mapping[str, np.ndarray]]) -> list[str]:
    """Returns the names of the costs in which arms differ by more than a hundredth.

    Parameters that are not zero are among them where those of an arm are fewer than all.

    Args:
      costs: arm → cost → values `[seeds]`.
    """

    def differs(name: str) -> bool:
        means = [float(each[name].mean()) for each in costs.values() if name in each]
        known = [mean for mean in means if not math.isnan(mean)]
        return len(known) > 1 and max(known) > 1.01 * min(known)

    dense = all(
        each["nonzero"].mean() > 0.99 * each["parameters"].mean() for each in costs.values() if each
    )
    return [name for name in COLUMNS if differs(name) and not (dense and name == "nonzero")]


def _numbers(leaf: Any) -> np.ndarray:
    """An array whose zeros can be counted, also of types that NumPy does not know."""
    return np.asarray(leaf).astype(np.float32)
