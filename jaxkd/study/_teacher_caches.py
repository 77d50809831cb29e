"""Caches that the arms and seeds of a study share, and those of studies with one folder."""

from __future__ import annotations

import hashlib
import json
import math
import pathlib
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd import cache
from jaxkd.cache import Cache
from jaxkd.cache._foreign import RUNS
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.objective import Objective
from jaxkd.study._study_arguments import as_network
from jaxkd.study.runner import named_folder
from jaxkd.targets import Dense
from jaxkd.views import Views

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_MOST_BYTES = 1 << 30
_LEAST_GAIN = 1.1
_LOGITS = frozenset({"logits"})


class TeacherCaches:
    """Caches by teacher, examples and views; each is built once.

    Args:
      folder: folder of all of them.
      parts: the data of the study. Where views do not mix, a selection of one of these reads the
        cache of the whole part.
      codec: how outputs are stored: of the logits, or one for each output that is named. Others are
        stored exactly, as float32.
      yes: whether a large one is built without a question.

    Attributes:
      folder: folder of all of them.
      progress: whether to show the progress of a build.
    """

    def __init__(self, folder: pathlib.Path, parts: Sequence[Examples], codec: Any, yes: bool):
        self.folder, self._parts, self._codec = folder, parts, codec
        self._yes = yes
        self._open: dict[str, Cache] = {}
        self._paying: dict[Any, bool] = {}
        self.progress = True

    def get(
        self,
        teacher: RUNS,
        examples: Examples,
        views: Views,
        num_views: int,
        outputs: Set[str] = _LOGITS,
    ) -> Cache:
        """Returns the cache of a teacher's outputs; builds what is missing."""
        codec = self._codec_of(outputs)
        source = examples if views.mixes else self._source(examples)
        identity = {
            "teacher": teacher.fingerprint(),
            "examples": [source.fingerprint, digest(source.ids)],
            "views": views.specification(),
            "num_views": num_views,
            "codec": repr(codec),
        }
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        if name not in self._open:
            path = self.folder / named_folder(teacher.name, name)
            options: dict[str, Any] = {"codec": codec, "num_views": num_views}
            if not path.exists():
                predicted = cache.forecast(teacher, source, views, **options)
                cache.confirm_build(predicted, yes=self._yes)
            # Parts may be the same examples with other labels, which outputs do not depend on.
            options["allow"] = {"dataset.labels"}
            self._open[name] = cache.build(
                path, teacher, source, views, progress=self.progress, **options
            )
        return self._open[name]

    def pays(
        self,
        teacher: Network,
        examples: Examples,
        views: Views,
        num_views: int,
        outputs: Set[str],
        *,
        student: Network,
        passes: float,
    ) -> bool:
        """Whether outputs are better read from a cache than computed in every step.

        Logits are, always, and outputs that `codec` names. Others are where one student sees more
        examples than the build does, all records take at most 1 GiB, and a step with the teacher
        online costs at least 1.1 times as much (`jaxkd.cache.forecast`). The number of seeds does
        not count: those that are added later must train as the first ones did.

        Args:
          teacher: the teacher.
          examples: the examples.
          views: how networks see them.
          num_views: number of views of each.
          outputs: names of the outputs that are compared.
          student: the network that is trained.
          passes: number of passes of a student over the examples.

        Returns:
          True for a cache, False for a forward pass in every step.
        """
        if outputs <= _LOGITS | (set(self._codec) if isinstance(self._codec, Mapping) else set()):
            return True
        source = examples if views.mixes else self._source(examples)
        if passes * len(examples) <= num_views * len(source):
            return False
        known = teacher.architecture, student.architecture, num_views, len(source)
        key = (*known, tuple(sorted(outputs)))
        if key not in self._paying:
            predicted = cache.forecast(
                teacher,
                source,
                views,
                codec=self._codec_of(outputs),
                num_views=num_views,
                student=student,
            )
            fits = predicted.bytes <= _MOST_BYTES
            self._paying[key] = fits and (predicted.gain or 0.0) >= _LEAST_GAIN
        return self._paying[key]

    def _codec_of(self, outputs: Set[str]) -> Any:
        """The codec of each output; that of the study, as it was given, where it has them all."""
        given = self._codec
        if not isinstance(given, Mapping):
            if outputs <= _LOGITS:
                return given
            given = {} if given is None else {"logits": given}
        if outputs <= set(given):
            return given
        return {name: given.get(name, Dense()) for name in sorted(outputs)}

    def _source(self, examples: Examples) -> Examples:
        """The largest part that has these examples among its own."""
        wider = [
            part
            for part in self._parts
            if len(part) >= len(examples)
            and part.fingerprint == examples.fingerprint
            and np.isin(examples.ids, part.ids).all()
        ]
        return max(wider, key=len, default=examples)


def teacher_source(
    study: Study,
    objective: Objective,
    teacher: Any,
    online: bool | None,
    examples: Examples,
    views: Views,
    *,
    student: Network,
    steps: int,
) -> dict[str, Network | Cache]:
    """Returns where a teacher's outputs come from: its forward pass in the step, or a cache.

    Args:
      study: gives batch size, budget and caches.
      objective: what is minimized.
      teacher: the teacher; None where the study has none, which is refused.
      online: whether its forward pass is made in every step; None for what pays.
      examples: what is trained on.
      views: how networks see it.
      student: the network that is trained.
      steps: number of updates.

    Returns:
      `teacher` or `cache`, as fields of an `ArmTraining`.

    Raises:
      TypeError: a forward pass in every step of a teacher outside of JAX.
      ValueError: no teacher, or a cache of views that are new in every epoch; says what to write.
    """
    if teacher is None:
        raise ValueError(
            f"the objective ({', '.join(objective.terms)}) compares with a teacher, and the "
            "study has none: write Study(data, make_student, teacher)"
        )
    outputs, num_views = objective.teacher_outputs, study.num_views
    if online is None and isinstance(teacher, Network):
        passes = steps * study.batch_size / len(examples)
        if study.seconds is not None:  # The build does not count, and the steps are not known yet.
            passes = math.inf
        online = num_views is None or not study.caches.pays(
            teacher, examples, views, num_views, outputs, student=student, passes=passes
        )
    if online:
        return {"teacher": as_network(teacher, "a forward pass in every step")}
    if num_views is None:
        raise ValueError(
            f"outputs of the teacher {teacher.name!r} are read from a cache, which holds some "
            "views of each example, and num_views=0 asks for new ones in every epoch: write "
            "Study(…, num_views=10)"
        )
    return {"cache": study.caches.get(teacher, examples, views, num_views, outputs)}


def digest(array: np.ndarray) -> str:
    """Returns a digest of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]


def fingerprint_of(teacher: Any) -> dict[str, str] | None:
    """Returns what a teacher is known by, None without one."""
    return teacher.fingerprint() if hasattr(teacher, "fingerprint") else None
