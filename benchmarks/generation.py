"""Sampling with a cache of keys and values, and without.

  python benchmarks/generation.py

Times `jaxkd.generation.generate` beside the same loop with a forward pass over the whole text for
each token, and prints the table. Writes it to benchmarks/generation.md as well.
"""

import argparse
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.compression import count_parameters
from jaxkd.generation import CachedDecoder, from_decoder, generate
from jaxkd.models import Decoder

VOCABULARY, PROMPT, NEW = 2048, 32, 64
BATCHES = (1, 4, 16)


def rate(run, arguments: tuple, tokens: int) -> float:
    """Tokens a second, the better of two calls of the compiled program."""
    program = jax.jit(run).lower(*arguments).compile()
    times = []
    for _ in range(2):
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        times.append(time.perf_counter() - start)
    return tokens / min(times)


def forms(decoder: CachedDecoder, new: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Generates `new` tokens with the cache and without: `(params, prompts, key) -> tokens`."""
    network = decoder.network

    def cached(params, prompts, key):
        lengths = jnp.full((prompts.shape[0],), prompts.shape[1])
        return generate(
            decoder, params, network.state, prompts, lengths, max_new_tokens=new, key=key
        ).tokens

    def uncached(params, prompts, key):
        known = prompts.shape[1]

        def step(number, tokens):
            logits = network.apply(params, network.state, tokens)[0]["logits"]
            last = jax.lax.dynamic_index_in_dim(logits, known + number - 1, 1, keepdims=False)
            sampled = jax.random.categorical(jax.random.fold_in(key, number), last)
            return tokens.at[:, known + number].set(sampled.astype(tokens.dtype))

        return jax.lax.fori_loop(0, new, step, jnp.pad(prompts, ((0, 0), (0, new))))

    return cached, uncached


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    decoder = from_decoder(Decoder(VOCABULARY, 128, 4, 8, num_kv_heads=2, rngs=nnx.Rngs(0)))
    network = decoder.network
    lines = [
        f"Tokens a second of a decoder of {count_parameters(network.params):,} parameters (4 "
        f"layers of width 128, 8 heads that share 2 keys, {VOCABULARY:,} tokens), {NEW} tokens "
        f"behind prompts of {PROMPT}, on {jax.devices()[0].device_kind} with jax "
        f"{jax.__version__} (`python benchmarks/generation.py`).",
        "",
        "| batch | with the cache | without | ratio |",
        "|---:|---:|---:|---:|",
    ]
    for batch in BATCHES:
        prompts = jax.random.randint(jax.random.key(1), (batch, PROMPT), 1, VOCABULARY, jnp.int32)
        arguments = (network.params, prompts, jax.random.key(0))
        rates = [rate(run, arguments, batch * NEW) for run in forms(decoder, NEW)]
        lines.append(f"| {batch} | {rates[0]:,.0f} | {rates[1]:,.0f} | {rates[0] / rates[1]:.1f} |")
        print(lines[-1], flush=True)
    table = "\n".join(lines) + "\n"
    print(table)
    pathlib.Path(__file__).with_name("generation.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
