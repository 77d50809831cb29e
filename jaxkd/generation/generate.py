"""Whole texts, token by token, in one compiled program."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.generation.decoder import CachedDecoder
from jaxkd.generation.sample import check_sampling, keys_of_rows, sample
from jaxkd.networks import PyTree


class Generated(NamedTuple):
    """Prompts and what was written behind them.

    Attributes:
      tokens: `[batch, length]`, each row's prompt, its continuation right behind, and zeros.
      lengths: `[batch]`, of the rows without the zeros; a stop token counts.
      prompt_lengths: `[batch]`.
      log_probs: `[batch, length]`, of each token that was written, at its own place, by the network
        as it is, at temperature 1; 0 at all others.
      sampling_log_probs: `[batch, length]`, by the distribution that it was drawn from.
    """

    tokens: jax.Array
    lengths: jax.Array
    prompt_lengths: jax.Array
    log_probs: jax.Array
    sampling_log_probs: jax.Array

    @property
    def where(self) -> jax.Array:
        """Boolean `[batch, length]`: which tokens were written."""
        places = jnp.arange(self.tokens.shape[1])
        return (places >= self.prompt_lengths[:, None]) & (places < self.lengths[:, None])


class _Writing(NamedTuple):
    generated: Generated
    last: jax.Array
    written: jax.Array
    going: jax.Array


def generate(
    decoder: CachedDecoder,
    params: PyTree,
    state: PyTree,
    prompts: ArrayLike,
    prompt_lengths: ArrayLike,
    *,
    max_new_tokens: int,
    temperature: ArrayLike = 1.0,
    top_k: int | None = None,
    top_p: ArrayLike | None = None,
    stop_tokens: Sequence[int] = (),
    key: jax.Array,
) -> Generated:
    """Writes on from prompts, with a cache of keys and values.

    One loop on the device, which ends when all rows have; to be compiled with `jax.jit` by itself
    or as part of a train step. Of a row's prompt only the tokens in front count, whatever the
    padding behind them is. No gradient flows through what is written.

    Args:
      decoder: made by `from_decoder`.
      params: of `decoder.network`, or others in their place.
      state: as the parameters.
      prompts: int `[batch, prompt_length]`, padded behind.
      prompt_lengths: int `[batch]`, at least 1 each and at most `prompt_length`; values under
        `jit` are not checked.
      max_new_tokens: at most so many are written for each row.
      temperature: see `sample`; 0 takes the likeliest token each time.
      top_k: see `sample`.
      top_p: see `sample`.
      stop_tokens: behind any of them a row ends.
      key: a random key, or `[batch]` keys, one a row.

    Returns:
      `Generated`, of `prompt_length + max_new_tokens` tokens a row.

    Raises:
      ValueError: shapes that do not fit, lengths outside of the prompts, no new tokens, a
        temperature, top_k or top_p that `sample` refuses.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> from jaxkd.generation import from_decoder
      >>> decoder = from_decoder(jaxkd.models.Decoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> network = decoder.network
      >>> write = jax.jit(lambda params, prompts, lengths, key: generate(
      ...     decoder, params, network.state, prompts, lengths, max_new_tokens=4, key=key))
      >>> prompts = jnp.array([[5, 6, 7], [8, 0, 0]])
      >>> text = write(network.params, prompts, jnp.array([3, 1]), jax.random.key(0))
      >>> text.tokens.shape, text.lengths
      ((2, 7), Array([7, 5], dtype=int32))
    """
    prompts, prompt_lengths = jnp.asarray(prompts), jnp.asarray(prompt_lengths)
    _check(prompts, prompt_lengths, max_new_tokens)
    check_sampling(temperature, top_k, top_p)
    batch, prompt_length = prompts.shape
    keys = keys_of_rows(key, batch)
    params, state = jax.lax.stop_gradient((params, state))
    prompt_lengths = prompt_lengths.astype(jnp.int32)
    rows, stops = jnp.arange(batch), jnp.asarray(tuple(stop_tokens), jnp.int32)

    def write(writing: _Writing, logits: jax.Array) -> _Writing:
        before, going = writing.generated, writing.going
        drawn, drawn_log_probs = sample(
            logits,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            key=jax.vmap(jax.random.fold_in, (0, None))(keys, writing.written),
        )
        own = jax.nn.log_softmax(logits.astype(drawn_log_probs.dtype), axis=-1)[rows, drawn]

        def put(array: jax.Array, values: jax.Array) -> jax.Array:
            old = array[rows, before.lengths]
            values = jnp.where(going, values.astype(array.dtype), old)
            return array.at[rows, before.lengths].set(values)

        generated = before._replace(
            tokens=put(before.tokens, drawn),
            lengths=before.lengths + going,
            log_probs=put(before.log_probs, own),
            sampling_log_probs=put(before.sampling_log_probs, drawn_log_probs),
        )
        going &= ~jnp.isin(drawn, stops)
        return _Writing(generated, drawn, writing.written + 1, going)

    total = prompt_length + max_new_tokens
    inside = jnp.arange(prompt_length) < prompt_lengths[:, None]
    tokens = jnp.zeros((batch, total), jnp.int32)
    tokens = tokens.at[:, :prompt_length].set(jnp.where(inside, prompts, 0))
    logits, cache = decoder.decode(
        params, state, tokens[:, :prompt_length], decoder.init_cache(batch, total), prompt_lengths
    )
    zeros = jnp.zeros((batch, total), jnp.promote_types(logits.dtype, jnp.float32))
    empty = Generated(tokens, prompt_lengths, prompt_lengths, zeros, zeros)
    going = jnp.ones((batch,), bool)
    writing = write(_Writing(empty, prompt_lengths, jnp.int32(0), going), logits)

    def goes_on(carry: tuple[_Writing, PyTree]) -> jax.Array:
        return (carry[0].written < max_new_tokens) & jnp.any(carry[0].going)

    def step(carry: tuple[_Writing, PyTree]) -> tuple[_Writing, PyTree]:
        writing, cache = carry
        counts = writing.going.astype(jnp.int32)
        logits, cache = decoder.decode(params, state, writing.last[:, None], cache, counts)
        return write(writing, logits), cache

    return jax.lax.while_loop(goes_on, step, (writing, cache))[0].generated


def _check(prompts: jax.Array, prompt_lengths: jax.Array, max_new_tokens: int) -> None:
    if prompts.ndim != 2 or not jnp.issubdtype(prompts.dtype, jnp.integer):
        raise ValueError(
            "prompts must be integers [batch, prompt_length], not "
            f"{prompts.dtype} of shape {prompts.shape}"
        )
    if prompt_lengths.shape != prompts.shape[:1] or not jnp.issubdtype(
        prompt_lengths.dtype, jnp.integer
    ):
        raise ValueError(
            f"prompt_lengths must be integers [{prompts.shape[0]}], one a prompt, not "
            f"{prompt_lengths.dtype} of shape {prompt_lengths.shape}"
        )
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens must be at least 1, not {max_new_tokens}")
    if not isinstance(prompt_lengths, jax.core.Tracer):
        lengths = np.asarray(prompt_lengths)
        if wrong := lengths[(lengths < 1) | (lengths > prompts.shape[1])].tolist():
            raise ValueError(
                f"prompt_lengths must lie between 1 and {prompts.shape[1]}, the length that the "
                f"prompts are padded to, not {wrong[0]}"
            )
