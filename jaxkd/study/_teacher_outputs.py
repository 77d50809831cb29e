"""What the teacher of a study predicts for held-out examples: computed once, kept in its folder."""

from __future__ import annotations

import json
import pathlib
from typing import TYPE_CHECKING

import jax
import numpy as np

from jaxkd.networks import Network
from jaxkd.study.runner import save, saved

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_PREFIX = "metric."
_FIRST = "first."
_TEACHER = "teacher"
# Rows whose outputs are compared of a teacher outside of JAX, which has no parameters to hash.
_COMPARED = 8
_MOST_VALUES = 4096


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

    def make() -> dict[str, np.ndarray]:
        evaluator = study.evaluator(part)
        if isinstance(teacher, Network):
            scores, outputs = evaluator.scores(teacher), evaluator.results(teacher)
        else:
            scores, outputs = evaluator.foreign_results(teacher)
        named = {_PREFIX + name: np.array(value) for name, value in scores.items()}
        return {**named, **outputs, **_first(study, part), _TEACHER: np.array(_identity(study))}

    file = _file(study, part)
    if file.exists() and not is_evaluated(study, part):
        save(file, make())
    kept = saved(file, make)
    scores = {n.removeprefix(_PREFIX): float(v) for n, v in kept.items() if n.startswith(_PREFIX)}
    return scores, kept.get("logits")


def is_evaluated(study: Study, part: str) -> bool:
    """Whether the folder of a study has the outputs of its teacher, and of no other one.

    A network is known by its parameters; a teacher outside of JAX by what names it, and by its
    outputs for the first examples.

    Args:
      study: the study.
      part: name of the held-out data.

    Returns:
      False also where the study has no teacher.
    """
    file = _file(study, part)
    if study.teacher is None or not file.exists():
        return False
    kept = saved(file, dict)
    if str(kept[_TEACHER]) != _identity(study):
        return False
    first = _first(study, part)
    return first.keys() == {name for name in kept if name.startswith(_FIRST)} and all(
        x.shape == kept[name].shape
        and np.allclose(x, kept[name], rtol=1e-3, atol=1e-3 * _size(x), equal_nan=True)
        for name, x in first.items()
    )


def _file(study: Study, part: str) -> pathlib.Path:
    return study.workdir / f"teacher_{part}.npz"


def _identity(study: Study) -> str:
    assert study.teacher is not None
    return json.dumps(study.teacher.fingerprint(), sort_keys=True)


def _first(study: Study, part: str) -> dict[str, np.ndarray]:
    """Returns outputs of a teacher outside of JAX for the first examples; none of a network."""
    teacher = study.teacher
    if teacher is None or isinstance(teacher, Network):
        return {}
    evaluator = study.evaluator(part)
    batch = jax.tree.map(lambda x: x[:_COMPARED], next(iter(evaluator.batches())))
    outputs = teacher(evaluator.views.render(batch)["inputs"])
    flat = {name: np.ravel(x).astype(np.float32) for name, x in outputs.items()}
    # Those of texts may be large.
    return {_FIRST + name: x[:: 1 + len(x) // _MOST_VALUES] for name, x in flat.items()}


def _size(outputs: np.ndarray) -> float:
    """Returns the largest finite size of outputs."""
    return float(np.abs(outputs[np.isfinite(outputs)]).max(initial=0.0))
