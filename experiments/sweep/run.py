"""Training of experiments.sweep."""

import dataclasses
import itertools
import pathlib

import numpy as np
from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.teachers import train_teacher
from experiments.sweep.config import OWN, Config
from experiments.sweep.results import SweepResults
from jaxkd.data import Dataset, split_labels
from jaxkd.models import CNN, MLP
from jaxkd.study import Arm, Study
from jaxkd.study.arms import LABELS
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> SweepResults:
    """Trains the teacher and all students, and measures them; refuses what cannot run before."""
    known, data = _load(config)
    train = data["train"]
    batch_size = min(config.batch_size, len(train))

    def make_student(seed: int) -> jaxkd.Network:
        pixels = int(np.prod(train.inputs.shape[1:]))
        model = MLP(pixels, (config.width,), train.num_classes, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(model)

    bind_config(workdir, dataclasses.asdict(config))
    study = Study(
        data,
        make_student,
        arms=_arms(config),
        seeds=config.seeds,
        steps=config.epochs * (len(train) // batch_size),
        workdir=workdir,
        caches=workdir / "caches",
        views=Views((Normalize(),)),
        batch_size=batch_size,
        learning_rate=OWN[config.dataset]["learning_rate"],
        population=config.chunk or True,
        evaluations=5,
        steps_per_call=100,
        runtime=runtime,
    )
    study = study.replace(teacher=_teacher(config, study, known))
    results = {
        rate: study.replace(learning_rate=rate, workdir=workdir / f"rate_{rate:g}").run()
        for rate in config.learning_rates
    }
    return SweepResults(config, results, {name: len(part) for name, part in data.items()})


def _arms(config: Config) -> list[Arm]:
    """Labels alone and all settings in ascending order, with the default among them."""
    temperatures = sorted({*config.temperatures, config.default_temperature})
    alphas = sorted({*config.alphas, config.default_alpha})
    return [
        Arm(LABELS, data="labeled"),
        *(
            Arm("kd", {"alpha": alpha, "temperature": temperature})
            for temperature, alpha in itertools.product(temperatures, alphas)
        ),
    ]


def _load(config: Config) -> tuple[Dataset, dict[str, Dataset]]:
    """Loads the examples of the teacher, with all labels, and those of the study."""
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir)
        for split in ("train", "test")
    )
    held_out = split_labels(train, config.validation_per_class, seed=1)
    known = train.select(np.setdiff1d(train.ids, held_out))
    few = config.regime == "few"
    ids = split_labels(known, config.labels_per_class, seed=0) if few else known.ids
    return known, {
        "train": known.with_labels(ids),
        "labeled": known.select(ids),
        "validation": train.select(held_out),
        "test": test,
    }


def _teacher(config: Config, study: Study, known: Dataset) -> jaxkd.Network:
    model = CNN(
        known.inputs.shape[1:],
        (16, 32),
        64,
        known.num_classes,
        dropout_rate=OWN[config.dataset]["dropout_rate"],
        rngs=nnx.Rngs(100),
    )
    steps = config.teacher_epochs * (len(known) // study.batch_size)
    return train_teacher(study, jaxkd.from_nnx(model), known, steps)
