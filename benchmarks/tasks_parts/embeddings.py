"""Sentence embeddings at half the teacher's width: two ways from a teacher, and one without."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from benchmarks.tasks_parts import protocol
from benchmarks.tasks_parts.sentences import EncodedTexts, Vocabulary
from benchmarks.tasks_parts.task import Measure, Task, TaskResult
from experiments.common.sentence_encoders import Teacher
from jaxkd import Objective, Term, Views, connectors, losses
from jaxkd.cache import Cache
from jaxkd.compression import count_parameters
from jaxkd.data import Dataset, Texts
from jaxkd.metrics import Metric
from jaxkd.models import StaticEmbedder
from jaxkd.targets import Dense

_LENGTH = 32
_NEAREST = 10
_RELATIONS = 500.0  # of the similarities in a batch, which are means of small numbers

CONTRAST, PROJECTED, REDUCED = (
    "no teacher: the sentence that follows",
    "teacher, through a projection to its width",
    "teacher, reduced to the student's width",
)
"""The arms."""


@dataclasses.dataclass(frozen=True)
class EmbeddingTask:
    """The task in two forms.

    Attributes:
      taught: with students that embed a sentence.
      contrast: with the same students, which also embed the sentence that follows.
      width: width of the students.
    """

    taught: Task
    contrast: Task
    width: int


@dataclasses.dataclass(frozen=True)
class SimilarityCorrelation(Metric):
    """Correlation of student's and teacher's similarities of all pairs of sentences of a batch.

    It is Pearson's, of cosines. Embeddings may be of any two widths.
    """

    def __call__(self, outputs: Any, batch: Any) -> Any:
        """Returns the count, the sums and the sums of products of the two similarities."""
        student, teacher, where = _similarities(outputs, batch)
        pairs = jnp.triu(where[:, None] & where[None, :], 1)
        parts = (jnp.ones_like(student), student, teacher)
        products = (student * student, teacher * teacher, student * teacher)
        return tuple(jnp.sum(jnp.where(pairs, part, 0)) for part in (*parts, *products))

    def compute(self, sums: Any) -> float:
        """Returns the correlation."""
        count, one, other, ones, others, both = (float(part) for part in sums)
        covariance = both - one * other / count
        return covariance / np.sqrt((ones - one**2 / count) * (others - other**2 / count))


@dataclasses.dataclass(frozen=True)
class NearestFound(Metric):
    """Share of sentences whose nearest one for the teacher is among ten nearest of the student."""

    def __call__(self, outputs: Any, batch: Any) -> Any:
        """Returns the number of those that are found, and of all."""
        student, teacher, where = _similarities(outputs, batch)
        others = where[None, :] & ~jnp.eye(len(where), dtype=bool)
        nearest = jnp.argmax(jnp.where(others, teacher, -jnp.inf), axis=1)
        ranked = jnp.where(others, student, -jnp.inf)
        found = jnp.take_along_axis(ranked, nearest[:, None], axis=1)
        rank = jnp.sum(ranked > found, axis=1)
        return jnp.sum((rank < _NEAREST) & where), jnp.sum(where)

    def compute(self, sums: Any) -> float:
        """Returns the share."""
        return float(sums[0]) / float(sums[1])


def half_width(train: Texts, test: Texts, encoder: Teacher, *, scale: float = 1.0) -> EmbeddingTask:
    """Makes the task.

    Args:
      train: training sentences.
      test: held-out sentences.
      encoder: the teacher.
      scale: share of the sentences and steps, for trying it out.

    Returns:
      The task.
    """
    counts = [round(count * scale) for count in (6000, 600, 1500)]
    chosen = _spread(_with_following(train), counts[0] + counts[1])
    validation = _spread(chosen, counts[1])
    ids = (np.setdiff1d(chosen, validation), validation, _spread(_with_following(test), counts[2]))
    encoded = [
        EncodedTexts.of(_where(texts, np.union1d(part, part + 1)), encoder, _LENGTH)
        for texts, part in zip((train, train, test), ids, strict=True)
    ]
    vocabulary = Vocabulary.of(encoded[0])
    splits = ("train", "validation", "test")
    data = {
        split: _dataset(split, rows, part, vocabulary)
        for split, rows, part in zip(splits, encoded, ids, strict=True)
    }
    width = encoder.width // 2

    def make_student(seed: int, call: Callable[..., Any] = _embedded) -> jaxkd.Network:
        bag = StaticEmbedder(len(vocabulary), width, normalize=False, rngs=nnx.Rngs(seed))
        return jaxkd.from_nnx(bag, call=call)

    taught = Task(
        name="Embeddings: sentences at half width",
        description="The teacher's embeddings of 384 numbers, by a bag of tokens with 192",
        **data,
        few=np.zeros(0, np.int32),
        make_teacher=lambda seed: _teacher(np.eye(encoder.width)),
        make_student=make_student,
        labels=Objective(following=Term(_following, student=("embedding", "following"))),
        distilled=functools.partial(_projected, width, encoder.width),
        measures={
            "correlation of similarities": Measure(SimilarityCorrelation()),
            "nearest found among ten": Measure(NearestFound()),
        },
        steps=max(2, round(600 * scale)),
        teacher_steps=0,
        rates=(1e-3, 3e-3, 1e-2, 3e-2),
        views=Views(),
        test_views=Views(),
        codec={"embedding": Dense("float16")},
        batch_size=128 if scale == 1 else 16,
    )
    both = functools.partial(make_student, call=_both_embedded)
    return EmbeddingTask(taught, dataclasses.replace(taught, make_student=both), width)


def run(task: EmbeddingTask, seeds: Sequence[int], folder: pathlib.Path) -> TaskResult:
    """Trains the students of all arms; learning rates are chosen on the validation sentences.

    Args:
      task: the task.
      seeds: seeds of the students of each arm.
      folder: empty folder for the caches.

    Returns:
      The results; in place of a teacher, the teacher's own embeddings at the students' width.
    """
    taught = task.taught
    embeddings = taught.train.inputs["embedding"]
    components = connectors.pca(embeddings, task.width, center=False)
    cache = protocol.cached(taught, taught.make_teacher(0), folder / "cache")
    arms: dict[str, tuple[Task, Any, Cache | None]] = {
        CONTRAST: (task.contrast, taught.labels, None),
        PROJECTED: (taught, taught.distilled, cache),
        REDUCED: (taught, _objective(connectors.ReducedTeacher(components)), cache),
    }
    results = {}
    for name, (of_arm, objective, outputs) in arms.items():
        together = protocol.population(of_arm, objective, seeds, decay=1e-3)
        results[name] = protocol.students(of_arm, together, taught.train, outputs)
    reduced = _teacher(components.components.T)
    size = count_parameters(taught.make_student(0).params)
    return TaskResult.of(
        taught,
        arms=results,
        teacher=protocol.scores(taught, reduced),
        control={},
        parameters=(size, 0),
    )


def _objective(connector: nnx.Module) -> Objective:
    pair = {"student": "embedding", "teacher": "embedding"}
    return Objective(
        cosine=Term(losses.feature_cosine, connector=connector, **pair),
        relations=Term(losses.sp, _RELATIONS, **pair),
    )


def _projected(width: int, teacher_width: int, seed: int) -> Objective:
    return _objective(connectors.Linear(width, teacher_width, rngs=nnx.Rngs(seed)))


def _following(student: Any, where: Any = None) -> Any:
    """Tells which sentence of the batch follows: what texts teach without teacher or label."""
    one, other = student
    return losses.info_nce(one, other, temperature=0.05, where=where, learned_teacher=True)


def _embedded(module: Any, inputs: Any) -> dict[str, Any]:
    return {"embedding": module(inputs["tokens"])[0]}


def _both_embedded(module: Any, inputs: Any) -> dict[str, Any]:
    return {
        "embedding": module(inputs["tokens"])[0],
        "following": module(inputs["following"])[0],
    }


def _teacher(directions: np.ndarray) -> jaxkd.Network:
    """Returns the teacher, whose embeddings are among the inputs, in some directions."""
    params = jnp.asarray(directions, jnp.float32)
    return jaxkd.from_function(
        lambda params, inputs: {"embedding": inputs["embedding"] @ params}, params
    )


def _similarities(outputs: Any, batch: Any) -> tuple[Any, Any, Any]:
    """Returns the cosines of all pairs of student and teacher, and which sentences count."""

    def cosines(vectors: Any) -> Any:
        lengths = jnp.linalg.norm(vectors, axis=1, keepdims=True)
        unit = vectors / jnp.maximum(lengths, 1e-12)
        return unit @ unit.T

    return cosines(outputs["embedding"]), cosines(batch["inputs"]["embedding"]), batch["where"]


def _with_following(texts: Texts) -> np.ndarray:
    """Returns the ids of sentences whose next one is there; ids of a chapter are consecutive."""
    return texts.ids[np.isin(texts.ids + 1, texts.ids)]


def _spread(ids: np.ndarray, count: int) -> np.ndarray:
    """Returns some ids, evenly spread over all."""
    return ids[np.linspace(0, len(ids) - 1, min(count, len(ids))).astype(int)]


def _where(texts: Texts, ids: np.ndarray) -> Texts:
    return texts.where(np.isin(texts.ids, ids), texts.split)


def _dataset(split: str, rows: EncodedTexts, ids: np.ndarray, vocabulary: Vocabulary) -> Dataset:
    tokens = vocabulary.number(rows)
    one, other = (np.searchsorted(rows.ids, part) for part in (ids, ids + 1))
    inputs = {
        "tokens": tokens[one],
        "following": tokens[other],
        "embedding": rows.embeddings[one],
    }
    return Dataset.from_arrays(inputs, name="austen_pairs", split=split, ids=ids)
