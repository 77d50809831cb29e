"""Which examples teacher and student predict differently, and which of them a report shows."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

from jaxkd.study.class_figures import is_classes

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

BOTH_RIGHT = "Both are right"
TEACHER_RIGHT = "Only the teacher is right"
STUDENT_RIGHT = "Only the student is right"
BOTH_WRONG = "Both are wrong"
_MOST_SHOWN = 12


@dataclasses.dataclass(frozen=True)
class Example:
    """An example that teacher and student predict differently.

    Attributes:
      position: its row among the examples.
      case: who is right, `TEACHER_RIGHT`, `STUDENT_RIGHT` or `BOTH_WRONG`.
      label: its class.
      teacher: the teacher's class and the probability that it gives it.
      student: the student's.
    """

    position: int
    case: str
    label: int
    teacher: tuple[int, float]
    student: tuple[int, float]


@dataclasses.dataclass(frozen=True)
class Differing:
    """How often teacher and student are right, and examples that they predict differently.

    Attributes:
      counts: who is right → number of labeled examples, all four cases.
      differ: number of labeled examples for which they predict different classes.
      examples: some of these, by case; of each case those on which the one that is wrong is the
        most confident.
    """

    counts: dict[str, int]
    differ: int
    examples: list[Example]


def differing(results: StudyResults, arm: str) -> Differing | None:
    """Compares the student of an arm and of the first seed with the teacher of the study.

    Args:
      results: results of the study.
      arm: name of the arm.

    Returns:
      The cases and at most twelve examples: half of them of `TEACHER_RIGHT`, half of
      `STUDENT_RIGHT`, as far as there are so many, then of `BOTH_WRONG`. None where labels are not
      classes, the logits of one of the two are not known, or the arm has another teacher.
    """
    from scipy.special import softmax

    part = results.shown_part
    labels, teacher = results.labels.get(part), results.teacher_logits.get(part)
    student = results[arm].logits.get(part)
    if results[arm].has_own_teacher:
        return None
    if labels is None or teacher is None or student is None:
        return None
    if teacher.shape != student.shape[1:] or not is_classes(student, labels):
        return None
    if not np.isfinite(teacher).all():
        return None
    of_teacher, of_student = softmax(teacher, -1), softmax(student[0], -1)
    classes = of_teacher.argmax(-1), of_student.argmax(-1)
    known, differ = labels >= 0, classes[0] != classes[1]
    right = [chosen == labels for chosen in classes]
    masks = {
        BOTH_RIGHT: known & right[0] & right[1],
        TEACHER_RIGHT: known & right[0] & ~right[1],
        STUDENT_RIGHT: known & right[1] & ~right[0],
        BOTH_WRONG: known & ~right[0] & ~right[1],
    }
    sure = of_teacher.max(-1), of_student.max(-1)
    wrong_by = {
        TEACHER_RIGHT: _first(masks[TEACHER_RIGHT], sure[1]),
        STUDENT_RIGHT: _first(masks[STUDENT_RIGHT], sure[0]),
        BOTH_WRONG: _first(masks[BOTH_WRONG] & differ, np.minimum(*sure)),
    }
    examples = [
        Example(
            position=int(row),
            case=case,
            label=int(labels[row]),
            teacher=(int(classes[0][row]), float(sure[0][row])),
            student=(int(classes[1][row]), float(sure[1][row])),
        )
        for case, rows in _shared(wrong_by).items()
        for row in rows
    ]
    counts = {case: int(mask.sum()) for case, mask in masks.items()}
    return Differing(counts, int((known & differ).sum()), examples)


def _first(mask: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Returns the rows of a mask, the highest confidence first."""
    rows = np.flatnonzero(mask)
    return rows[np.argsort(-confidence[rows], kind="stable")]


def _shared(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Shares the places among the cases."""
    half = _MOST_SHOWN // 2
    first = rows[TEACHER_RIGHT][: _MOST_SHOWN - min(half, len(rows[STUDENT_RIGHT]))]
    second = rows[STUDENT_RIGHT][: _MOST_SHOWN - len(first)]
    third = rows[BOTH_WRONG][: _MOST_SHOWN - len(first) - len(second)]
    return {TEACHER_RIGHT: first, STUDENT_RIGHT: second, BOTH_WRONG: third}
