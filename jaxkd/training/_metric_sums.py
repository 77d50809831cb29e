"""Metrics as sums and counts: a step's own, and those of several steps in one array."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

# Metric → (sum, count) of one step. Added up over steps, devices and hosts, then divided.
SumsAndCounts = dict[str, tuple[jax.Array, jax.Array]]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricSums:
    """The metrics of several steps, added up on the device; `sums["loss"]` is one of them.

    They are one array, since every array that goes in and out of a compiled program costs a
    microsecond in each call, which counts beside the step of a small network.

    Attributes:
      values: `[metrics, 2]`, each row a sum and a count; `[metrics, 2, N]` of N students.
      names: names of the metrics (static).
    """

    values: jax.Array
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @classmethod
    def from_step(cls, metrics: Mapping[str, tuple[Any, Any]]) -> MetricSums:
        """Packs the sums and counts of one step, all of one shape."""
        return cls(jnp.stack([jnp.stack(pair) for pair in metrics.values()]), tuple(metrics))

    def __getitem__(self, name: str) -> Any:
        """Returns the sum and the count of one metric, `[2]` or `[2, N]`."""
        return self.values[self.names.index(name)]

    def means(self) -> dict[str, Any]:
        """Returns metric → mean; nan where nothing was counted."""
        pairs = zip(self.names, self.values, strict=True)
        return {name: total / count for name, (total, count) in pairs}
