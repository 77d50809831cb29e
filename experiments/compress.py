r"""Compression: what distilling, pruning, quantizing and factorizing give, alone and together.

One teacher; students of one architecture; pipelines of steps, from `labels` and `distil` over
`distil-prune` to `distil-prune-qat`, each step with the teacher's help or without. Every network is
judged by accuracy on the test images, bytes and latency; the best compromises are the Pareto front.
The first seed's networks are exported, for LiteRT where it is installed and as StableHLO elsewhere,
with weights, a card, and a program that runs them on a device.

Commands:
  python -m experiments.datasets.fashion_mnist prepare --data_dir=data
  python -m experiments.compress --config.data_dir=data --workdir=runs/compress
  # Scikit-learn's digits, nothing to prepare, ten minutes; mirrored they would be other signs.
  python -m experiments.compress --config.dataset=digits --config.views.flip=False \
      --config.batch_size=64 --config.teacher_epochs=30 --config.epochs=30 \
      --config.tuning_epochs=10 --config.qat_epochs=5 --config.learning_rate=0.005 \
      --config.student.channels=8 --config.student.hidden=32 --workdir=runs/compress_digits
  # Some pipelines; others may join them in the same directory later.
  python -m experiments.compress --config.pipelines=labels-qat,distil-qat --config.data_dir=data \
      --workdir=runs/compress

Steps: labels, distil (train a student; later on: who trains from here), prune (channels are cut
out), sparse (weights are masked), low_rank (layers become two), int8, int4 (after training), qat
(int8 in training).

Expected on the digits (5 seeds): teacher 98.9 %, labels and distil 97.6 ± 0.4, distil-int8
97.6 ± 0.4 in 1/139 of the bytes, distil-prune-qat 96.7 ± 0.2 in 1/227; the teacher adds nothing
there. On Fashion-MNIST (teacher 93.11 %) labels and distil 90.7 and 90.6, distil-prune-qat
90.57 ± 0.17; with --config.epochs=12 --config.tuning_epochs=4 --config.temperature=2 it reaches
91.87 ± 0.16 in 1/76 of the teacher's file and 1/13 of its latency.

Writes `report.html`, the table as CSV, the figures, `exported/` and prints the table. Killed and
started again with the same command, it goes on where it was.
"""

import dataclasses
import pathlib
from typing import Any

from flax import nnx

import jaxkd
from experiments import compress_report, compress_runs, launch
from experiments.comparison import ViewsConfig, views_of
from experiments.compress_steps import LAST, pipelines, ranks_of
from experiments.datasets import fashion_mnist
from experiments.refusals import at_least, fields, positive, share
from experiments.study import Study
from jaxkd import compression
from jaxkd.data import Dataset, digits
from jaxkd.models import CNN
from jaxkd.training import bind_config, is_first
from jaxkd.views import Normalize, Views

PIPELINES = (
    "labels,distil,labels-labels,distil-distil,"
    "labels-prune,distil-prune,labels-prune-distil,"
    "labels-sparse,distil-sparse,labels-low_rank,distil-low_rank,"
    "labels-int8,distil-int8,distil-int4,labels-qat,distil-qat,"
    "distil-prune-int8,labels-prune-qat,distil-prune-qat,distil-sparse-qat,distil-low_rank-qat"
)


@dataclasses.dataclass
class Width:
    """Of a network of two convolutions and a hidden layer.

    Attributes:
      channels: of the first convolution; the second has twice as many.
      hidden: width of the layer before the logits.
    """

    channels: int
    hidden: int


