"""What the student's step costs: plain training, cached distillation, online distillation.

  python benchmarks/step.py [--pairs 60] [--steps 50] [--batch_size 128]

Prints FLOPs of the compiled step and times side by side: in turn, a stretch of plain steps and one
of the other kind, and the median ratio over the pairs with its 10th and 90th percentile. Steps run
as `fit` is told to run them: the perceptron's in one compiled loop, all others one a call (on CPU,
XLA compiles convolutions inside loops to slower code). The data are random images of
Fashion-MNIST's shape; values make no difference to the time.
"""

import argparse
import tempfile
import time

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from jaxkd import TrainState, make_train_step, recipes
from jaxkd.compression import program_flops
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP
from jaxkd.reporting import Column, Table
from jaxkd.targets import Dense, TopK
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

VIEWS = {
    "plain": Views((Normalize(),)),
    "crop, flip": Views((RandomCrop(2), RandomFlip(), Normalize())),
}


def students() -> dict[str, jaxkd.Network]:
    return {
        "MLP-128": jaxkd.from_nnx(MLP(784, (128,), 10, rngs=nnx.Rngs(0))),
        "CNN-8-8": jaxkd.from_nnx(CNN((28, 28, 1), (8, 8), 32, 10, rngs=nnx.Rngs(0))),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--batch_size", type=int, default=128)
    arguments = parser.parse_args()
    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(
        generator.integers(0, 256, (12_800, 28, 28, 1), np.uint8),
        generator.integers(0, 10, 12_800),
        name="random",
        split="train",
        num_classes=10,
    )
    teacher = jaxkd.from_nnx(CNN((28, 28, 1), (16, 32), 64, 10, rngs=nnx.Rngs(1)))
    rows = []
    for student_name, student in students().items():
        for views_name, views in VIEWS.items():
            looped = student_name.startswith("MLP")
            plain = _runner(student, recipes.labels(), data, views, arguments, looped=looped)
            others = {
                f"cached, {codec}": _runner(
                    student,
                    recipes.kd(),
                    data,
                    views,
                    arguments,
                    looped=looped,
                    cache=jaxkd.cache.build(
                        tempfile.mkdtemp(), teacher, data, views, codec=codec, progress=False
                    ),
                )
                for codec in (Dense("float32"), TopK(4, temperatures=(4.0,)))
            }
            others["online"] = _runner(
                student, recipes.kd(), data, views, arguments, teacher=teacher
            )
            for name, (flops, run) in others.items():
                ratios = np.array([_pair(plain[1], run, turn) for turn in range(arguments.pairs)])
                low, middle, high = np.percentile(ratios, [10, 50, 90])
                rows.append(
                    [
                        f"{student_name}, {views_name}: {name}",
                        flops / plain[0],
                        float(middle),
                        f"{low:.3f} to {high:.3f}",
                    ]
                )
    device = jax.devices()[0].device_kind
    Table(
        "A step of distillation against a step of plain training",
        [
            "Student, views: teacher",
            Column("FLOPs", lambda x: f"{x:.4f}"),
            Column("Time", lambda x: f"{x:.3f}"),
            "10th to 90th percentile",
        ],
        rows,
        f"Ratios to plain training with the same views. Batch {arguments.batch_size}, "
        f"{arguments.pairs} pairs of {arguments.steps} steps, teacher of 106 k parameters, "
        f"{jax.device_count()} × {device}, jax {jax.__version__}.",
    ).print()


def _runner(student, objective, data, views, arguments, *, looped=False, teacher=None, cache=None):
    """FLOPs of a step, and a function that runs a stretch of steps and returns its seconds."""
    adam = optax.adamw(1e-3)
    step = make_train_step(student, objective, adam, teacher=teacher, views=views)
    loader = Loader(data, views, arguments.batch_size, cache=cache, num_views=1)
    batches = jax.device_put([loader[index] for index in range(arguments.steps)])
    stacked = jax.device_put(jax.tree.map(lambda *x: np.stack(x), *batches)) if looped else None
    state = TrainState.create(student, objective, adam)
    flops = program_flops(step.lower(state, batches[0]).compile())

    def run() -> float:
        nonlocal state
        started = time.perf_counter()
        if looped:
            state, _ = step.many(state, stacked, arguments.steps)
        else:
            for batch in batches:
                state, _ = step(state, batch)
        jax.block_until_ready(state.params)
        return time.perf_counter() - started

    run()
    return flops, run


def _pair(plain, other, turn: int) -> float:
    """The ratio of two stretches; who goes first alternates, since a machine's speed drifts."""
    if turn % 2:
        seconds = other()
        return seconds / plain()
    baseline = plain()
    return other() / baseline


if __name__ == "__main__":
    main()
