"""What a teacher's knowledge is worth, and where it comes from.

Four questions under one protocol: the same optimizer, schedule and number of steps for every
student, several seeds, the last step. Every teacher answers once, into a cache.
  few_labels: how much the teacher gives over the number of labels, on the same examples and on the
    unlabeled pool, and how much of it a teacher gives that knows no more labels than the student.
  left_out: what a student knows of classes that it never saw, with one class left out or with two
    left in, before and after the correction of its bias.
  noise: what helps where labels are wrong, with a teacher that knew better and with one that did
    not.
  capacity: whether a larger teacher is a better one, and whether an assistant helps in between.

Commands:
  # Digits, some minutes on 2 cores, no download.
  python -m experiments.transfer --config.dataset=digits --workdir=runs/transfer_digits
  # Fashion-MNIST, ten to twenty minutes; the data as for experiments.fashion_mnist.
  python -m experiments.transfer --config.data_dir=data --workdir=runs/transfer
  # Some of the regimes; others may join them in the same directory later. The report is of those
  # that are named, finished runs are read.
  python -m experiments.transfer --config.data_dir=data --config.regimes=noise,capacity
  # Other small images through tensorflow-datasets, or made-up ones of their shape.
  python -m experiments.transfer --config.dataset=cifar10 --config.teacher_width=32 --workdir=…
  python -m experiments.transfer --config.mock=5000 --config.labels_per_class=10,100 --workdir=…

Expected on Fashion-MNIST (test accuracy in per cent, mean ± standard deviation of 3 seeds; all of
it in benchmarks/transfer.md):
  few_labels: with 10 labels a class 72.0 ± 0.3 from labels, 75.1 ± 0.1 distilled on the same
    examples, 86.3 ± 0.1 on the pool, 75.0 ± 0.1 from a teacher of the same labels; with 1,000 a
    class 85.9, 85.9, 86.4, 85.9; with all labels 87.0 ± 0.2 against 86.5 ± 0.1.
  left_out: on dresses, which no student saw, 0 from labels, 76.3 ± 1.3 distilled, 84.1 ± 0.2 with
    the bias corrected. Of sneakers and bags alone, on all classes: 19.9, 57.2 ± 0.6, 64.1 ± 0.8.
  noise: with 40 % wrong 83.1 ± 2.9 from labels, 83.9 ± 1.5 smoothed, 86.5 ± 0.1 from a teacher of
    clean labels, 83.7 ± 0.1 from one of the same labels.
  capacity: teachers of 84.9, 89.3 and 90.8 give students of 84.5, 86.5 and 86.5 (± 0.1); the
    assistant does not help.

Writes `report.html`, the tables as CSV, the figures, and prints the tables. Killed and started
again with the same command, it goes on where it was.
"""

import dataclasses
import math
import pathlib
from typing import Any, Literal

from flax import nnx

import jaxkd
from experiments import launch, transfer_regimes, transfer_report
from experiments.datasets import fashion_mnist
from experiments.refusals import at_least, fields, positive
from experiments.study import Study
from experiments.transfer_regimes import VIEWS, Protocol, Transferred
from jaxkd import recipes
from jaxkd.data import Dataset, digits, images, split_labels
from jaxkd.models import MLP
from jaxkd.training import bind_config, is_first

REGIMES = ("few_labels", "left_out", "noise", "capacity")


@dataclasses.dataclass
class Config:
    """The experiment. Where 0 or nothing stands, the data set's own number is taken.

    Attributes:
      dataset: `digits`, `fashion_mnist`, or a name that `jaxkd.data.images` knows.
      data_dir: of tensorflow-datasets, empty for its own default.
      mock: if positive, so many made-up examples of the data set's shape and classes instead.
      regimes: which of `few_labels`, `left_out`, `noise` and `capacity`, separated by commas.
      alpha: weight of the teacher where there are labels too.
      temperature: of the distillation.
      label_smoothing: of the rival that needs no teacher.
      batch_size: of all training.
      learning_rate: peak of the cosine, for all students and teachers.
      epochs: passes over all training examples; students that see fewer make as many steps.
      teacher_epochs: likewise of the teachers.
      seeds: students of each arm.
      width: of the student's hidden layer.
      teacher_width: channels of the teacher's first convolution; the second has twice as many.
      labels_per_class: points of the curve over labels.
      left_out_classes: each is left out of a transfer set of its own.
      only_classes: those of the transfer set that lacks all others.
      noise: shares of the training labels that are replaced by wrong ones.
      teacher_widths: of the teachers that one student is taught by.
      assistant_width: of the network between the largest of them and the student.
    """

    dataset: str = "fashion_mnist"
    data_dir: str = ""
    mock: int = 0
    regimes: str = ",".join(REGIMES)
    alpha: float = 0.9
    temperature: float = 2.0
    label_smoothing: float = 0.1
    batch_size: int = 0
    learning_rate: float = 0.0
    epochs: int = 0
    teacher_epochs: int = 0
    seeds: int = 0
    width: int = 0
    teacher_width: int = 16
    labels_per_class: tuple[int, ...] = ()
    left_out_classes: tuple[int, ...] = (3, 6, 9)
    only_classes: tuple[int, ...] = (7, 8)
    noise: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6)
    teacher_widths: tuple[int, ...] = (4, 16, 32)
    assistant_width: int = 16


