"""Generation of whole texts, token by token, in one compiled program."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.generation.decoder import CachedDecoder
from jaxkd.generation.sample import check_sampling, keys_of_rows, sample
from jaxkd.networks import PyTree


class GeneratedTokens(NamedTuple):
    """Prompts and their continuations.

    Attributes:
      tokens: `[batch, length]`, each row's prompt, its continuation right after it, and zeros.
      lengths: `[batch]`, lengths of the rows without the zeros; a stop token counts.
      prompt_lengths: `[batch]`, lengths of the prompts.
      log_probs: `[batch, length]`, log-probability of each generated token, at its own position,
        according to the network at temperature 1; 0 at all other positions.
      sampling_log_probs: `[batch, length]`, log-probability in the distribution that the token was
        sampled from.

    Example:
      >>> zeros = jnp.zeros((1, 4))
      >>> tokens, lengths, prompts = jnp.array([[5, 6, 9, 0]]), jnp.array([3]), jnp.array([2])
      >>> text = GeneratedTokens(tokens, lengths, prompts, zeros, zeros)
      >>> text.where.tolist()
      [[False, False, True, False]]
    """

    tokens: jax.Array
    lengths: jax.Array
    prompt_lengths: jax.Array
    log_probs: jax.Array
    sampling_log_probs: jax.Array

    @property
    def where(self) -> jax.Array:
        """Boolean `[batch, length]`: whether a token is generated."""
        positions = jnp.arange(self.tokens.shape[1])
        return (positions >= self.prompt_lengths[:, None]) & (positions < self.lengths[:, None])


class _LoopState(NamedTuple):
    """Carry of the loop: rows so far, their last tokens, number of steps, unfinished rows."""

    generated: GeneratedTokens
    last: jax.Array
    steps: jax.Array
    active: jax.Array


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
) -> GeneratedTokens:
    """Continues prompts, with a cache of keys and values.

    This is one loop on the device, which ends when all rows have ended; it is to be compiled with
    `jax.jit` by itself or as part of a train step. The padding after a row's prompt has no
    influence. No gradient flows through generated tokens.

    Args:
      decoder: the network, from `from_decoder`.
      params: parameters of `decoder.network`.
      state: state of `decoder.network`.
      prompts: int `[batch, prompt_length]`, padded at the end.
      prompt_lengths: int `[batch]`, at least 1 each and at most `prompt_length`; values under
        `jit` are not checked.
      max_new_tokens: number of tokens that are generated for each row at most.
      temperature: see `sample`; 0 takes the likeliest token each time.
      top_k: see `sample`.
      top_p: see `sample`.
      stop_tokens: a row ends after any of them.
      key: a PRNG key, or `[batch]` keys, one a row.

    Returns:
      `GeneratedTokens`, of `prompt_length + max_new_tokens` tokens a row.

    Raises:
      ValueError: shapes that do not fit, lengths outside of the prompts, no new tokens, a
        temperature, top_k or top_p that `sample` refuses.

    Example:
      >>> from flax import nnx
      >>> import jaxkd
      >>> from jaxkd.generation import from_decoder
      >>> decoder = from_decoder(jaxkd.models.Decoder(64, 16, 2, 4, rngs=nnx.Rngs(0)))
      >>> network = decoder.network
      >>> run = jax.jit(lambda params, prompts, lengths, key: generate(
      ...     decoder, params, network.state, prompts, lengths, max_new_tokens=4, key=key))
      >>> prompts = jnp.array([[5, 6, 7], [8, 0, 0]])
      >>> text = run(network.params, prompts, jnp.array([3, 1]), jax.random.key(0))
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

    def append(carry: _LoopState, logits: jax.Array) -> _LoopState:
        before, active = carry.generated, carry.active
        tokens, sampling_log_probs = sample(
            logits,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            # A row's key and the number of its token alone, whatever the other rows do.
            key=jax.vmap(jax.random.fold_in, (0, None))(keys, carry.steps),
        )
        log_probs = jax.nn.log_softmax(logits.astype(sampling_log_probs.dtype), axis=-1)

        def put(array: jax.Array, values: jax.Array) -> jax.Array:
            old = array[rows, before.lengths]
            values = jnp.where(active, values.astype(array.dtype), old)
            return array.at[rows, before.lengths].set(values)

        generated = before._replace(
            tokens=put(before.tokens, tokens),
            lengths=before.lengths + active,
            log_probs=put(before.log_probs, log_probs[rows, tokens]),
            sampling_log_probs=put(before.sampling_log_probs, sampling_log_probs),
        )
        return _LoopState(generated, tokens, carry.steps + 1, active & ~jnp.isin(tokens, stops))

    total = prompt_length + max_new_tokens
    inside = jnp.arange(prompt_length) < prompt_lengths[:, None]
    tokens = jnp.zeros((batch, total), jnp.int32)
    tokens = tokens.at[:, :prompt_length].set(jnp.where(inside, prompts, 0))
    logits, cache = decoder.decode(
        params, state, tokens[:, :prompt_length], decoder.init_cache(batch, total), prompt_lengths
    )
    zeros = jnp.zeros((batch, total), jnp.promote_types(logits.dtype, jnp.float32))
    start = GeneratedTokens(tokens, prompt_lengths, prompt_lengths, zeros, zeros)
    active = jnp.ones((batch,), bool)
    carry = append(_LoopState(start, prompt_lengths, jnp.int32(0), active), logits)

    def goes_on(loop: tuple[_LoopState, PyTree]) -> jax.Array:
        return (loop[0].steps < max_new_tokens) & jnp.any(loop[0].active)

    def step(loop: tuple[_LoopState, PyTree]) -> tuple[_LoopState, PyTree]:
        carry, cache = loop
        # Rows that have ended pass no new token, so that their caches stay as they are.
        counts = carry.active.astype(jnp.int32)
        logits, cache = decoder.decode(params, state, carry.last[:, None], cache, counts)
        return append(carry, logits), cache

    return jax.lax.while_loop(goes_on, step, (carry, cache))[0].generated


def _check(prompts: jax.Array, prompt_lengths: jax.Array, max_new_tokens: int) -> None:
    """Refuses prompts and lengths that do not fit, as far as they are known while tracing."""
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
