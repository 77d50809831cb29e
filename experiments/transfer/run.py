"""The trainings of experiments.transfer."""

import dataclasses
import math
import pathlib

from flax import nnx

import jaxkd
from experiments import datasets
from experiments.transfer import regimes
from experiments.transfer.config import Config
from experiments.transfer.regimes import TransferResults, TransferTrainer
from jaxkd.data import Dataset, split_labels
from jaxkd.models import MLP
from jaxkd.study import Study
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config
from jaxkd.views import Normalize, Views


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Loads training and test examples, with all labels; refuses what does not fit them."""
    train, test = (
        datasets.load_images(config.dataset, split, data_dir=config.data_dir, mock=config.mock)
        for split in ("train", "test")
    )
    for name in ("left_out_classes", "only_classes"):
        if missing := [c for c in getattr(config, name) if c >= train.num_classes]:
            raise ValueError(f"{name}: {missing} are not among the {train.num_classes} classes")
    if len(config.only_classes) == train.num_classes:
        raise ValueError(f"only_classes={config.only_classes} leaves none of the classes out")
    if config.batch_size > len(train):
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} examples")
    # A source of its own, also where it was selected from a larger one: with other labels on the
    # same examples it keeps its fingerprint, and the teachers' cached outputs stay valid.
    return dataclasses.replace(train), test


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> TransferResults:
    """Trains all teachers and students of the chosen regimes; refuses what cannot run before."""
    train, test = load(config)
    trainer = _trainer(config, workdir, train, test, runtime)
    # Raises for counts that a class does not have, and for teachers whose poolings leave nothing.
    few = {count: split_labels(train, count, seed=0) for count in sorted(config.labels_per_class)}
    trainer.make_teacher(config.teacher_width)
    # Bound to the configuration only now that it is known to be a good one.
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "regimes"})
    results = TransferResults(trainer, trainer.train_teacher("all_labels", train))
    chosen = config.regimes.split(",")
    if set(chosen) != {"left_out"}:
        regimes.all_labels(results)
    if "few_labels" in chosen:
        for count, ids in few.items():
            regimes.few_labels(results, count, ids)
    if "left_out" in chosen:
        regimes.left_out(results)
    if "noise" in chosen:
        for share in sorted(config.noise):
            regimes.noise(results, share)
    if "capacity" in chosen:
        regimes.capacity(results)
    return results


def _trainer(
    config: Config, workdir: pathlib.Path, train: Dataset, test: Dataset, runtime: Runtime
) -> TransferTrainer:
    per_epoch = len(train) // config.batch_size
    study = Study(
        {"train": train, "test": test},
        lambda seed: jaxkd.from_nnx(
            MLP(math.prod(train.shape), (config.width,), train.num_classes, rngs=nnx.Rngs(seed))
        ),
        seeds=config.seeds,
        steps=config.epochs * per_epoch,
        workdir=workdir,
        caches=workdir / "caches",
        views=Views((Normalize(),)),
        batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        population=False,
        steps_per_call=100,
        runtime=runtime,
    )
    return TransferTrainer(config, study, train, config.teacher_epochs * per_epoch)
