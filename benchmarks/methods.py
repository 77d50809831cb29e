"""Every method by one protocol on Fashion-MNIST: accuracy over seeds, and what a step costs.

  python benchmarks/methods.py --data_dir=data [--seeds 3] [--methods kd,dkd,crd]

Writes `methods.md`, `methods.csv` and `methods.png` beside this file. A ResNet is trained once on
all 60,000 labels; small students learn from labels alone and from labels and the teacher by every
recipe with its default options, on the first `--examples` images for `--epochs` passes, no
augmentation, SGD with Nesterov momentum under a cosine. That is far from the protocols that the
authors tuned their weights for: the table shows that every method trains and what it does here, not
which is best. Finished runs stay below `--workdir`; started again, the script goes on from there.

A step is timed side by side with one of plain training, interleaved, as median ratio over pairs of
runs, twice: with the teacher's outputs at hand, which is the cost of the method itself, and
with the teacher online.
"""

import argparse
import dataclasses
import functools
import pathlib
import time

import jax
import numpy as np

from experiments.common import methods
from experiments.common.protocol import MethodData, MethodNetworks, ProtocolConfig
from experiments.datasets import fashion_mnist
from experiments.fashion_mnist.config import StudentConfig, TeacherConfig
from experiments.fashion_mnist.run import make_student, make_teacher
from jaxkd import make_train_step
from jaxkd.metrics import Spread
from jaxkd.study import Column, Table, accuracy_bars
from jaxkd.study.runtime import Runtime

HERE = pathlib.Path(__file__).parent
# The banks of CRD are as large as the training set; its 16,384 negatives would be all of them.
OPTIONS = '{"crd": {"num_negatives": 1024}}'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=None)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/methods"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("--methods", default="")
    parser.add_argument("--teacher", default="resnet8")
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher_epochs", type=int, default=5)
    parser.add_argument("--examples", type=int, default=4_000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch_size", type=int, default=64)
    parser.add_argument("--learning_rate", type=float, default=0.05)
    parser.add_argument("--pairs", type=int, default=12)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    chosen = arguments.methods.split(",") if arguments.methods else methods.recipe_names()
    config = ProtocolConfig(
        examples=arguments.examples,
        epochs=arguments.epochs,
        learning_rate=arguments.learning_rate,
        batch_size=arguments.batch_size,
        options=OPTIONS,
    )
    teacher_config = TeacherConfig(name=arguments.teacher)
    student_config = StudentConfig(name="convnet", width=arguments.width)
    teacher_of_seed = functools.partial(make_teacher, teacher_config)
    student_of_seed = functools.partial(make_student, student_config)
    train, test = (
        fashion_mnist.load(split, data_dir=arguments.data_dir) for split in ("train", "test")
    )
    compared = methods.run(
        chosen,
        config,
        MethodNetworks(make_teacher=teacher_of_seed, make_student=student_of_seed),
        MethodData(train, test),
        arguments.workdir,
        Runtime(),
        seeds=arguments.seeds,
        teacher_epochs=arguments.teacher_epochs,
        identity={
            "protocol": dataclasses.asdict(config),
            "teacher": dataclasses.asdict(teacher_config),
            "student": dataclasses.asdict(student_config),
            "teacher_epochs": arguments.teacher_epochs,
        },
    )
    costs = times(compared, arguments.pairs)
    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    table = compared.table(
        "Methods on Fashion-MNIST",
        f"Student ConvNet-{arguments.width}, teacher {arguments.teacher} trained on all 60,000 "
        f"labels; the students have the first {arguments.examples:,} images and their labels for "
        f"{arguments.epochs} epochs at batch {arguments.batch_size}: a reduced protocol, no "
        "augmentation, default options, nothing tuned. Step: time against plain training, with the "
        f"teacher's outputs at hand and with the teacher online; {device}, jax {jax.__version__}.",
    )
    ratio = [Column(name, lambda x: f"{x:.2f}") for name in ("Step", "Step, online")]
    rows = [[*row, *costs[row[0]]] for row in table.rows]
    table = Table(table.title, [*table.columns, *ratio], rows, table.caption)
    table.print()
    table.write_csv(arguments.out / "methods.csv")
    (arguments.out / "methods.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n", encoding="utf-8"
    )
    spreads = {name: Spread.of(compared.results.values(name)) for name in compared.results.arms}
    accuracy_bars(spreads, file_format="png").write(arguments.out / "methods.png")


def times(compared, pairs) -> dict[str, tuple[float, float]]:
    """For each method the step's time over that of plain training, cached and online."""
    # With new views in every epoch nothing of the teacher is cached.
    study = compared.study.replace(num_views=0)
    train = study.data["train"]
    batch = {
        "inputs": train.inputs[: study.batch_size].astype(np.float32) / 255,
        "labels": train.labels[: study.batch_size],
        "id": np.arange(study.batch_size, dtype=np.int32),
    }
    batch = jax.device_put(batch)
    plain = None
    costs = {}
    for name, result in compared.results.arms.items():
        training = result.arm.training(study, 0)
        teacher = training.teacher
        known = {"teacher": jax.jit(lambda x, t=teacher: t(x))(batch["inputs"])} if teacher else {}
        cached = _timed_steps(training, batch | known)
        plain = plain or cached
        online = _timed_steps(training, batch, teacher=teacher) if teacher else cached
        costs[name] = (
            1.0 if cached is plain else _ratio(plain, cached, pairs),
            1.0 if online is plain else _ratio(plain, online, pairs),
        )
    return costs


def _timed_steps(training, batch, *, teacher=None, steps=10):
    """A function that runs some steps and returns its seconds."""
    step = make_train_step(
        training.student,
        training.objective,
        training.optimizer,
        teacher=teacher,
        **training.step_options,
    )
    state = step.init()

    def run() -> float:
        nonlocal state
        started = time.perf_counter()
        for _ in range(steps):
            state, _ = step(state, batch)
        jax.block_until_ready(state)
        return time.perf_counter() - started

    run()
    return run


def _ratio(plain, other, pairs: int) -> float:
    ratios = []
    for turn in range(pairs):
        first, second = (plain, other) if turn % 2 else (other, plain)
        seconds = {id(first): first(), id(second): second()}
        ratios.append(seconds[id(other)] / seconds[id(plain)])
    return float(np.median(ratios))


if __name__ == "__main__":
    main()
