"""What `distill` and `tune` open before they train."""

import argparse
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

from jaxkd._command_line import _data, _networks
from jaxkd._command_line._options import study_options
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.study import Runtime, Study
from jaxkd.study._readable import check_readable
from jaxkd.study.results import RESULTS
from jaxkd.views import Views

_TRAIN = "train:"


@dataclasses.dataclass(frozen=True)
class Opened:
    """Data and networks of a command.

    Attributes:
      parts: the data by part.
      student: function from a seed to a student.
      teacher: the teacher, None where there is none.
      views: how networks see training images.
      options: further arguments of a study.
    """

    parts: dict[str, Examples]
    student: Callable[[int], Network]
    teacher: Any
    views: Views
    options: dict[str, Any]


def opened(given: argparse.Namespace, out: pathlib.Path) -> Opened:
    """Opens what the options name; trains the teacher if none is there yet.

    Args:
      given: parsed options.
      out: folder of everything that is written.

    Returns:
      Data and networks.
    """
    parts = _data.open_parts(given)
    train = parts["train"]
    shape, classes = tuple(train.shape), _data.num_classes(parts)
    views = _data.make_views(given, shape)
    student = _networks.make_student(given.student, classes, shape)
    options = {**study_options(given), "views": views, "runtime": Runtime(yes=given.yes)}
    teacher = None
    if given.teacher.startswith(_TRAIN):
        make = _networks.make_student(given.teacher.removeprefix(_TRAIN), classes, shape)
        teacher = _trained(parts, make, out / "teacher", options, not given.quiet)
    elif given.teacher != "none":
        teacher = _networks.open_teacher(given.teacher, classes, shape, views)
        _networks.check_teacher(teacher, train, views, given.data)
    return Opened(parts, student, teacher, views, options)


def _trained(
    parts: dict[str, Examples],
    make: Callable[[int], Network],
    workdir: pathlib.Path,
    options: dict[str, Any],
    progress: bool,
) -> Network:
    """Trains a teacher on labels, or reads the one that is trained."""
    if not (workdir / RESULTS).exists():
        check_readable(part for name, part in parts.items() if name != "train")
    # The test examples are the student's: a teacher has no use for them here.
    known = {name: part for name, part in parts.items() if name != "test"}
    study = Study(known, make, arms=["labels"], workdir=workdir, **{**options, "seeds": 1})
    return study.run(test=False, progress=progress).network("labels")
