"""Masks for losses on tokens, computed from fields of the batch.

Nothing here is trained; a connector gives a term access to a field of the batch.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class TokenPairMask(nnx.Module):
    """The pairs of tokens that attend to each other, as the mask of an attention loss.

    In inputs `[batch, length, 2]` of (token, document number), a token attends to those of its
    document; number 0 is padding. Inputs `[batch, length]` do not mark padding: there the tokens
    that the batch's `where` selects attend to each other, or all tokens without it.

    Args:
      causal: whether a token attends only to itself and earlier tokens, as in a decoder.

    Raises:
      ValueError: when called with inputs that are not tokens; with numbered documents and a batch
        without a `where` for each token, since padding would enter the mean.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import connectors
      >>> inputs = jnp.stack([jnp.array([[7, 8, 9, 5]]), jnp.array([[1, 1, 2, 0]])], axis=-1)
      >>> where = inputs[..., 1] > 0
      >>> mask = connectors.TokenPairMask(causal=True)
      >>> arguments = mask(jnp.zeros((1, 2, 4, 4)), inputs=inputs, where=where)
      >>> arguments["where"][0].astype(int).tolist()
      [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    """

    def __init__(self, *, causal: bool = False):
        self.causal = causal

    def __call__(
        self, student: Any, *, inputs: jax.Array, where: jax.Array | None = None
    ) -> dict[str, Any]:
        """Returns the student's output as `student`, and `where` `[batch, tokens, tokens]`."""
        if inputs.ndim == 3 and inputs.shape[-1] == 2:
            documents = inputs[..., 1]
            if where is None or where.shape != documents.shape:
                shape = None if where is None else where.shape
                raise ValueError(
                    f"tokens of shape {documents.shape} are compared one by one, and the batch's "
                    f"'where' has the shape {shape}: padding would enter the mean. Give the batch "
                    "where=inputs[..., 1] > 0, or another selection of tokens"
                )
        elif inputs.ndim == 2:
            documents = jnp.ones(inputs.shape, jnp.int32)
            if where is not None and where.shape == inputs.shape:
                documents = where.astype(jnp.int32)
        else:
            raise ValueError(
                "inputs must be tokens [batch, length], or [batch, length, 2] with (token, "
                f"document number) last, got shape {inputs.shape}"
            )
        pairs = (documents[:, :, None] == documents[:, None, :]) & (documents > 0)[:, :, None]
        if self.causal:
            pairs = jnp.tril(pairs)
        return {"student": student, "where": pairs}


class OnPolicyMask(nnx.Module):
    """The rows that the student has generated, from the batch's field `by_student`.

    `jaxkd.strategies.on_policy` sets the field.

    Args:
      student: whether to select the rows that the student has generated, or the other rows.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import connectors
      >>> by_student = jnp.array([True, False])
      >>> mask = connectors.OnPolicyMask(student=False)
      >>> mask(jnp.zeros((2, 3, 5)), by_student=by_student)["rows"]
      Array([False,  True], dtype=bool)
    """

    def __init__(self, *, student: bool):
        self.student = student

    def __call__(self, student: Any, *, by_student: jax.Array) -> dict[str, Any]:
        """Returns the student's output as `student`, and `rows` `[batch]`."""
        return {"student": student, "rows": by_student if self.student else ~by_student}
