"""Whether the highest or the lowest value of a metric is the best, as the metric itself says."""

from __future__ import annotations

from jaxkd.metrics.in_step._metric import Metric


def direction_of(metric: Metric | None, given: str = "", argument: str = "") -> str | None:
    """Returns which values of a metric are better.

    Args:
      metric: the metric; None where only its name is known.
      given: `"max"` or `"min"` where the user says it, which counts before what the metric says.
      argument: what was written, for the message.

    Returns:
      `"max"` or `"min"`, None where neither the user nor the metric's class says it by its
      attribute `higher_is_better`.

    Raises:
      ValueError: another word than these two.
    """
    if given:
        if given not in ("max", "min"):
            raise ValueError(f"{argument} must end in 'min' or 'max', not {given!r}")
        return given
    higher = getattr(metric, "higher_is_better", None)
    return None if higher is None else ("max" if higher else "min")
