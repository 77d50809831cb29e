"""Caches that the arms and seeds of a study share, and those of studies with one folder."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxkd import cache
from jaxkd.cache import Cache
from jaxkd.cache._foreign import RUNS
from jaxkd.data import Examples
from jaxkd.study.runner import file_name
from jaxkd.views import Views


class TeacherCaches:
    """Caches by teacher, examples and views; each is built once.

    Args:
      folder: folder of all of them.
      parts: the data of the study. Where views do not mix, a selection of one of these reads the
        cache of the whole part.
      codec: how outputs are stored.
      yes: whether a large one is built without a question.

    Attributes:
      folder: folder of all of them.
      progress: whether to show the progress of a build.
    """

    def __init__(self, folder: pathlib.Path, parts: Sequence[Examples], codec: Any, yes: bool):
        self.folder, self._parts, self._codec = folder, parts, codec
        self._yes = yes
        self._open: dict[str, Cache] = {}
        self.progress = True

    def get(self, teacher: RUNS, examples: Examples, views: Views, num_views: int) -> Cache:
        """Returns the cache of a teacher's outputs; builds what is missing."""
        source = examples if views.mixes else self._source(examples)
        identity = {
            "teacher": teacher.fingerprint(),
            "examples": [source.fingerprint, digest(source.ids)],
            "views": views.specification(),
            "num_views": num_views,
            "codec": repr(self._codec),
        }
        name = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:12]
        if name not in self._open:
            path = self.folder / f"{file_name(teacher.name)}_{name}"
            options: dict[str, Any] = {"codec": self._codec, "num_views": num_views}
            if not path.exists():
                predicted = cache.forecast(teacher, source, views, **options)
                cache.confirm_build(predicted, yes=self._yes)
            self._open[name] = cache.build(
                path, teacher, source, views, progress=self.progress, **options
            )
        return self._open[name]

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


def digest(array: np.ndarray) -> str:
    """Returns a digest of an array."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16]
