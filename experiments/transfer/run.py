"""Training of experiments.transfer."""

import dataclasses
import math
import pathlib

from flax import nnx

import jaxkd
from experiments import datasets
from experiments.common.runtime import Runtime
from experiments.common.study import Study
from experiments.transfer import regimes as transfer_regimes
from experiments.transfer.config import Config
from experiments.transfer.regimes import VIEWS, Protocol, Transferred
from jaxkd import recipes
from jaxkd.data import Dataset, split_labels
from jaxkd.models import MLP
from jaxkd.training import bind_config


def load(config: Config) -> tuple[Dataset, Dataset]:
    """Training and test examples, with all labels.

    Raises:
      ValueError: classes of the configuration that the data have not, a batch larger than the data.
    """
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
    # same examples it keeps its fingerprint, and the teachers' answers stay valid.
    return dataclasses.replace(train), test


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> Transferred:
    """Trains all teachers and students of the chosen regimes.

    Args:
      config: of `complete`.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (regimes aside) is refused.
      runtime: devices, tracing and consent.

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
        runtime=runtime,
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
