"""How to choose temperature and weight: every setting and seed trained together, in one program.

A teacher answers once. Students for every temperature T, every weight of the teacher alpha and
every seed then learn side by side as one `Population`, from one pass over data and cache. The
setting is chosen on validation examples that neither teacher nor student ever saw, and judged on
the test set beside labels alone and a setting that nobody chose.

Commands:
  python -m experiments.sweep --workdir=runs/sweep
  # Fashion-MNIST; the data as for experiments.fashion_mnist.
  python -m experiments.sweep --config.dataset=fashion_mnist --config.data_dir=data \
      --workdir=runs/sweep_fashion_mnist
  # All labels instead of few labels and an unlabeled pool; learning rates as a third axis.
  python -m experiments.sweep --config.regime=all --config.learning_rates=0.002,0.005,0.01 \
      --workdir=runs/sweep_all

Expected test accuracy with few labels, one teacher, mean ± standard deviation over seeds:
  Digits, 180 students (36 settings, 5 seeds) trained in 13 s, half a minute in all on 2 cores.
  T 0.5 and T 1 with alpha 1 are best on validation: 96.1 ± 0.5 %, the default (T 4, alpha 0.9)
  96.3 ± 0.3 %, labels alone 75.9 ± 1.7 %. Choosing makes no difference that the seeds can show.
  Fashion-MNIST, 108 students (3 seeds), about ten minutes of computing. T 0.5 and T 1 with alpha
  1 again: 88.7 ± 0.1 %, the default 87.8 ± 0.1 %, labels alone 79.4 ± 0.2 %. Choosing is worth
  +0.95 ± 0.15 points. Low weights cost most: alpha 0.1 loses five points and more. Of the two best
  T 1 knows better how sure it is (calibration error 0.013 against 0.064).

Writes `report.html` with heat maps, the tables as CSV, one row a student in
`students/0/train.csv`, and prints the tables. Killed and started again with the same command, it
goes on where it was.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments import launch, settings
from experiments.datasets import fashion_mnist
from experiments.refusals import at_least, fields
from experiments.study import Study, optimizer, test_logits, train_teacher
from experiments.swept import VIEWS, Parts, Setting, Swept, gather, train
from jaxkd import recipes
from jaxkd.cache import Cache
from jaxkd.data import Loader, digits, split_labels
from jaxkd.models import CNN, MLP
from jaxkd.training import Population, bind_config, grid, is_first, make_mesh


@dataclasses.dataclass
class Config:
    """The experiment. Where 0 stands, the data set's own number is taken.

    Attributes:
      dataset: `digits` or `fashion_mnist`.
      data_dir: of tensorflow-datasets, empty for its own default.
      regime: `few`, a few labels and a large unlabeled pool, or `all` labels.
      temperatures: T, the rows of the map.
      alphas: weight of the teacher, from 0 to 1, the columns of the map.
      learning_rates: a third axis, peaks of the cosine; empty for the data set's own.
      seeds: students of each setting.
      default_temperature: of the setting that nobody chose.
      default_alpha: likewise.
      width: of the student's hidden layer.
      epochs: passes over the training examples.
      teacher_epochs: passes of the teacher, over all examples with all labels.
      batch_size: of all training.
      labels_per_class: labels of the student in the regime with few of them.
      validation_per_class: training examples held out from teacher and students, to choose by.
      chunk: students in one program at most, where memory is short; 0 for all of them.
    """

    dataset: str = "digits"
    data_dir: str = ""
    regime: str = "few"
    temperatures: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
    alphas: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    learning_rates: tuple[float, ...] = ()
    seeds: int = 0
    default_temperature: float = 4.0
    default_alpha: float = 0.9
    width: int = 0
    epochs: int = 0
    teacher_epochs: int = 0
    batch_size: int = 0
    labels_per_class: int = 0
    validation_per_class: int = 0
    chunk: int = 0


OWN: dict[str, dict[str, int | float]] = {
    "digits": {
        "seeds": 5,
        "width": 32,
        "epochs": 60,
        "teacher_epochs": 40,
        "batch_size": 64,
        "labels_per_class": 3,
        "validation_per_class": 40,
        "learning_rate": 5e-3,
        "dropout_rate": 0.3,
    },
    "fashion_mnist": {
        "seeds": 3,
        "width": 128,
        "epochs": 10,
        "teacher_epochs": 10,
        "batch_size": 128,
        "labels_per_class": 100,
        "validation_per_class": 1000,
        "learning_rate": 3e-3,
        "dropout_rate": 0.0,
    },
}
"""What the data sets bring along for whatever the configuration leaves open."""


def main(config: Config, workdir: pathlib.Path) -> None:
    """Runs the experiment."""
    config = complete(config)
    swept = run(config, workdir)
    if not is_first():
        return
    report = settings.write(swept, workdir)
    report.print()
    print(f"\nThe report: {workdir / 'report.html'}")


def complete(config: Config) -> Config:
    """The configuration with the data set's own numbers for what it leaves open.

    Raises:
      ValueError: what cannot run; names the field.
    """
    if config.dataset not in OWN:
        raise ValueError(f"dataset must be one of {sorted(OWN)}, not {config.dataset!r}")
    if config.regime not in ("few", "all"):
        raise ValueError(f"regime must be 'few' or 'all', not {config.regime!r}")
    own = OWN[config.dataset]
    counts = [name for name in own if hasattr(config, name)]
    given: dict[str, Any] = {name: getattr(config, name) or own[name] for name in counts}
    given["learning_rates"] = config.learning_rates or (own["learning_rate"],)
    config = dataclasses.replace(config, **given)
    at_least(1, fields(config, *counts))
    at_least(0, fields(config, "chunk"))
    for name in ("temperatures", "alphas", "learning_rates"):
        values = getattr(config, name)
        numbers = all(isinstance(value, int | float) for value in values)
        if not numbers or not values or len(set(values)) < len(values):
            raise ValueError(
                f"{name} must be numbers separated by commas, at least one and none twice, not "
                f"{values}"
            )
        given[name] = tuple(map(float, values))
    config = dataclasses.replace(config, **given)
    if bad := [rate for rate in config.learning_rates if not 0 < rate < math.inf]:
        raise ValueError(f"learning_rates must be positive numbers, not {bad}")
    return config


def run(config: Config, workdir: pathlib.Path) -> Swept:
    """Trains the teacher and all students, and asks them all.

    Args:
      config: of `complete`.
      workdir: everything is kept below it; a run that was cut is taken up, one of another
        configuration is refused.

    Returns:
      What came out.

    Raises:
      ValueError: a configuration that cannot run, before anything is trained.
    """
    parts = _load(config)
    batch_size = min(config.batch_size, len(parts.train))
    steps = config.epochs * (len(parts.train) // batch_size)
    numbers = grid(
        learning_rate=config.learning_rates,
        temperature=_with(config.temperatures, config.default_temperature),
        alpha=_with(config.alphas, config.default_alpha),
        seed=range(config.seeds),
    )
    labels_numbers = grid(learning_rate=config.learning_rates, seed=range(config.seeds))

    def make_student(seed: int) -> jaxkd.Network:
        pixels = int(np.prod(parts.train.inputs.shape[1:]))
        model = MLP(pixels, (config.width,), parts.train.num_classes, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(model)

    def population(objective: Callable[..., jaxkd.Objective], chosen: Mapping[str, list[float]]):
        count, devices = len(chosen["seed"]), jax.devices()
        if jax.process_count() == 1:  # as many as share the students evenly
            devices = devices[: max(n for n in range(1, len(devices) + 1) if count % n == 0)]
        mesh = make_mesh(devices=devices) if len(devices) > 1 else None
        return Population(make_student, objective, scaled, chosen, views=VIEWS, mesh=mesh)

    def scaled(learning_rate: float) -> optax.GradientTransformation:
        return optax.chain(optimizer(1.0, steps), optax.scale(learning_rate))

    size = config.chunk or len(numbers["seed"])
    chunks = [
        {name: values[start : start + size] for name, values in numbers.items()}
        for start in range(0, len(numbers["seed"]), size)
    ]
    # Every temperature and weight is looked at here, before anything is trained.
    populations = [population(recipes.kd, chunk) for chunk in chunks]
    baseline = population(lambda: recipes.labels(), labels_numbers)
    bind_config(workdir, dataclasses.asdict(config))
    study = Study(
        workdir=workdir,
        make_student=make_student,
        test=parts.test,
        views=VIEWS,
        test_views=VIEWS,
        num_views=1,
        batch_size=batch_size,
        learning_rate=OWN[config.dataset]["learning_rate"],
        seeds=tuple(range(config.seeds)),
        steps_per_call=100,
        partitioning=launch.partitioning(),
        profile=launch.PROFILE.value,
    )
    teacher, cache = _teacher(config, study, parts)
    few = min(batch_size, len(parts.labeled))
    labels_only, _ = train(
        baseline,
        Loader(parts.labeled, VIEWS, few, process=(0, 1)),
        parts,
        steps,
        workdir / "labels",
        labels_numbers,
        f"labels alone, {len(labels_numbers['seed'])} students",
    )
    results: list[Setting] = []
    seconds = 0.0
    for index, (students, chunk) in enumerate(zip(populations, chunks, strict=True)):
        trained, took = train(
            students,
            Loader(parts.train, VIEWS, batch_size, cache=cache, process=(0, 1)),
            parts,
            steps,
            workdir / "students" / str(index),
            chunk,
            f"{len(chunk['seed'])} students, part {index + 1} of {len(chunks)}",
        )
        results += trained
        seconds += took
    return Swept(
        config=config,
        teacher_accuracy=jaxkd.metrics.accuracy(test_logits(study, teacher), parts.test.labels),
        labels=gather(labels_only),
        results=gather(results),
        students=len(numbers["seed"]),
        labeled=len(parts.labeled),
        examples=len(parts.train),
        validation=len(parts.validation),
        steps=steps,
        seconds=seconds,
    )


def _load(config: Config) -> Parts:
    if config.dataset == "digits":
        train, test = digits.load("train"), digits.load("test")
    else:
        train, test = (
            fashion_mnist.load(split, data_dir=config.data_dir or None)
            for split in ("train", "test")
        )
    held_out = split_labels(train, config.validation_per_class, seed=1)
    known = train.select(np.setdiff1d(train.ids, held_out))
    ids = known.ids
    if config.regime == "few":
        ids = split_labels(known, config.labels_per_class, seed=0)
    return Parts(known, known.with_labels(ids), known.select(ids), train.select(held_out), test)


def _with(values: Sequence[float], default: float) -> list[float]:
    """The values in ascending order, the default's among them."""
    return sorted({*values, default})


def _teacher(config: Config, study: Study, parts: Parts) -> tuple[jaxkd.Network, Cache]:
    dropout_rate = OWN[config.dataset]["dropout_rate"]
    shape = parts.known.inputs.shape[1:]
    model = CNN(
        shape, (16, 32), 64, parts.known.num_classes, dropout_rate=dropout_rate, rngs=nnx.Rngs(100)
    )
    steps = config.teacher_epochs * (len(parts.known) // study.batch_size)
    teacher = train_teacher(study, jaxkd.from_nnx(model), parts.known, steps)
    path = study.workdir / "cache"
    jaxkd.cache.build(path, teacher, parts.known, VIEWS)
    return teacher, jaxkd.cache.open(path, teacher=teacher, dataset=parts.known, views=VIEWS)


if __name__ == "__main__":
    launch.run(main, Config(), "runs/sweep")
