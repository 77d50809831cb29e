"""What arms are compared by: a metric, whether more of it is better, and how it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from jaxkd.metrics.in_step import Metric
from jaxkd.metrics.in_step._defaults import by_name
from jaxkd.metrics.in_step._direction import direction_of
from jaxkd.networks._arguments import suggestion


@dataclasses.dataclass(frozen=True)
class Measure:
    """A metric as arms are compared by it.

    Attributes:
      name: name of the metric.
      higher_is_better: whether larger values are better.
      is_fraction: whether it is shown in percent.
    """

    name: str
    higher_is_better: bool
    is_fraction: bool

    @property
    def title(self) -> str:
        """Its name in tables."""
        text = self.name.replace("_", " ")
        return text[:1].upper() + text[1:]

    @property
    def format(self) -> str:
        """Format of its values, a name in `FORMATS`."""
        return "percent" if self.is_fraction else "decimal"

    @property
    def difference(self) -> str:
        """Format of differences of its values."""
        return "points" if self.is_fraction else "difference"

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.higher_is_better else one < other


def measure_of(
    name: str,
    metrics: Mapping[str, Metric] | None,
    direction: str = "",
    *,
    others: Sequence[str] = (),
) -> Measure:
    """Returns a metric as arms are compared by it.

    Args:
      name: name of the metric.
      metrics: name → metric; None for the default ones.
      direction: `"max"` or `"min"`; empty for what the metric's own class says by the attribute
        `higher_is_better`, as all of the library's do.
      others: names of the scores of an evaluator of one's own.

    Raises:
      ValueError: an unknown name, or no direction.
    """
    known = by_name(metrics)
    if name not in (names := [*known, *others]):
        raise ValueError(
            f"there is no metric {name!r}{suggestion(name, names)} The metrics are: {names}"
        )
    better = direction_of(known.get(name), direction, f"metric=({name!r}, {direction!r})")
    if better is None:
        raise ValueError(
            f"whether more of the metric {name!r} is better is not known: write "
            f'metric=({name!r}, "max"), or "min", or higher_is_better = True in its class'
        )
    return Measure(name, better == "max", bool(getattr(known.get(name), "is_fraction", False)))
