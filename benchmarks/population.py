"""What a population of students costs against the same students one after the other.

  python benchmarks/population.py [--pairs 30] [--steps 20] [--batch_size 128] [--members 1,4,16]

Times lie side by side, interleaved: a run of steps of N students as one `Population` and the same
run of N students alone, whose seconds are those of N runs of one compiled step. Prints the
median ratio over the pairs with its 10th and 90th percentile, the time of the population over that
of one student, and FLOPs over N times those of one. Steps run as `fit` runs them by default: the
perceptron's in one compiled loop, the convolutional network's one a call. Teachers' outputs lie in
a cache; the data are random images of Fashion-MNIST's shape.
"""

import argparse
import tempfile

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from benchmarks.side_by_side import timed_steps
from jaxkd import make_train_step, recipes
from jaxkd.compression import program_flops
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP, ConvNet
from jaxkd.ops import xla_convolutions
from jaxkd.study import Column, Table
from jaxkd.training import Population
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(2), RandomFlip(), Normalize()))
ADAM = optax.adamw(1e-3)


def perceptron(seed: int) -> jaxkd.Network:
    return jaxkd.from_nnx(MLP(784, (128,), 10, rngs=nnx.Rngs(seed)))


def convnet(seed: int) -> jaxkd.Network:
    return jaxkd.from_nnx(ConvNet(1, 10, widths=(8, 16, 16), rngs=nnx.Rngs(seed)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--members", default="1,4,16")
    arguments = parser.parse_args()
    loader = make_loader(arguments.batch_size)
    batches = jax.device_put([loader[index] for index in range(arguments.steps)])
    rows = []
    for name, make_student in {"MLP-128": perceptron, "ConvNet-16": convnet}.items():
        looped = name.startswith("MLP")
        student, objective = make_student(0), recipes.kd()
        step = make_train_step(student, objective, ADAM, views=VIEWS)
        one_flops, one = _runner(step, step.init(), batches, looped)
        counts = [int(count) for count in arguments.members.split(",")]
        for count in counts:
            temperatures = {"temperature": np.linspace(1.0, 8.0, count).tolist()}
            population = Population(make_student, recipes.kd, ADAM, temperatures, views=VIEWS)
            flops, together = _runner(population.step, population.init(), batches, looped)
            ratios, to_one = [], []
            for turn in range(arguments.pairs):
                seconds, each = _pair(together, one, count, turn)
                ratios.append(seconds / sum(each))
                to_one.append(seconds / float(np.median(each)))
            low, middle, high = np.percentile(ratios, [10, 50, 90])
            rows.append(
                [
                    f"{name}, {count}",
                    flops / (count * one_flops),
                    float(middle),
                    f"{low:.3f} to {high:.3f}",
                    float(np.median(to_one)),
                ]
            )
    device = jax.devices()[0].device_kind
    Table(
        "A step of N students together against N steps one after the other",
        [
            "Student, N",
            Column("FLOPs", lambda x: f"{x:.3f}"),
            Column("Time", lambda x: f"{x:.3f}"),
            "10th to 90th percentile",
            Column("Time over that of one", lambda x: f"{x:.2f}"),
        ],
        rows,
        f"Ratios to N students alone; the last column to a single one. Batch "
        f"{arguments.batch_size}, crops and flips, {arguments.pairs} pairs of {arguments.steps} "
        f"steps, {jax.device_count()} × {device}, jax {jax.__version__}.",
    ).print()


def make_loader(batch_size: int, examples: int = 6_400) -> Loader:
    """Random images with a teacher's logits in a cache."""
    generator = np.random.default_rng(0)
    data = Dataset.from_arrays(
        generator.integers(0, 256, (examples, 28, 28, 1), np.uint8),
        generator.integers(0, 10, examples),
        name="random",
        split="train",
        num_classes=10,
    )
    teacher = jaxkd.from_nnx(CNN((28, 28, 1), (8, 8), 32, 10, rngs=nnx.Rngs(1)))
    cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, VIEWS, progress=False)
    return Loader(data, VIEWS, batch_size, cache=cache, num_views=1)


def _runner(step, state, batches, looped):
    """FLOPs of a step, and a function that takes some steps and returns the seconds."""
    with xla_convolutions():  # whose FLOPs the compiler counts
        flops = program_flops(step.lower(state, batches[0]).compile())
    return flops, timed_steps(step, state, batches, looped=looped)


def _pair(together, one, count: int, turn: int) -> tuple[float, list[float]]:
    """Seconds of both; who goes first alternates, since a machine's speed drifts."""
    if turn % 2:
        seconds = together()
        return seconds, [one() for _ in range(count)]
    each = [one() for _ in range(count)]
    return together(), each


if __name__ == "__main__":
    main()