DIGITS: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 5e-3,
    "epochs": 30,
    "teacher_epochs": 30,
    "seeds": 5,
    "width": 32,
    "labels_per_class": (1, 3, 10, 30, 100),
}
IMAGES: dict[str, Any] = {
    "batch_size": 128,
    "learning_rate": 3e-3,
    "epochs": 3,
    "teacher_epochs": 2,
    "seeds": 3,
    "width": 128,
    "labels_per_class": (10, 30, 100, 300, 1000),
}
"""What the data sets bring along for whatever the configuration leaves open."""


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    transferred = run(complete(config), workdir)
    if not is_first():  # one writes for all
        return
    report = transfer_report.write(transferred, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


def complete(config: Config) -> Config:
    """The configuration with the data set's own numbers for what it leaves open.

    Raises:
      ValueError: what cannot run on any data; names the field.
    """
    own = DIGITS if config.dataset == "digits" else IMAGES
    given = {name: getattr(config, name) or value for name, value in own.items()}
    config = dataclasses.replace(config, **given)
    regimes = config.regimes.split(",")
    if unknown := [name for name in regimes if name not in REGIMES]:
        raise ValueError(f"regimes must be some of {', '.join(REGIMES)}, not {unknown}")
    counts = ("batch_size", "epochs", "teacher_epochs", "seeds", "width", "teacher_width")
    at_least(1, fields(config, *counts, "assistant_width"))
    if config.mock < 0 or (config.mock and config.dataset == "digits"):
        raise ValueError(
            f"mock={config.mock} with dataset={config.dataset!r}: mock must be at least 0, and the "
            "digits need no made-up examples"
        )
    positive(fields(config, "learning_rate"))
    for name, low, high in [
        ("labels_per_class", 1, math.inf),
        ("left_out_classes", 0, math.inf),
        ("only_classes", 0, math.inf),
        ("noise", 0, 1),
        ("teacher_widths", 1, math.inf),
    ]:
        values = getattr(config, name)
        kinds = (int, float) if name == "noise" else (int,)
        numbers = values and all(type(value) in kinds for value in values)
        if not numbers or len(set(values)) < len(values):
            raise ValueError(
                f"{name} must be numbers separated by commas, at least one and none twice, not "
                f"{values}"
            )
        if bad := [value for value in values if not low <= value < high]:
            raise ValueError(f"{name} must be at least {low} and below {high}, not {bad}")
    return dataclasses.replace(config, noise=tuple(map(float, config.noise)))


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples, with all labels.

    Raises:
      ValueError: classes of the configuration that the data have not, a batch larger than the data.
    """
    data_dir = config.data_dir or None

    def split(name: Literal["train", "test"]) -> Dataset:
        if config.dataset == "digits":
            return digits.load(name)
        if config.dataset == "fashion_mnist" and not config.mock:
            return fashion_mnist.load(name, data_dir=data_dir)
        return images.load(config.dataset, name, data_dir=data_dir, mock=config.mock)

    train, test = split("train"), split("test")
    for name in ("left_out_classes", "only_classes"):
        if missing := [c for c in getattr(config, name) if c >= train.num_classes]:
            raise ValueError(f"{name}: {missing} are not among the {train.num_classes} classes")
    if len(config.only_classes) == train.num_classes:
        raise ValueError(f"only_classes={config.only_classes} leaves none of the classes out")
    if config.batch_size > len(train):
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} examples")
    # A source of its own, also where it was selected from a larger one: with other labels on the
    # same examples it keeps its fingerprint, and the teachers' answers stay valid.
    return dataclasses.replace(train), test


def run(config: Config, workdir: pathlib.Path) -> Transferred:
    """Trains all teachers and students of the chosen regimes.

    Args:
      config: of `complete`.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (regimes aside) is refused.

    Returns:
      What came out.

    Raises:
      ValueError: a configuration that cannot run, before anything is trained.
    """
    train, test = load(config)
    study = Study(
        workdir=workdir,
        make_student=lambda seed: jaxkd.from_nnx(
            MLP(math.prod(train.shape), (config.width,), train.num_classes, rngs=nnx.Rngs(seed))
        ),
        test=test,
        views=VIEWS,
        test_views=VIEWS,
        num_views=1,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seeds=tuple(range(config.seeds)),
        steps_per_call=100,
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )
    alpha, temperature = config.alpha, config.temperature
    per_epoch = len(train) // config.batch_size
    protocol = Protocol(
        config=config,
        study=study,
        train=train,
        steps=config.epochs * per_epoch,
        teacher_steps=config.teacher_epochs * per_epoch,
        objectives={
            "labels": recipes.labels(),
            "smoothed": recipes.labels(label_smoothing=config.label_smoothing),
            "kd": recipes.kd(alpha=alpha, temperature=temperature),
            "pure_kd": recipes.kd(alpha=1.0, temperature=temperature),
        },
    )
    regimes = config.regimes.split(",")
    # Counts that a class has not are found here, teachers without room for their poolings as well.
    few = {count: split_labels(train, count, seed=0) for count in sorted(config.labels_per_class)}
    protocol.make_teacher(config.teacher_width)
    # Bound to the configuration only now that it is known to be a good one.
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "regimes"})
    teacher = protocol.teach("all_labels", train)
    out = Transferred(config, study, train, protocol.steps, protocol.teacher_steps, teacher)
    if set(regimes) != {"left_out"}:
        protocol.full(out)
    if "few_labels" in regimes:
        for count, ids in few.items():
            transfer_regimes.few_labels(protocol, out, count, ids)
    if "left_out" in regimes:
        transfer_regimes.left_out(protocol, out)
    if "noise" in regimes:
        for share in sorted(config.noise):
            transfer_regimes.noise(protocol, out, share)
    if "capacity" in regimes:
        transfer_regimes.capacity(protocol, out)
    return out


if __name__ == "__main__":
    launch.run(main, Config(), "runs/transfer")
