"""What a cache saves from end to end: a ResNet teaches small students on Fashion-MNIST.

  python benchmarks/cache_gain.py --data_dir=data [--examples 60000 --epochs 10]

A ResNet-8 is trained once, which is not counted. Then a ConvNet learns from it for 10 epochs: with
the teacher online; from a cache, the build counted; and once more from the same cache, as every
further student does. Times are whole runs with compilation, one after the other on a machine that
does nothing else. Writes benchmarks/cache_gain.md.
"""

import argparse
import pathlib
import tempfile
import time

import jax
import optax

import jaxkd
from experiments.datasets import fashion_mnist
from experiments.fashion_mnist.config import StudentConfig, TeacherConfig
from experiments.fashion_mnist.run import make_student, make_teacher
from jaxkd import make_train_step, recipes
from jaxkd.data import Loader, eval_batches
from jaxkd.study import Column, Table
from jaxkd.targets import TopK
from jaxkd.training import evaluate, fit, make_eval_step
from jaxkd.views import Normalize, Views

HERE = pathlib.Path(__file__).parent
VIEWS = Views((Normalize(),))
TEMPERATURE = 4.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=None)
    parser.add_argument("--examples", type=int, default=60_000)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--teacher_epochs", type=int, default=5)
    parser.add_argument("--batch_size", type=int, default=128)
    parser.add_argument("--width", type=int, default=16)
    arguments = parser.parse_args()
    train, test = (
        fashion_mnist.load(split, data_dir=arguments.data_dir) for split in ("train", "test")
    )
    train = train.select(train.ids[: arguments.examples])
    steps = max(1, len(train) // arguments.batch_size)

    def trained(network, objective, epochs, **options):
        """The network afterwards, its accuracy, and the seconds of training alone."""
        started = time.perf_counter()
        cache = options.pop("cache", None)
        count = epochs * steps
        adam = optax.adamw(optax.cosine_decay_schedule(3e-3, count))
        step = make_train_step(network, objective, adam, views=VIEWS, **options)
        loader = Loader(train, VIEWS, arguments.batch_size, cache=cache, num_views=1)
        state = step.init()
        fitted = fit(step, state, loader, steps=count, progress=None).state.network(network)
        jax.block_until_ready(fitted.params)
        seconds = time.perf_counter() - started
        scorer = make_eval_step(fitted, views=VIEWS)
        scores = evaluate(scorer, fitted.params, fitted.state, eval_batches(test, 500))
        return fitted, scores["accuracy"], seconds

    student_config = StudentConfig(name="convnet", width=arguments.width)
    teacher = make_teacher(TeacherConfig(name="resnet8"), 0)
    teacher, reached, _ = trained(teacher, recipes.labels(), arguments.teacher_epochs)

    def student(seed, **options):
        fresh = make_student(student_config, seed)
        objective = recipes.kd(temperature=TEMPERATURE)
        return trained(fresh, objective, arguments.epochs, **options)[1:]

    with tempfile.TemporaryDirectory() as path:
        online, online_seconds = student(1, teacher=teacher)
        started = time.perf_counter()
        codec = TopK(4, temperatures=(TEMPERATURE,))
        cache = jaxkd.cache.build(path, teacher, train, VIEWS, codec=codec, progress=False)
        built = time.perf_counter() - started
        first, first_seconds = student(1, cache=cache)
        further, further_seconds = student(2, cache=cache)
        predicted = jaxkd.cache.forecast(
            teacher, train, VIEWS, codec=codec, student=make_student(student_config, 1)
        )
    rows = [
        ["teacher online", online_seconds, 1.0, online],
        ["building the cache", built, "", ""],
        ["first student, with the build", built + first_seconds, first_seconds + built, first],
        ["every further student", further_seconds, further_seconds, further],
    ]
    for row in rows[2:]:
        row[2] = online_seconds / row[2]
    table = Table(
        "What a cache saves",
        [
            "Run",
            Column("Time", lambda x: f"{x:.1f} s"),
            Column("Times faster", lambda x: f"{x:.2f}"),
            Column("Accuracy", lambda x: f"{100 * x:.2f} %"),
        ],
        rows,
        f"{len(train):,} examples, {arguments.epochs} epochs at batch {arguments.batch_size}, "
        f"student ConvNet-{arguments.width}, teacher ResNet-8 ({100 * reached:.2f} %), {codec}, "
        f"{cache.bytes:,} bytes. Predicted gain of a step by FLOPs: {predicted.gain:.2f}. "
        f"{jax.device_count()} × {jax.devices()[0].device_kind}, jax {jax.__version__}.",
    )
    table.print()
    (HERE / "cache_gain.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
