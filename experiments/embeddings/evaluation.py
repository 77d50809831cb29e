"""How alike two sentence encoders are."""

import dataclasses

import numpy as np

_NEAR = 4  # neighbors of each sentence among the near pairs
_FOUND = 10  # places in which the nearest neighbor is looked for


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pairs of sentences on which similarities are compared.

    Attributes:
      random: int `[pairs, 2]`, of any two sentences.
      near: int `[pairs, 2]`, of a sentence and one of those that the teacher finds nearest.
      nearest: int `[sentences]`, the teacher's nearest to each.
    """

    random: np.ndarray
    near: np.ndarray
    nearest: np.ndarray

    @classmethod
    def of(cls, teacher: np.ndarray, count: int) -> "Pairs":
        """Pairs by the teacher's embeddings.

        Args:
          teacher: embeddings `[sentences, width]` of length 1.
          count: of random pairs.

        Returns:
          The pairs, always the same.

        Raises:
          ValueError: fewer sentences than neighbors are looked for.
        """
        number = len(teacher)
        if number <= _FOUND:
            raise ValueError(f"{number} sentences are too few: hold out more than {_FOUND}")
        draws = np.random.PCG64(0).random_raw(2 * count).reshape(count, 2)
        first = draws[:, 0] % number
        other = (first + 1 + draws[:, 1] % (number - 1)) % number  # never itself
        order = _neighbors(teacher, _NEAR)
        near = np.stack([np.repeat(np.arange(number), _NEAR), order.ravel()], axis=1)
        return cls(np.stack([first, other], axis=1).astype(np.int64), near, order[:, 0])


def judge(student: np.ndarray, teacher: np.ndarray, pairs: Pairs) -> dict[str, float]:
    """How far a student agrees with its teacher.

    Args:
      student: embeddings `[sentences, width]`, of any length.
      teacher: `[sentences, width]`, of the same sentences, of length 1.
      pairs: of `Pairs.of`.

    Returns:
      - `cosine`: the mean cosine of the two embeddings of a sentence;
      - `spearman`: the rank correlation of the similarities of random pairs;
      - `near`: likewise of near pairs, which are all alike and hard to rank;
      - `found`: the share of sentences whose nearest for the teacher is among ten nearest for the
        student.
    """
    student = unit(student)
    near = _neighbors(student, _FOUND)
    return {
        "cosine": float(np.mean(np.sum(student * teacher, axis=1))),
        "spearman": spearman(student, teacher, pairs.random),
        "near": spearman(student, teacher, pairs.near),
        "found": float(np.mean((near == pairs.nearest[:, None]).any(axis=1))),
    }


def spearman(student: np.ndarray, teacher: np.ndarray, pairs: np.ndarray) -> float:
    """Rank correlation of two networks' similarities.

    Args:
      student: embeddings `[sentences, width]` of length 1.
      teacher: likewise, of another width perhaps.
      pairs: int `[pairs, 2]`.

    Returns:
      From -1 to 1; 0 where all of a network's similarities are the same.
    """
    from scipy.stats import spearmanr

    first, other = pairs.T
    ours, theirs = (np.sum(x[first] * x[other], axis=1) for x in (student, teacher))
    if np.ptp(ours) == 0 or np.ptp(theirs) == 0:
        return 0.0
    return float(spearmanr(ours, theirs).statistic)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors over their lengths, in float32; zeros stay."""
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _neighbors(vectors: np.ndarray, count: int) -> np.ndarray:
    """The nearest to each, itself left out, nearest first."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    return np.argsort(-cosines, axis=1, kind="stable")[:, :count]
