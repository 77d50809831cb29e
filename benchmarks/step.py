"""What the student's step costs: plain training, cached and online distillation, and where.

  python benchmarks/step.py [--pairs 60] [--steps 50] [--batch_size 128]

Prints FLOPs of the compiled step and times side by side, interleaved: a run of plain steps and one
of the other kind, and the median ratio over the pairs with its 10th and 90th percentile. Steps run
as `fit` runs them by default: the perceptron's in one compiled loop, all others one a call (on CPU,
XLA compiles convolutions inside loops to slower code). A second table shows where the time of a
cached step goes: each stage is a compiled program of its own that contains the stages before it,
called one step a time, and the difference of two is the stage's time (XLA fuses differently in each
program, so that small differences mean little). The data are random images of Fashion-MNIST's
shape; values make no difference to the time.
"""

import argparse
import tempfile
import time

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from benchmarks.side_by_side import interleaved, timed_steps
from jaxkd import make_train_step, recipes
from jaxkd.compression import program_flops
from jaxkd.data import Dataset, Loader
from jaxkd.models import CNN, MLP
from jaxkd.ops import xla_convolutions
from jaxkd.study import Column, Table
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
                pairs = interleaved(plain[1], run, arguments.pairs)
                low, high = pairs.spread
                rows.append(
                    [
                        f"{student_name}, {views_name}: {name}",
                        flops / plain[0],
                        pairs.ratio,
                        f"{low:.3f} to {high:.3f}",
                    ]
                )
    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}, jax {jax.__version__}."
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
        f"{device}",
    ).print()
    rows = []
    for student_name, student in students().items():
        rows += [
            [f"{student_name}: {stage}", *numbers]
            for stage, *numbers in _where(student, teacher, data, VIEWS["crop, flip"], arguments)
        ]
    Table(
        "Where the time of a cached step goes",
        [
            "Student: stage",
            Column("µs", lambda x: f"{1e6 * x:.0f}"),
            Column("Share", lambda x: f"{100 * x:.1f} %"),
            Column("µs so far", lambda x: f"{1e6 * x:.0f}"),
        ],
        rows,
        f"Crops and flips, float32 logits, batch {arguments.batch_size}, medians of "
        f"{arguments.pairs} runs of {arguments.steps} calls, one step a call, nothing "
        f"overlapped, {device}",
    ).print()


def _runner(student, objective, data, views, arguments, *, looped=False, teacher=None, cache=None):
    """FLOPs of a step, and a function that takes some steps and returns the seconds."""
    loader = Loader(data, views, arguments.batch_size, cache=cache, num_views=1)
    step, state, batches = prepared(student, objective, loader, arguments.steps, teacher=teacher)
    with xla_convolutions():  # whose FLOPs the compiler counts
        flops = program_flops(step.lower(state, batches[0]).compile())
    return flops, timed_steps(step, state, batches, looped=looped)


def prepared(student, objective, loader, steps, *, teacher=None):
    """The step of AdamW, the state before the first one, and the first batches on the device."""
    adam = optax.adamw(1e-3)
    step = make_train_step(student, objective, adam, teacher=teacher, views=loader.views)
    batches = jax.device_put([loader[index] for index in range(steps)])
    return step, step.init(), batches


def _where(student, teacher, data, views, arguments):
    """Rows of stage, seconds, share of the whole, and seconds up to the stage's end."""
    objective, adam = recipes.kd(), optax.adamw(1e-3)
    with tempfile.TemporaryDirectory() as path:
        cache = jaxkd.cache.build(path, teacher, data, views, codec=Dense(), progress=False)
        loader = Loader(data, views, arguments.batch_size, cache=cache)
        on_host = [loader[index] for index in range(arguments.steps)]
        batches = jax.device_put(on_host)
        step = make_train_step(student, objective, adam, views=views)
        state = step.init()
        params = jax.tree.map(jax.numpy.copy, state.params)

        def forward(params, batch):
            key = jax.random.key(0)
            return student.apply(
                params["student"], student.state, batch["inputs"], train=True, key=key
            )[0]

        def loss(params, batch):
            outputs = batch["teacher"].decode()
            return objective(forward(params, batch), outputs, batch, params={}, train=True)[:2]

        def train(_, batch):
            nonlocal state
            state, metrics = step(state, batch)
            return state.params, metrics

        def rendered(function):
            return jax.jit(lambda params, batch: function(params, views.render(batch)))

        programs = {
            "calling a program": (jax.jit(lambda params, batch: batch["id"][0]), batches),
            "views": (rendered(lambda params, batch: batch["inputs"]), batches),
            "forward": (rendered(lambda *a: forward(*a)["logits"]), batches),
            "objective and metrics": (rendered(loss), batches),
            "gradient": (rendered(jax.value_and_grad(loss, has_aux=True)), batches),
            "optimizer and state": (train, batches),
        }
        stages = {
            "reading the batch": (lambda _, index: loader[index], range(arguments.steps)),
            "putting it on the device": (lambda _, batch: jax.device_put(batch), on_host),
            **programs,
        }
        times = {name: [] for name in stages}
        for _ in range(arguments.pairs + 1):  # the first compiles
            for name, (call, items) in stages.items():
                started = time.perf_counter()
                for item in items:
                    last = call(params, item)
                jax.block_until_ready(last)
                times[name].append((time.perf_counter() - started) / arguments.steps)
    seconds = {name: float(np.median(values[1:])) for name, values in times.items()}
    before = seconds["reading the batch"] + seconds["putting it on the device"]
    total = before + seconds["optimizer and state"]
    so_far, rows = 0.0, []
    for name, value in seconds.items():
        until = before + value if name in programs else so_far + value
        rows.append([name, until - so_far, (until - so_far) / total, until])
        so_far = until
    return rows


if __name__ == "__main__":
    main()