@dataclasses.dataclass
class Config:
    """The experiment.

    Attributes:
      dataset: `fashion_mnist`, or `digits` of scikit-learn.
      data_dir: of tensorflow-datasets, empty for its own default.
      teacher: its size.
      student: its size, before anything is cut.
      teacher_epochs: passes of the teacher.
      epochs: passes of a fresh student.
      tuning_epochs: passes behind a step that changes the network.
      qat_epochs: passes of quantization-aware training.
      batch_size: of all training.
      learning_rate: peak of the cosine of teacher and fresh students.
      tuning_rate: likewise behind later steps.
      qat_rate: likewise of quantization-aware training.
      alpha: weight of the teacher.
      temperature: of the distillation.
      keep: share of the channels that `prune` keeps.
      sparsity: share of the weights that `sparse` masks.
      rank: of `low_rank`, as a share of the largest.
      pipelines: steps joined by `-`, pipelines by commas.
      seeds: students of each pipeline.
      repeats: timed calls of each network.
      views: how training examples are seen.
    """

    dataset: str = "fashion_mnist"
    data_dir: str = ""
    teacher: Width = dataclasses.field(default_factory=lambda: Width(48, 256))
    student: Width = dataclasses.field(default_factory=lambda: Width(16, 64))
    teacher_epochs: int = 6
    epochs: int = 5
    tuning_epochs: int = 2
    qat_epochs: int = 1
    batch_size: int = 128
    learning_rate: float = 3e-3
    tuning_rate: float = 1e-3
    qat_rate: float = 3e-4
    alpha: float = 0.9
    temperature: float = 4.0
    keep: float = 0.75
    sparsity: float = 0.8
    rank: float = 0.25
    pipelines: str = PIPELINES
    seeds: int = 5
    repeats: int = 200
    views: ViewsConfig = dataclasses.field(
        default_factory=lambda: ViewsConfig(flip=True, num_views=4)
    )


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    out = run(config, workdir)
    if not is_first():  # one writes for all
        return
    report = compress_report.write(out, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


def run(config: Config, workdir: pathlib.Path) -> compress_runs.Compressed:
    """Trains the teacher, and goes all pipelines.

    Args:
      config: the experiment.
      workdir: everything is kept below it; a run that was cut is taken up, one of another
        configuration (pipelines aside) is refused.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: the data are not there.
      ValueError: a configuration that cannot run, before anything is trained.
    """
    check(config)
    chosen = pipelines(config.pipelines)
    train, test = load(config)
    shape = train.inputs.shape[1:]

    def maker(width: Width) -> Any:
        def make(seed: int) -> nnx.Module:
            channels = (width.channels, 2 * width.channels)
            return CNN(shape, channels, width.hidden, train.num_classes, rngs=nnx.Rngs(seed))

        return make

    make_student = maker(config.student)
    if any("low_rank" in steps for steps in chosen):
        ranks_of(make_student(0), config.rank)
    if any(steps[-1] in LAST for steps in chosen):
        compression.quantize(make_student(0))
    ignored = ("pipelines", "repeats")
    known = {k: v for k, v in dataclasses.asdict(config).items() if k not in ignored}
    bind_config(workdir, known)
    study = Study(
        workdir=workdir,
        make_student=lambda seed: jaxkd.from_nnx(make_student(seed)),
        test=test,
        views=views_of(config.views, train.num_classes),
        test_views=Views((Normalize(),)),
        num_views=config.views.num_views,
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        seeds=tuple(range(config.seeds)),
        steps_per_call=20,
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )
    return compress_runs.run(
        config, study, train, test, maker(config.teacher), make_student, chosen
    )


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples."""
    if config.dataset == "digits":
        train, test = digits.load("train"), digits.load("test")
    else:
        folder = config.data_dir or None
        train, test = (fashion_mnist.load(x, data_dir=folder) for x in ("train", "test"))
    least = config.batch_size * compress_runs.CALIBRATION
    if len(train) < least:
        raise ValueError(
            f"{len(train)} training examples are too few for the {compress_runs.CALIBRATION} "
            f"batches of {config.batch_size} that ranges are found on: choose a smaller batch_size"
        )
    return train, test


def check(config: Config) -> None:
    """Refuses what cannot run on any data.

    Raises:
      ValueError: names the field.
    """
    if config.dataset not in ("fashion_mnist", "digits"):
        raise ValueError(f"dataset must be fashion_mnist or digits, not {config.dataset!r}")
    pipelines(config.pipelines)
    for name in ("teacher", "student"):
        at_least(1, fields(getattr(config, name), "channels", "hidden", prefix=f"{name}."))
    counts = ("teacher_epochs", "epochs", "tuning_epochs", "qat_epochs", "batch_size", "seeds")
    at_least(1, fields(config, *counts, "repeats"))
    rates = ("learning_rate", "tuning_rate", "qat_rate", "temperature")
    positive(fields(config, *rates, "keep", "rank"))
    share(fields(config, "alpha", "keep", "rank", "sparsity"))


if __name__ == "__main__":
    launch.run(main, Config(), "runs/compress")
