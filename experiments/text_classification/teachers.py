"""Teachers of experiments.text_classification: classifiers of some labels on one frozen encoder."""

import dataclasses
import functools
import pathlib

import jax
import numpy as np
from flax import nnx

import jaxkd
from experiments.common.sentence_encoders import Teacher
from experiments.common.teachers import train_teacher
from experiments.text_classification.config import Config
from jaxkd import Network, Views
from jaxkd.cache import Cache, Writer
from jaxkd.data import Dataset, Sequences
from jaxkd.study import Study
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Dense


@dataclasses.dataclass(frozen=True)
class TrainedTeacher:
    """A teacher and its logits.

    Attributes:
      network: the encoder with a trained classifier.
      cache: cached logits of the training texts.
      logits: logits of the test texts, `[texts, num_classes]`.
    """

    network: Network
    cache: Cache
    logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class TeacherTraining:
    """Trains linear classifiers on the embeddings of an encoder, which computes these once.

    Attributes:
      config: configuration of the experiment.
      workdir: folder of the embeddings, the classifiers and their cached logits.
      encoder: encoder with an untrained classifier.
      train: training texts, with all labels.
      test: test texts.
      runtime: devices and tracing.
    """

    config: Config
    workdir: pathlib.Path
    encoder: Teacher
    train: Sequences
    test: Sequences
    runtime: Runtime

    @functools.cached_property
    def embeddings(self) -> dict[str, Dataset]:
        """The encoder's embeddings of both splits, as data sets with the labels of the texts."""
        return {"train": self._embedded(self.train), "test": self._embedded(self.test)}

    def trained(self, name: str, examples: Dataset) -> TrainedTeacher:
        """Trains a classifier on some of the embeddings, and caches the logits of all texts.

        Args:
          name: name of the teacher's folders.
          examples: embeddings of training texts with their labels.

        Returns:
          The encoder with the classifier, and its logits.
        """
        config = self.config
        study = Study(
            self.embeddings,
            lambda seed: self._classifier(),
            steps=config.teacher_steps,
            workdir=self.workdir / "teachers",
            batch_size=config.batch_size,
            learning_rate=config.teacher_learning_rate,
            runtime=self.runtime,
        )
        head = train_teacher(study, self._classifier(), examples, config.teacher_steps, name=name)
        encoder = self.encoder.network
        params = {f"head.{part}": value for part, value in head.params.items()}
        network = encoder.replace(params={**encoder.params, **params}, state=encoder.state)
        # The classifier is a dense layer: its logits follow from the embeddings on the host.
        kernel, bias = np.asarray(head.params["kernel"]), np.asarray(head.params["bias"])
        logits = {split: part.inputs @ kernel + bias for split, part in self.embeddings.items()}
        return TrainedTeacher(network, self._cache(name, network, logits["train"]), logits["test"])

    def _embedded(self, texts: Sequences) -> Dataset:
        cache = jaxkd.cache.build(
            self.workdir / f"embeddings_{texts.split}",
            self.encoder.network,
            texts,
            Views(),
            codec={"embedding": Dense("float32")},
            batch_size=64,
        )
        return Dataset.from_arrays(
            np.asarray(cache.read(texts.ids, 0).decode()["embedding"]),
            texts.labels,
            name=f"{texts.name}_embedded",
            split=texts.split,
            num_classes=texts.num_classes,
            ids=texts.ids,
        )

    def _classifier(self) -> Network:
        width, classes = self.encoder.width, self.train.num_classes
        return jaxkd.from_nnx(nnx.Linear(width, classes, rngs=nnx.Rngs(0)))

    def _cache(self, name: str, network: Network, logits: np.ndarray) -> Cache:
        """Writes logits into a cache of the whole network, in place of its own forward pass."""
        path = self.workdir / f"logits_{name}"
        with Writer(
            path,
            network,
            self.train,
            Views(),
            shapes={"logits": (self.train.num_classes,)},
            codec=Dense("float16"),
            process=(jax.process_index(), jax.process_count()),
        ) as writer:
            for ids, view in writer.missing(batch_size=1024):
                writer.write(ids, view, logits[self.train.rows(ids)])
        return jaxkd.cache.open(path, teacher=network, dataset=self.train, views=Views())
