"""What recipes share: the label's term, and schedules that are shares of a training."""

import jax.numpy as jnp
import optax

from jaxkd import losses
from jaxkd.objective import Objective, Schedule, Term, is_traced


def with_labels(label_weight: float, **terms: Term) -> Objective:
    """The label's cross entropy beside other terms; none if its weight is 0."""
    if not is_traced(label_weight) and label_weight == 0:
        return Objective(**terms)
    return Objective(label=Term(losses.cross_entropy, weight=label_weight), **terms)


def warmed_up(weight: float, steps: int | None, share: float) -> float | Schedule:
    """A weight that rises linearly over the first share of the steps; constant without steps."""
    length = _length(steps, share)
    return optax.linear_schedule(0.0, weight, length) if length else weight


def at_first(weight: float, steps: int | None, share: float) -> float | Schedule:
    """A weight that falls to 0 after the first share of the steps; constant without steps."""
    length = _length(steps, share)
    return (lambda step: jnp.where(step < length, weight, 0.0)) if length else weight


def afterwards(weight: float, steps: int | None, share: float) -> float | Schedule:
    """A weight that is 0 during the first share of the steps; constant without steps."""
    length = _length(steps, share)
    return (lambda step: jnp.where(step < length, 0.0, weight)) if length else weight


def _length(steps: int | None, share: float) -> int:
    if steps is None:
        return 0
    if steps < 1:
        raise ValueError(f"steps must be the steps of the whole training, at least 1, not {steps}")
    return max(1, round(share * steps))
