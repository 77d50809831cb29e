"""Tokens a second of a decoder, with cached keys and values and by whole forward passes."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
from flax import nnx

from benchmarks.generation import forms, rate
from benchmarks.gpu_parts.results import Row, attempted
from benchmarks.gpu_parts.sizes import Sizes
from jaxkd.generation import from_decoder
from jaxkd.models import Decoder


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row for each number of prompts, without a goal."""
    del until  # two calls of each program
    width, layers, heads, shared, vocabulary = sizes.decoder
    module = Decoder(vocabulary, width, layers, heads, num_kv_heads=shared, rngs=nnx.Rngs(0))
    decoder = from_decoder(module, dtype=jnp.bfloat16)

    def measure(batch: int) -> Row:
        shape = (batch, sizes.prompt)
        prompts = jax.random.randint(jax.random.key(1), shape, 1, vocabulary, jnp.int32)
        arguments = (decoder.network.params, prompts, jax.random.key(0))
        tokens = batch * sizes.new_tokens
        cached, recomputed = (
            rate(form, arguments, tokens) for form in forms(decoder, sizes.new_tokens)
        )
        numbers = {
            "Cached, tokens/s": cached,
            "Recomputed, tokens/s": recomputed,
            "Times faster": cached / recomputed,
        }
        return Row(f"{batch} prompts of {sizes.prompt}, {sizes.new_tokens} new", numbers)

    for batch in sizes.rows:
        yield attempted(f"{batch} prompts", lambda batch=batch: measure(batch))
