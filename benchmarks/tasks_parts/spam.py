"""One decision of yes or no: whether an email is spam."""

from typing import Any

import numpy as np
from flax import nnx

import jaxkd
from benchmarks.tasks_parts.sentences import EncodedTexts, Vocabulary
from benchmarks.tasks_parts.task import Measure, Task, parts
from experiments.common.sentence_encoders import Teacher
from jaxkd import Objective, Term, Views, losses, metrics, recipes
from jaxkd.data import Dataset, Texts, split_labels
from jaxkd.models import StaticEmbedder

_LENGTH, _VALIDATION = 64, 500


def binary(train: Texts, test: Texts, encoder: Teacher, *, scale: float = 1.0) -> Task:
    """Makes the task.

    Args:
      train: training emails with their classes, ham and spam.
      test: held-out emails.
      encoder: sentence encoder below the teacher.
      scale: share of the emails and steps, for trying it out.

    Returns:
      The task: 20 labeled emails of each class.
    """
    train, test = (_first(texts, scale) for texts in (train, test))
    encoded = {
        part: EncodedTexts.of(texts, encoder, _LENGTH)
        for part, texts in (("train", train), ("test", test))
    }
    vocabulary = Vocabulary.of(encoded["train"])
    data, held_out = (_dataset(encoded[texts.split], texts, vocabulary) for texts in (train, test))
    validation = min(_VALIDATION, len(data) // 4)
    rows = parts(len(data), {"validation": validation, "train": len(data) - validation}, 0)
    chosen = {name: data.select(data.ids[rows[name]]) for name in rows}
    few = split_labels(train.where(np.isin(train.ids, chosen["train"].ids), "train"), 20, seed=0)

    def make_teacher(seed: int) -> jaxkd.Network:
        head = nnx.Linear(encoder.width, 1, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(head, call=lambda module, inputs: module(inputs["embedding"]))

    def make_student(seed: int) -> jaxkd.Network:
        bag = StaticEmbedder(
            len(vocabulary), 1, table_width=16, normalize=False, rngs=nnx.Rngs(seed)
        )
        return jaxkd.from_nnx(bag, call=lambda module, inputs: module(inputs["tokens"]))

    return Task(
        name="Binary: spam",
        description="Whether an email is spam; the student is a bag of tokens",
        **chosen,
        test=held_out,
        few=few,
        make_teacher=make_teacher,
        make_student=make_student,
        labels=Objective(label=Term(losses.binary_cross_entropy)),
        distilled=_distilled,
        measures={
            "average precision": Measure(metrics.AveragePrecision()),
            "F1": Measure(metrics.BinaryF1()),
            "accuracy": Measure(metrics.BinaryAccuracy()),
        },
        steps=max(2, round(600 * scale)),
        teacher_steps=max(2, round(600 * scale)),
        teacher_rate=3e-2,
        views=Views(),
        test_views=Views(),
    )


def _distilled(alpha: Any) -> Objective:
    return recipes.binary_kd(alpha=alpha, temperature=2.0)


def _first(texts: Texts, scale: float) -> Texts:
    kept = np.arange(len(texts)) % 997 < 997 * scale
    return texts.where(kept, texts.split)


def _dataset(rows: EncodedTexts, texts: Texts, vocabulary: Vocabulary) -> Dataset:
    return Dataset.from_arrays(
        {"tokens": vocabulary.number(rows), "embedding": rows.embeddings},
        texts.labels[:, None],
        name="spam",
        split=texts.split,
        num_classes=1,
        ids=rows.ids,
    )
