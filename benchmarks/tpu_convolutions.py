"""Whether a TPU runs the same program with `jaxkd.ops` as with XLA's convolutions, without a TPU.

  TPU_SKIP_MDS_QUERY=1 JAX_PLATFORMS=cpu python benchmarks/tpu_convolutions.py [--only resnet20]

Needs `pip install libtpu`. Compiles the training step of networks ahead of time for one chip, once
as it is and once within `jaxkd.ops.xla_convolutions`, and compares how often each operation occurs
in the two optimized programs, their FLOPs and their memory. Ends with 1 where they differ.
"""

import argparse
import collections
import contextlib
import re
import sys
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import jaxkd
from jaxkd import make_train_step, models, ops, recipes
from jaxkd.study import Column, Table

NETWORKS = {
    "resnet20": 32,
    "wrn_16_2": 32,
    "vgg8": 32,
    "mobilenet_v2_cifar": 32,
    "shufflenet_v1_cifar": 32,
    "shufflenet_v2_cifar": 32,
    "efficientnet_b0": 64,
    "resnet18": 64,
    "vit_tiny_patch16": 224,
}
CLASSES, BATCH = 10, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", nargs="+", default=list(NETWORKS))
    rows, apart = [], []
    for name in parser.parse_args().only:
        here, plain = program(name), program(name, plain=True)
        same = here == plain
        operations, flops, memory = here
        rows.append([name, sum(operations.values()), operations["convolution"], flops, memory])
        rows[-1].append("same" if same else "differs")
        if not same:
            apart.append(f"{name}: {operations - plain[0]} against {plain[0] - operations}")
    Table(
        "Programs for a TPU with and without jaxkd.ops",
        [
            "Network",
            "Operations",
            "Convolutions",
            Column("FLOPs", lambda x: f"{x:.4g}"),
            Column("Memory (MB)", lambda x: f"{x / 1e6:.1f}"),
            "With XLA's convolutions",
        ],
        rows,
        f"A training step, batch {BATCH}, one chip of TPU v5e, jax {jax.__version__}.",
    ).print()
    if apart:
        sys.exit("\n".join(apart))


def program(name: str, *, plain: bool = False) -> tuple[collections.Counter[str], float, int]:
    """How often each operation occurs in a network's step, its FLOPs, and its bytes of memory."""
    device = topologies.get_topology_desc("v5e:2x2", "tpu").devices[0]
    place = NamedSharding(Mesh(np.array([device]), ("chip",)), PartitionSpec())

    def placed(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)

    student = jaxkd.from_nnx(models.create(name, num_classes=CLASSES, rngs=nnx.Rngs(0)))
    objective, adam = recipes.kd(), optax.sgd(0.1, momentum=0.9)
    side = NETWORKS[name]
    batch = {
        "inputs": jax.ShapeDtypeStruct((BATCH, side, side, 3), np.float32),
        "labels": jax.ShapeDtypeStruct((BATCH,), np.int32),
        "teacher": jax.ShapeDtypeStruct((BATCH, CLASSES), np.float32),
    }
    with ops.xla_convolutions() if plain else contextlib.nullcontext():
        step = make_train_step(student, objective, adam)
        state = jax.eval_shape(step.init)
        compiled = step.lower(placed(state), placed(batch)).compile()
    found = re.findall(r"^\s+(?:ROOT )?%?[\w.-]+ = [^=]*? ([\w-]+)\(", compiled.as_text(), re.M)
    memory = compiled.memory_analysis()
    nbytes = memory.temp_size_in_bytes + memory.argument_size_in_bytes
    return collections.Counter(found), compiled.cost_analysis()["flops"], nbytes


if __name__ == "__main__":
    main()
