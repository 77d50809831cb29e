"""What pruning does to latency: the whole network, the same with half of its weights masked, and
with half of its channels cut out.

  python benchmarks/pruned.py

A mask leaves the shapes as they are, and zeros are multiplied like other numbers; channels that are
cut out are not computed. The calls of the three are interleaved, round after round, so that
whatever else the machine does falls on all of them. Weights are random: nothing is trained. Writes
the table to benchmarks/pruned.md as well. Takes about a minute.
"""

import argparse
import os
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import (
    apply_masks,
    count_parameters,
    flops,
    magnitude_masks,
    shrink,
    sparsity,
)

# Seconds for each network at each batch size, and the fewest rounds.
BUDGET, ROUNDS = 2.5, 15


def filled(make: Callable[[], nnx.Module]) -> nnx.Module:
    """A network with random weights, made without compiling an initializer for every layer."""
    random, model = np.random.default_rng(0), nnx.eval_shape(make)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        leaf = variable.get_value()
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            variable.set_value(jax.random.key(0))
        elif path[-1] == "kernel":
            scale = np.sqrt(2 / np.prod(leaf.shape[:-1]))
            variable.set_value(jnp.asarray(scale * random.normal(size=leaf.shape), leaf.dtype))
        else:
            one = path[-1] in ("scale", "var")
            variable.set_value(jnp.asarray(np.full(leaf.shape, one), leaf.dtype))
    return model


def networks() -> dict[str, tuple[nnx.Module, tuple[int, int, int]]]:
    """Networks with the shape of their images."""

    def named(name: str) -> nnx.Module:
        return filled(lambda: models.create(name, num_classes=10, rngs=nnx.Rngs(0)))

    small = filled(lambda: models.CNN((28, 28, 1), (64, 128), 128, 10, rngs=nnx.Rngs(0)))
    return {
        "CNN 64-128": (small, (28, 28, 1)),
        "resnet20": (named("resnet20"), (32, 32, 3)),
        "mobilenet_v2_cifar": (named("mobilenet_v2_cifar"), (32, 32, 3)),
    }


def timed_interleaved(calls: dict[str, Callable[[], Any]]) -> dict[str, np.ndarray]:
    """Seconds of each call in each round; the first round, which compiles, does not count."""
    for call in calls.values():
        jax.block_until_ready(call())
    times: dict[str, list[float]] = {name: [] for name in calls}
    end = time.perf_counter() + BUDGET
    while time.perf_counter() < end or len(next(iter(times.values()))) < ROUNDS:
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in times.items()}


def logits(network: jaxkd.Network) -> Callable[..., jax.Array]:
    """The forward pass; parameters are arguments, so that XLA cannot fold them away."""
    return lambda params, state, images: network.apply(params, state, images)[0]["logits"]


def rows(name: str, model: nnx.Module, shape: tuple[int, int, int]) -> list[str]:
    """Lines of the table: whole, masked, cut."""
    whole = jaxkd.from_nnx(model)
    masks = magnitude_masks(whole.params, 0.5)
    masked = whole.replace(params=apply_masks(whole.params, masks), state=whole.state)
    small, _ = shrink(model, jnp.ones((1, *shape)), keep=0.5)
    variants = {
        "whole": whole,
        "half of the weights masked": masked,
        "half of the channels cut out": jaxkd.from_nnx(small),
    }
    seconds = {}
    forwards: dict[Any, Any] = {}  # whole and masked are one program
    for batch in (1, 64):
        images = jnp.asarray(np.random.default_rng(0).normal(size=(batch, *shape)), jnp.float32)
        calls = {}
        for variant, network in variants.items():
            forward = forwards.setdefault(network.apply, jax.jit(logits(network)))
            calls[variant] = lambda f=forward, n=network, x=images: f(n.params, n.state, x)
        seconds[batch] = timed_interleaved(calls)
    lines = []
    for variant, network in variants.items():
        low, middle, high = np.percentile(seconds[1][variant], (10, 50, 90)) * 1e3
        # Ratios within a round, whose calls had the same neighbors.
        faster = np.median(seconds[1]["whole"] / seconds[1][variant])
        rates = np.percentile(64 / seconds[64][variant], (10, 50, 90))
        more = np.median(seconds[64]["whole"] / seconds[64][variant])
        image = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        lines.append(
            f"| {name} | {variant} | {count_parameters(network.params):,} | "
            f"{sparsity(network.params).total:.0%} | {flops(network, image) / 1e6:.2f} | "
            f"{middle:.2f} ({low:.2f}–{high:.2f}) | {faster:.2f}× | "
            f"{rates[1]:,.0f} ({rates[0]:,.0f}–{rates[2]:,.0f}) | {more:.2f}× |"
        )
    return lines


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    lines = [
        "Pruning by masks and by cutting channels out, with random weights: what it costs to run,",
        f"compiled for {jax.default_backend()} by jax {jax.__version__} "
        "(`python benchmarks/pruned.py`).",
        "Median (10th–90th percentile) of calls that were interleaved; × is the median of the",
        "ratios to the whole network within a round. Zeros are those in kernels, FLOPs those of an",
        f"image. The machine has {os.cpu_count()} cores; its load when this began was "
        f"{os.getloadavg()[0]:.1f}.",
        "",
        "| network | what was done | parameters | zeros | MFLOPs | ms at batch 1 | speed "
        "| images/s at batch 64 | speed |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for name, (model, shape) in networks().items():
        lines += rows(name, model, shape)
    table = "\n".join(lines) + "\n"
    print(table)
    pathlib.Path(__file__).with_name("pruned.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
