"""All networks that can be made by name: parameters, and FLOPs of the forward pass.

  python benchmarks/models.py

Traces every network with shapes in the place of arrays, so that no weights are made, and prints the
table. Writes it to benchmarks/models.md as well.
"""

import argparse
import pathlib

import jax
import jax.numpy as jnp
from flax import nnx

import jaxkd
from jaxkd import models
from jaxkd.compression import count_parameters, flops


def row(name: str) -> str:
    """A line of the table; raises where the parameters are not as many as published."""
    entry = models.entry(name)
    network = jaxkd.from_nnx(nnx.eval_shape(lambda: models.create(name, rngs=nnx.Rngs(0))))
    image = jax.ShapeDtypeStruct((1, entry.image_size, entry.image_size, 3), jnp.float32)
    parameters = count_parameters(network.params)
    if entry.parameters not in (None, parameters):
        raise ValueError(f"{name} has {parameters} parameters, not {entry.parameters}")
    return (
        f"| {name} | {entry.family} | {entry.image_size} | {entry.num_classes} | "
        f"{parameters:,} | {flops(network, image) / 1e6:,.1f} | {entry.reference} |"
    )


def main() -> None:
    argparse.ArgumentParser(description=__doc__.split("\n\n")[0]).parse_args()
    lines = [
        "Networks of `jaxkd.models`, with the images and classes that they were published for.",
        "FLOPs of the forward pass, an image, by XLA's analysis of the lowered program: a",
        "multiply-add is two, taps of a convolution on its padding are none. Counted by jax",
        f"{jax.__version__} (`python benchmarks/models.py`).",
        "",
        "| network | family | pixels a side | classes | parameters | MFLOPs | reference |",
        "|---|---|---:|---:|---:|---:|---|",
    ]
    lines += map(row, models.names())
    table = "\n".join(lines) + "\n"
    print(table)
    pathlib.Path(__file__).with_name("models.md").write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
