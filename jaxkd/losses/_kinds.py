"""What a loss may declare of itself, so that it is traced once where examples are masked."""

from collections.abc import Callable
from typing import Any, TypeVar

Loss = TypeVar("Loss", bound=Callable[..., Any])


def couples_examples(loss: Loss) -> Loss:
    """Declares that a loss compares the examples of a batch with each other.

    Such a loss returns a scalar, and takes a parameter `where`, the mask of the examples that
    count, if it can leave examples out. An objective finds that out by itself, too, but by tracing
    the loss twice.

    Args:
      loss: function that returns a scalar.

    Returns:
      The same function.

    Example:
      >>> import jax.numpy as jnp
      >>> @couples_examples
      ... def spread(student, *, where=None):
      ...     return jnp.var(student, where=None if where is None else where[:, None])
      >>> spread.loss_kind
      'batch'
    """
    loss.loss_kind = "batch"  # type: ignore[attr-defined]
    return loss


def returns_sum_and_count(loss: Loss) -> Loss:
    """Declares that a loss returns the sum over the examples that count, and their number.

    It takes a parameter `where`, the mask of the examples (or tokens) that are not padding, if it
    can leave examples out, and class ids of -1 where there is no label.

    Args:
      loss: function that returns two scalars.

    Returns:
      The same function.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import Term, losses
      >>> @losses.returns_sum_and_count
      ... def error(student, labels, *, where=None):
      ...     values = jnp.abs(student[:, 0] - labels)
      ...     return losses.masked_sum_and_count(values, where)
      >>> Term(error).kind
      'sum_and_count'
    """
    loss.loss_kind = "sum_and_count"  # type: ignore[attr-defined]
    return loss
