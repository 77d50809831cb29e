"""Training of experiments.sweep."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.study import Study, adamw
from experiments.common.teachers import train_teacher
from experiments.sweep.config import OWN, Config
from experiments.sweep.training import VIEWS, Setting, SweepData, SweepResults, group_seeds, train
from jaxkd import recipes
from jaxkd.cache import Cache
from jaxkd.data import Loader, split_labels
from jaxkd.models import CNN, MLP
from jaxkd.study.runtime import Runtime
from jaxkd.training import Population, bind_config, grid, make_mesh


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> SweepResults:
    """Trains the teacher and all students, and measures them; refuses what cannot run before."""
    data = _load(config)
    batch_size = min(config.batch_size, len(data.train))
    steps = config.epochs * (len(data.train) // batch_size)
    # In ascending order, with the default among them.
    numbers = grid(
        learning_rate=config.learning_rates,
        temperature=sorted({*config.temperatures, config.default_temperature}),
        alpha=sorted({*config.alphas, config.default_alpha}),
        seed=range(config.seeds),
    )
    labels_numbers = grid(learning_rate=config.learning_rates, seed=range(config.seeds))

    def make_student(seed: int) -> jaxkd.Network:
        pixels = int(np.prod(data.train.inputs.shape[1:]))
        model = MLP(pixels, (config.width,), data.train.num_classes, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(model)

    def population(objective: Callable[..., jaxkd.Objective], chosen: Mapping[str, list[float]]):
        count, devices = len(chosen["seed"]), jax.devices()
        if jax.process_count() == 1:  # as many as share the students evenly
            devices = devices[: max(n for n in range(1, len(devices) + 1) if count % n == 0)]
        mesh = make_mesh(devices=devices) if len(devices) > 1 else None
        return Population(make_student, objective, scaled, chosen, views=VIEWS, mesh=mesh)

    def scaled(learning_rate: float) -> optax.GradientTransformation:
        return optax.chain(adamw(1.0, steps), optax.scale(learning_rate))

    labels_count, count = len(labels_numbers["seed"]), len(numbers["seed"])
    size = config.chunk or count
    chunks = [
        {name: values[start : start + size] for name, values in numbers.items()}
        for start in range(0, count, size)
    ]
    # Every temperature and weight is checked here, before anything is trained.
    populations = [population(recipes.kd, chunk) for chunk in chunks]
    baseline = population(lambda: recipes.labels(), labels_numbers)
    bind_config(workdir, dataclasses.asdict(config))
    study = Study(
        workdir=workdir,
        make_student=make_student,
        test=data.test,
        views=VIEWS,
        test_views=VIEWS,
        batch_size=batch_size,
        learning_rate=OWN[config.dataset]["learning_rate"],
        seeds=tuple(range(config.seeds)),
        steps_per_call=100,
        runtime=runtime,
    )
    teacher, cache = _teacher(config, study, data)
    few = min(batch_size, len(data.labeled))
    labels_only, _ = train(
        baseline,
        Loader(data.labeled, VIEWS, few, process=(0, 1)),
        data,
        steps,
        workdir / "labels",
        labels_numbers,
        f"labels alone, {labels_count} students",
        runtime,
    )
    results: list[Setting] = []
    seconds = 0.0
    for index, (students, chunk) in enumerate(zip(populations, chunks, strict=True)):
        trained, took = train(
            students,
            Loader(data.train, VIEWS, batch_size, cache=cache, process=(0, 1)),
            data,
            steps,
            workdir / "students" / str(index),
            chunk,
            f"{len(chunk['seed'])} students, part {index + 1} of {len(chunks)}",
            runtime,
        )
        results += trained
        seconds += took
    return SweepResults(
        config=config,
        teacher_accuracy=jaxkd.metrics.accuracy(
            study.test_evaluator.logits(teacher), data.test.labels
        ),
        labels=group_seeds(labels_only),
        results=group_seeds(results),
        students=count,
        labeled=len(data.labeled),
        examples=len(data.train),
        validation=len(data.validation),
        steps=steps,
        seconds=seconds,
        test=data.test,
    )


def _load(config: Config) -> SweepData:
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir)
        for split in ("train", "test")
    )
    held_out = split_labels(train, config.validation_per_class, seed=1)
    known = train.select(np.setdiff1d(train.ids, held_out))
    few = config.regime == "few"
    ids = split_labels(known, config.labels_per_class, seed=0) if few else known.ids
    return SweepData(known, known.with_labels(ids), known.select(ids), train.select(held_out), test)


def _teacher(config: Config, study: Study, data: SweepData) -> tuple[jaxkd.Network, Cache]:
    model = CNN(
        data.known.inputs.shape[1:],
        (16, 32),
        64,
        data.known.num_classes,
        dropout_rate=OWN[config.dataset]["dropout_rate"],
        rngs=nnx.Rngs(100),
    )
    steps = config.teacher_epochs * (len(data.known) // study.batch_size)
    teacher = train_teacher(study, jaxkd.from_nnx(model), data.known, steps)
    return teacher, jaxkd.cache.build(study.workdir / "cache", teacher, data.known, VIEWS)
