"""What recipes for text share: masks of tokens, layers, and terms of hidden states."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd import connectors
from jaxkd.losses._arguments import to_rank
from jaxkd.objective import Term
from jaxkd.recipes._pair import Pair


def uniform_layers(student: int, teacher: int) -> list[tuple[int, int]]:
    """Returns the teacher's layer for each of the student's, evenly spread, the last for the last.

    Args:
      student: number of layers of the student.
      teacher: number of layers of the teacher, at least as many.

    Returns:
      Pairs of numbers from 1 on: `(m, m * teacher / student)`, rounded up.

    Raises:
      ValueError: fewer than one layer, or more of the student than of the teacher.

    Example:
      >>> uniform_layers(4, 12)
      [(1, 3), (2, 6), (3, 9), (4, 12)]

    Reference:
      Jiao et al., TinyBERT, Findings of EMNLP 2020, section 3.
    """
    if not 1 <= student <= teacher:
        raise ValueError(
            f"a student of {student} layers cannot be matched with a teacher of {teacher}: it "
            "needs at least one, and no more than the teacher"
        )
    return [(m, -(-m * teacher // student)) for m in range(1, student + 1)]


def present(batch: Mapping[str, Any]) -> jax.Array | None:
    """Returns which tokens are not padding, whether or not they have a label.

    A `Loader` of token rows selects those with a next token, which losses that need no labels have
    no reason to keep to: they also learn from prompts, and from a text's last token.

    Args:
      batch: `"inputs"` `[batch, length, 2]` of (token, document number) or `[batch, length]`, and
        optionally `"where"`, `[batch]` or `[batch, length]`.

    Returns:
      bool `[batch, length]`: the tokens with a document number, in the rows that a `"where"` of
      rows selects. A `"where"` of tokens counts only where documents are not numbered, and is then
      what is returned, None included: it alone marks padding.

    Example:
      >>> import jax.numpy as jnp
      >>> inputs = jnp.array([[[7, 1], [8, 1], [0, 0]]])
      >>> present({"inputs": inputs, "where": jnp.array([[True, False, False]])}).tolist()
      [[True, True, False]]
    """
    inputs, where = batch["inputs"], batch.get("where")
    if inputs.shape[2:] != (2,) or not jnp.issubdtype(inputs.dtype, jnp.integer):
        return where
    tokens = inputs[..., 1] > 0
    return tokens & where[:, None] if where is not None and where.ndim == 1 else tokens


def mask_of_tokens(mask: jax.Array, tokens: jax.Array) -> jax.Array:
    """Returns a mask of rows or tokens as one of tokens."""
    return jnp.broadcast_to(to_rank(mask, tokens.ndim), tokens.shape)


def hidden_term(loss, pair: Pair, student: str, teacher: str, weight, rngs: nnx.Rngs) -> Term:
    """Returns a term of hidden states, with a linear map where the widths differ."""
    widths = pair.width("student", student), pair.width("teacher", teacher)
    linear = connectors.Linear(*widths, rngs=rngs) if widths[0] != widths[1] else None
    return Term(loss, weight, None, student, teacher, linear, present)


def logits_mask(pair: Pair) -> Callable[[Mapping[str, Any]], jax.Array | None] | None:
    """Returns `present` where logits are of tokens; those of whole texts are left to the batch."""
    return present if len(pair.shape("student", "logits")) == 3 else None


def check_heads(pair: Pair, student: str, teacher: str) -> None:
    """Refuses outputs of different numbers of heads."""
    heads = pair.shape("student", student)[1], pair.shape("teacher", teacher)[1]
    if heads[0] != heads[1]:
        raise ValueError(
            f"the student's {student!r} has {heads[0]} heads, the teacher's {teacher!r} "
            f"{heads[1]}: build the student with as many, or use minilm with relation_heads"
        )
