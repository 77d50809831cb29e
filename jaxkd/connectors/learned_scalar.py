"""A learned number as an argument of the loss."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
from flax import nnx


class LearnedScalar(nnx.Module):
    """Passes a learned number to the loss as a named argument, beside the student's output.

    The learned temperature of curriculum temperature distillation (CTKD) is one.

    Args:
      name: name of the loss's parameter, `"temperature"` for instance.
      initial: initial value.

    Example:
      >>> from jaxkd import connectors
      >>> connector = connectors.LearnedScalar("theta", 1.0)
      >>> {name: float(value) for name, value in connector(2.0).items()}
      {'student': 2.0, 'theta': 1.0}
    """

    def __init__(self, name: str, initial: float):
        self.name = name
        self.value = nnx.Param(jnp.asarray(initial, jnp.float32))

    def __call__(self, student: Any) -> dict[str, Any]:
        """Returns the student's output as `student`, and the number under its name."""
        return {"student": student, self.name: self.value[...]}
