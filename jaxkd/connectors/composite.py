"""Connectors made of other modules: one for each output, or one for each network."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx


class PerStage(nnx.Module):
    """One module for each of several outputs.

    Args:
      modules: one module for each output of a term that names several, in the same order; None
        leaves an output unchanged.

    Raises:
      ValueError: when called with another number of outputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connector = connectors.PerStage([connectors.Conv1x1(8, 16, rngs=nnx.Rngs(0)), None])
      >>> [x.shape for x in connector((jnp.ones((2, 7, 7, 8)), jnp.ones((2, 4))))]
      [(2, 7, 7, 16), (2, 4)]
    """

    def __init__(self, modules: Sequence[nnx.Module | None]):
        self.modules_ = nnx.List(modules)

    def __call__(self, features: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Maps a tuple of outputs, each by its own module."""
        if len(features) != len(self.modules_):
            raise ValueError(f"{len(self.modules_)} modules were given {len(features)} outputs")
        return tuple(
            x if module is None else module(x)
            for module, x in zip(self.modules_, features, strict=True)
        )


class PairedProjection(nnx.Module):
    """One module on the student's output and one on the teacher's.

    For losses that compare both in a common space. The teacher's module is trained too: pass
    `learned_teacher=True` to the loss. The teacher itself is not trained.

    Args:
      student: module for the student's output.
      teacher: module for the teacher's output.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> rngs = nnx.Rngs(0)
      >>> connector = connectors.PairedProjection(
      ...     connectors.Linear(4, 8, rngs=rngs), connectors.Linear(6, 8, rngs=rngs)
      ... )
      >>> outputs = connector(jnp.ones((2, 4)), teacher=jnp.ones((2, 6)))
      >>> {name: x.shape for name, x in outputs.items()}
      {'student': (2, 8), 'teacher': (2, 8)}
    """

    def __init__(self, student: nnx.Module, teacher: nnx.Module):
        self.student, self.teacher = student, teacher

    def __call__(self, student: jax.Array, *, teacher: jax.Array) -> dict[str, jax.Array]:
        """Returns both outputs in the common space, as `student` and `teacher`."""
        return {"student": self.student(student), "teacher": self.teacher(teacher)}
