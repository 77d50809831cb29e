"""What recipes share: the term of the labels, schedules by shares of a training, embeddings."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import optax
from flax import nnx

from jaxkd import connectors, losses
from jaxkd.objective import Objective, Schedule, Term, is_traced
from jaxkd.recipes._pair import Pair


def with_labels(label_weight: float, **terms: Term) -> Objective:
    """Puts the cross entropy with the labels beside other terms, unless its weight is 0."""
    if not is_traced(label_weight) and label_weight == 0:
        return Objective(**terms)
    return Objective(label=Term(losses.cross_entropy, weight=label_weight), **terms)


def shared_with_labels(
    alpha: float | Schedule,
    loss: Callable[..., Any] = losses.cross_entropy,
    student: str | tuple[str, ...] = "logits",
    /,
    **terms: Term,
) -> Objective:
    """Puts the labels at the weight `1 - alpha` beside terms of the weight alpha.

    Args:
      alpha: weight of the teacher; at 1 there is no term of the labels.
      loss: loss of the labels.
      student: the student's output that learns them, or several.
      **terms: the other terms.

    Returns:
      An objective with the term `label`, unless alpha is 1, and the others.

    Raises:
      ValueError: alpha outside of [0, 1].
    """
    check_share("alpha", alpha)
    if not callable(alpha) and not is_traced(alpha) and alpha == 1:
        return Objective(**terms)
    weight = (lambda step: 1 - alpha(step)) if callable(alpha) else 1 - alpha
    return Objective(label=Term(loss, weight, student=student), **terms)


def check_share(name: str, share: float | Schedule) -> None:
    """Refuses a number outside of [0, 1]; schedules and what is traced pass."""
    if not callable(share) and not is_traced(share) and not 0 <= share <= 1:
        raise ValueError(f"{name} must lie in [0, 1], not {share}")


def check_steps(steps: int | None) -> None:
    """Refuses a training of fewer than one step."""
    if steps is not None and steps < 1:
        raise ValueError(
            f"steps must be the number of steps of the whole training, at least 1, not {steps}"
        )


def warmed_up(weight: float, steps: int | None, share: float) -> float | Schedule:
    """Returns a weight that rises linearly over a first share of the steps, if steps are given."""
    length = _length(steps, share)
    return optax.linear_schedule(0.0, weight, length) if length else weight


def at_first(weight: float, steps: int | None, share: float) -> float | Schedule:
    """Returns a weight that falls to 0 after a first share of the steps, if steps are given."""
    length = _length(steps, share)
    return (lambda step: jnp.where(step < length, weight, 0.0)) if length else weight


def afterwards(weight: float, steps: int | None, share: float) -> float | Schedule:
    """Returns a weight that is 0 during a first share of the steps, if steps are given."""
    length = _length(steps, share)
    return (lambda step: jnp.where(step < length, 0.0, weight)) if length else weight


def embedding_widths(pair: Pair) -> tuple[int, int]:
    """Returns the widths of the student's and the teacher's embedding."""
    return pair.width("student", "embedding"), pair.width("teacher", "embedding")


def linear_embeddings(pair: Pair, dim: int, rngs: nnx.Rngs) -> list[nnx.Module]:
    """Returns linear maps of both embeddings into one space."""
    return [connectors.Linear(width, dim, rngs=rngs) for width in embedding_widths(pair)]


def _length(steps: int | None, share: float) -> int:
    check_steps(steps)
    return 0 if steps is None else max(1, round(share * steps))
