"""How closely the embeddings of two sentence encoders agree."""

import dataclasses
from typing import Any

import numpy as np

from jaxkd import Network
from jaxkd.study import Evaluator

_NEAR = 4  # neighbors of each sentence among the near pairs
_NEAREST = 10  # neighbors of a student among which the teacher's nearest is looked up


@dataclasses.dataclass(frozen=True)
class SentencePairs:
    """Pairs of sentences on which similarities are compared.

    Attributes:
      random: int `[pairs, 2]`, indices of two different sentences.
      near: int `[pairs, 2]`, indices of a sentence and of one of its neighbors for the teacher.
      nearest: int `[sentences]`, index of the teacher's nearest neighbor of each sentence.
    """

    random: np.ndarray
    near: np.ndarray
    nearest: np.ndarray

    @classmethod
    def of(cls, teacher: np.ndarray, count: int) -> "SentencePairs":
        """Selects pairs by the teacher's embeddings, the same in every call.

        Args:
          teacher: normalized embeddings `[sentences, width]`.
          count: number of random pairs.

        Returns:
          The pairs.

        Raises:
          ValueError: no more sentences than neighbors are needed.
        """
        sentences = len(teacher)
        if sentences <= _NEAREST:
            raise ValueError(f"{sentences} sentences are too few: hold out more than {_NEAREST}")
        # NumPy keeps the raw stream of a bit generator in all its versions.
        bits = np.random.PCG64(0).random_raw(2 * count).reshape(count, 2)
        first = bits[:, 0] % sentences
        second = (first + 1 + bits[:, 1] % (sentences - 1)) % sentences  # another sentence
        order = _neighbors(teacher, _NEAR)
        near = np.stack([np.repeat(np.arange(sentences), _NEAR), order.ravel()], axis=1)
        return cls(np.stack([first, second], axis=1).astype(np.int64), near, order[:, 0])


class EmbeddingEvaluator(Evaluator):
    """Compares students' embeddings of held-out sentences with those of their teacher.

    Args:
      *arguments: held-out sentences, views and runtime of `Evaluator`.
      teacher: the teacher's embeddings `[sentences, width]`, normalized.
      pairs: pairs of these sentences.
    """

    def __init__(self, *arguments: Any, teacher: np.ndarray, pairs: SentencePairs):
        super().__init__(*arguments)
        self._teacher, self._pairs = teacher, pairs

    def names(self, network: Network) -> list[str]:
        """Returns the name of the score."""
        return ["spearman"]

    def scores(self, network: Network) -> dict[str, float]:
        """Returns the rank correlation on random pairs."""
        student = normalized(self.logits(network))
        return {"spearman": spearman(student, self._teacher, self._pairs.random)}

    def results(self, network: Network) -> dict[str, np.ndarray]:
        """Returns the numbers of `embedding_agreement`."""
        scores = embedding_agreement(self.logits(network), self._teacher, self._pairs)
        return {name: np.array(score) for name, score in scores.items()}


def embedding_agreement(
    student: np.ndarray, teacher: np.ndarray, pairs: SentencePairs
) -> dict[str, float]:
    """Computes how closely a student agrees with its teacher.

    Args:
      student: embeddings `[sentences, width]`, normalized or not.
      teacher: normalized embeddings `[sentences, width]` of the same sentences.
      pairs: pairs of these sentences.

    Returns:
      - `cosine`: the mean cosine of the two embeddings of a sentence;
      - `spearman`: the rank correlation of the similarities of random pairs;
      - `near`: the rank correlation on near pairs, which are all similar and hard to rank;
      - `nearest`: the share of sentences whose nearest neighbor for the teacher is among the ten
        nearest for the student.
    """
    student = normalized(student)
    neighbors = _neighbors(student, _NEAREST)
    return {
        "cosine": float(np.mean(np.sum(student * teacher, axis=1))),
        "spearman": spearman(student, teacher, pairs.random),
        "near": spearman(student, teacher, pairs.near),
        "nearest": float(np.mean((neighbors == pairs.nearest[:, None]).any(axis=1))),
    }


def spearman(student: np.ndarray, teacher: np.ndarray, pairs: np.ndarray) -> float:
    """Computes the rank correlation of two networks' similarities.

    Args:
      student: normalized embeddings `[sentences, width]`.
      teacher: normalized embeddings `[sentences, width]`, of any other width.
      pairs: int `[pairs, 2]`, indices of sentences.

    Returns:
      The correlation, from -1 to 1; 0 where all similarities of a network are the same.
    """
    from scipy.stats import spearmanr

    first, second = pairs.T
    of_student, of_teacher = (np.sum(x[first] * x[second], axis=1) for x in (student, teacher))
    if np.ptp(of_student) == 0 or np.ptp(of_teacher) == 0:
        return 0.0
    return float(spearmanr(of_student, of_teacher).statistic)


def normalized(vectors: np.ndarray) -> np.ndarray:
    """Returns vectors divided by their lengths, in float32; zeros stay zeros."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _neighbors(vectors: np.ndarray, count: int) -> np.ndarray:
    """Returns the indices of each vector's nearest others, nearest first."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]
