"""The inputs of networks of text."""

import jax
import jax.numpy as jnp


def tokens_and_documents(
    inputs: jax.Array, network: str, pad_id: int | None = None
) -> tuple[jax.Array, jax.Array | None]:
    """Separates the tokens `[batch, length]` from the numbers of their documents, 0 for padding.

    Args:
      inputs: integers `[batch, length]`, or `[batch, length, 2]` with a token and the number of its
        document.
      network: name of the network, for the message.
      pad_id: token that is padding where documents are not numbered.

    Returns:
      The tokens and the documents, each `[batch, length]`; the latter are None where all tokens are
      of one document.

    Raises:
      ValueError: the inputs have another shape, or are not integers.
    """
    shape = jnp.shape(inputs)
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[-1] != 2):
        raise ValueError(
            f"{network} takes tokens [batch, length], or [batch, length, 2] with the number of "
            f"each token's document, not {shape}"
        )
    inputs = jnp.asarray(inputs)
    if not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise ValueError(f"{network} takes tokens as integers, not as {inputs.dtype}")
    if inputs.ndim == 3:
        return inputs[..., 0], inputs[..., 1]
    return inputs, None if pad_id is None else (inputs != pad_id).astype(jnp.int32)


def positions_of(documents: jax.Array) -> jax.Array:
    """Computes the position of each token in its document, from 0, `[batch, length]`."""
    count = documents.shape[1]
    columns = jnp.broadcast_to(jnp.arange(count), documents.shape)
    begins = jnp.concatenate(
        [jnp.ones_like(documents[:, :1], bool), documents[:, 1:] != documents[:, :-1]], axis=1
    )
    return columns - jax.lax.cummax(jnp.where(begins, columns, 0), axis=1)
