"""What the teacher of a study predicts for held-out examples: computed once, kept in its folder."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from jaxkd.networks import Network
from jaxkd.study.runner import save, saved

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_PREFIX = "metric."
_TEACHER = "teacher"


def teacher_outputs(study: Study, part: str) -> tuple[dict[str, float], np.ndarray | None]:
    """Evaluates the teacher of a study on held-out examples, or reads what that gave.

    Args:
      study: the study.
      part: name of the held-out data.

    Returns:
      Metric → value, without a teacher none; and its logits `[examples, ...]`, None where it has
      none. `teacher_<part>.npz` of the work directory has both, and which teacher they are of.
    """
    if study.teacher is None:
        return {}, None
    teacher = study.teacher
    identity = json.dumps(teacher.fingerprint(), sort_keys=True)

    def make() -> dict[str, np.ndarray]:
        evaluator = study.evaluator(part)
        if isinstance(teacher, Network):
            scores, outputs = evaluator.scores(teacher), evaluator.results(teacher)
        else:
            scores, outputs = evaluator.foreign_results(teacher)
        named = {_PREFIX + name: np.array(value) for name, value in scores.items()}
        return {**named, **outputs, _TEACHER: np.array(identity)}

    file = study.workdir / f"teacher_{part}.npz"
    kept = saved(file, make)
    if str(kept[_TEACHER]) != identity:
        save(file, make())
        kept = saved(file, make)
    scores = {n.removeprefix(_PREFIX): float(v) for n, v in kept.items() if n.startswith(_PREFIX)}
    return scores, kept.get("logits")
