"""Training of experiments.text_classification."""

import dataclasses
import functools
import pathlib

from flax import nnx

import jaxkd
from experiments.common.costs import interleaved_speeds
from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.runtime import Runtime
from experiments.common.sentence_encoders import Teacher, load_teacher, mock_teacher, rows_of
from experiments.common.study import Study
from experiments.datasets import fortunes, spam
from experiments.text_classification.config import Config, check
from experiments.text_classification.training import VIEWS, Classified, Protocol
from jaxkd import Network, recipes
from jaxkd.data import Sequences, split_labels
from jaxkd.models import Encoder, StaticEmbedder
from jaxkd.training import bind_config


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """The encoder with an untrained classifier, and training and test texts in its tokens.

    Raises:
      FileNotFoundError: files of the encoder or the texts are missing.
      ValueError: a tokenizer that is not the encoder's, fewer texts than a batch.
    """
    folder = config.data_dir or None
    if config.mock:
        train, test = (
            mock_texts(count, split, num_classes=3)
            for count, split in ((config.mock, "train"), (300, "test"))
        )
        teacher = mock_teacher(mock_tokenizer(), num_classes=3)
    else:
        if config.dataset == "spam":
            train, test = spam.load("train", data_dir=folder), spam.load("test", data_dir=folder)
        else:
            source = folder or fortunes.DEBIAN_SOURCE_DIR
            train = fortunes.load("train", source_dir=source)
            test = fortunes.load("test", source_dir=source)
        teacher = load_teacher(config.teacher, num_classes=train.num_classes)
    if len(train) < config.batch_size:
        raise ValueError(f"batch_size={config.batch_size} is more than the {len(train)} texts")
    return teacher, rows_of(train, teacher, config.length), rows_of(test, teacher, config.length)


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> Classified:
    """Asks the encoder, trains both teachers and all students, and times the networks.

    Args:
      config: the experiment.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (students aside) is refused.
      runtime: devices, tracing and consent.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another encoder, of other texts or another tokenizer.
    """
    check(config)
    recipes.kd(alpha=config.alpha, temperature=config.temperature)
    teacher, train, test = load(config)
    few = split_labels(train, config.labels_per_class, seed=0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "students"})
    studies = {
        name: Study(
            workdir=workdir / name,
            make_student=functools.partial(student, config, train, name),
            test=test,
            views=VIEWS,
            test_views=VIEWS,
            num_views=1,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            seeds=tuple(range(config.seeds)),
            steps_per_call=20,
            runtime=runtime,
        )
        for name in config.students.split(",")
    }
    classified = Protocol(config, workdir, teacher, train, test, few, runtime).run(studies)
    batch = test.read(test.ids[: min(config.speed_batch, len(test))])
    speeds = interleaved_speeds(classified.networks, batch, rounds=config.speed_rounds)
    return dataclasses.replace(classified, speeds=speeds)


def student(config: Config, train: Sequences, name: str, seed: int) -> Network:
    """A fresh student of random weights."""
    rngs = nnx.Rngs(seed)
    if name == "static":
        # The dense layer behind the mean leads to the classes.
        return jaxkd.from_nnx(
            StaticEmbedder(
                train.vocab_size,
                train.num_classes,
                table_width=config.static_width,
                normalize=False,
                rngs=rngs,
            )
        )
    return jaxkd.from_nnx(
        Encoder(
            train.vocab_size,
            config.student_width,
            config.student_layers,
            config.student_heads,
            max_length=config.length,
            num_classes=train.num_classes,
            rngs=rngs,
        )
    )
