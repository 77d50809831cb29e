"""Training of experiments.embeddings."""

import dataclasses
import pathlib

import numpy as np

from experiments.common.mock_texts import mock_texts, mock_tokenizer
from experiments.common.runtime import Runtime
from experiments.common.sentence_encoders import (
    Teacher,
    encoder_student,
    load_teacher,
    mock_teacher,
    rows_of,
    static_student,
)
from experiments.datasets import austen
from experiments.embeddings.config import Config, check
from experiments.embeddings.training import Embedded, Protocol
from jaxkd import Network
from jaxkd.data import Sequences
from jaxkd.training import bind_config


def load(config: Config) -> tuple[Teacher, Sequences, Sequences]:
    """The teacher, and training and held-out sentences in its tokens.

    Raises:
      FileNotFoundError: files of the teacher or the novels are missing.
      ValueError: a tokenizer that is not the teacher's, fewer sentences than a batch.
    """
    if config.mock:
        teacher = mock_teacher(mock_tokenizer())
        texts = mock_texts(config.mock, "train"), mock_texts(300, "test")
    else:
        teacher = load_teacher(config.teacher)
        folder = config.data_dir or None
        texts = (
            austen.sentences("train", data_dir=folder),
            austen.sentences("test", data_dir=folder),
        )
    train, test = texts
    if config.sentences:
        if config.sentences > len(train):
            raise ValueError(
                f"sentences={config.sentences} is more than the {len(train)} that there are"
            )
        spread = np.linspace(0, len(train) - 1, config.sentences).astype(int)
        train = train.where(np.isin(np.arange(len(train)), spread))
    if len(train) < config.batch_size:
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train)} training sentences"
        )
    # A class for the whole sentence, of which none is known: next tokens are nobody's business.
    train, test = (dataclasses.replace(part, num_classes=1) for part in (train, test))
    return teacher, rows_of(train, teacher, config.length), rows_of(test, teacher, config.length)


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> Embedded:
    """Asks the teacher, trains all students of the chosen arms, judges them and times them.

    Args:
      config: the experiment.
      workdir: everything is kept below it; runs that were finished before are read, and a work
        directory of another configuration (arms aside) is refused.
      runtime: devices, tracing and consent.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: as `load`.
      ValueError: a configuration that cannot run, before anything is trained.
      CacheError: the cache there is of another teacher, of other sentences or another tokenizer.
    """
    check(config)
    teacher, train, test = load(config)

    def encoder(seed: int) -> Network:
        return encoder_student(
            teacher,
            width=config.student_width,
            layers=config.student_layers,
            heads=config.student_heads,
            length=config.length,
            seed=seed,
        )

    def static(seed: int) -> Network:
        return static_student(teacher, train, width=config.static_width, seed=seed)

    arms = config.arms.split(",")
    # Sizes that do not go together are found before the teacher is asked anything.
    made = {"encoder": encoder, "static": static}
    for kind in {name.split("_")[0] for name in arms}:
        made[kind](0)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    protocol = Protocol(config, workdir, teacher, train, test, made, runtime)
    return protocol.run(arms)
