"""What losses on tokens ask of the batch: which tokens see each other, and who wrote a row.

Nothing here is trained; a connector is how a term reaches a field of the batch.
"""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx


class TokenPairMask(nnx.Module):
    """Tells a loss of attention or relations which tokens count for which, from the inputs.

    Inputs `[batch, length, 2]` of (token, document number) let a token see those of its own
    document; number 0 is padding. Inputs `[batch, length]` know of no padding: there the tokens
    that the batch's `where` selects see each other, or all do.

    Args:
      causal: whether a token sees those up to itself alone, as in a decoder.

    Raises:
      ValueError: when called with inputs that are no tokens; with numbered documents and a batch
        whose `where` does not say for each token whether it counts, since padding would enter the
        mean.

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
        """The student's output, and `where` `[batch, tokens, tokens]`."""
        if inputs.ndim == 3 and inputs.shape[-1] == 2:
            documents = inputs[..., 1]
            if where is None or where.shape != documents.shape:
                found = None if where is None else where.shape
                raise ValueError(
                    f"tokens of shape {documents.shape} are compared one by one, and the batch's "
                    f"'where' has the shape {found}: padding would enter the mean. Give the batch "
                    "where=inputs[..., 1] > 0, or another choice of tokens"
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
    """Tells a loss which rows the student wrote, from the batch's field `by_student`.

    `jaxkd.strategies.on_policy` sets the field.

    Args:
      student: whether the rows that the student wrote are selected, or the others.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import connectors
      >>> by_student = jnp.array([True, False])
      >>> made = connectors.OnPolicyMask(student=False)(jnp.zeros((2, 3, 5)), by_student=by_student)
      >>> made["rows"]
      Array([False,  True], dtype=bool)
    """

    def __init__(self, *, student: bool):
        self.student = student

    def __call__(self, student: Any, *, by_student: jax.Array) -> dict[str, Any]:
        """The student's output, and `rows` `[batch]`."""
        return {"student": student, "rows": by_student if self.student else ~by_student}
