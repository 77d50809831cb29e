"""The metrics of several steps, added up on the device in one array."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricSums:
    """Sums and counts of metrics, `sums["loss"]` for one; added up, then divided.

    One array, since every array that goes in and out of a compiled program costs a microsecond in
    each call, which is felt beside the step of a small network.

    Attributes:
      values: `[metrics, 2]`, each row a sum and a count; `[metrics, 2, N]` of N students.
      names: of the metrics (static).
    """

    values: jax.Array
    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})

    @classmethod
    def of(cls, pairs: Mapping[str, tuple[Any, Any]]) -> "MetricSums":
        """From name → (sum, count), all of one shape."""
        return cls(jnp.stack([jnp.stack(pair) for pair in pairs.values()]), tuple(pairs))

    def __getitem__(self, name: str) -> Any:
        """The sum and the count of one metric, `[2]` or `[2, N]`."""
        return self.values[self.names.index(name)]

    def means(self) -> dict[str, Any]:
        """Name → mean; not a number where nothing was counted."""
        pairs = zip(self.names, self.values, strict=True)
        return {name: total / count for name, (total, count) in pairs}
