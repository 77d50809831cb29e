"""What the networks of text share: their inputs."""

import jax
import jax.numpy as jnp


def tokens_and_documents(
    inputs: jax.Array, network: str, pad_id: int | None = None
) -> tuple[jax.Array, jax.Array | None]:
    """The tokens `[batch, length]`, and the number of each one's document, 0 for padding.

    Args:
      inputs: integers `[batch, length]`, or `[batch, length, 2]` with a token and the number of its
        document.
      network: for the message.
      pad_id: which token is padding where documents are not numbered.

    Returns:
      The documents `[batch, length]` are None where all tokens are of one.

    Raises:
      ValueError: inputs of another shape, or that are not integers.
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
    """The place of each token in its document, from 0 on, `[batch, length]`."""
    count = documents.shape[1]
    places = jnp.broadcast_to(jnp.arange(count), documents.shape)
    begins = jnp.concatenate(
        [jnp.ones_like(documents[:, :1], bool), documents[:, 1:] != documents[:, :-1]], axis=1
    )
    return places - jax.lax.cummax(jnp.where(begins, places, 0), axis=1)
