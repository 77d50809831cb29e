"""Training of experiments.sweep."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments.common.runtime import Runtime
from experiments.common.study import Study, adamw
from experiments.common.teachers import train_teacher
from experiments.datasets import fashion_mnist
from experiments.sweep.config import OWN, Config
from experiments.sweep.training import VIEWS, Parts, Setting, Swept, gather, train
from jaxkd import recipes
from jaxkd.cache import Cache
from jaxkd.data import Loader, digits, split_labels
from jaxkd.models import CNN, MLP
from jaxkd.training import Population, bind_config, grid, make_mesh


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> Swept:
    """Trains the teacher and all students, and asks them all.

    Args:
      config: of `complete`.
      workdir: everything is kept below it; a run that was cut is taken up, one of another
        configuration is refused.
      runtime: devices, tracing and consent.

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
        return optax.chain(adamw(1.0, steps), optax.scale(learning_rate))

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
        runtime=runtime,
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
        runtime,
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
            runtime,
        )
        results += trained
        seconds += took
    return Swept(
        config=config,
        teacher_accuracy=jaxkd.metrics.accuracy(study.evaluator.logits(teacher), parts.test.labels),
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
