"""Pipelines: arms whose student is trained, and then compressed stage by stage."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxkd.networks._arguments import shown
from jaxkd.study import strategy_arms
from jaxkd.study.arms import Arm, ArmTraining, as_arm, plain
from jaxkd.study.stages import OPTIONS, Stage, check_order

if TYPE_CHECKING:
    from jaxkd.study.study import Study

PIPELINE = "pipeline"
"""Name of the method of all pipelines, in `results.json`."""


def pipeline(first: str | Arm, *stages: str | Arm | Stage, name: str = "") -> Pipeline:
    """Makes an arm whose student is trained, and then pruned, factorized, quantized, in this order.

    Every stage goes on from the student of the one before. Behind a stage that changes it, the
    student is trained by the same objective as at first, with the teacher's help if the first
    training had it; a method among the stages changes that from there on:
    `pipeline("labels", "prune", "kd")` prunes a student of labels, trains it further on labels, and
    then by distillation. Pipelines of a study that begin alike share their beginnings, and an arm
    that is trained by the first method alone.

    Students are networks of `jaxkd.from_nnx`, except where no stage replaces layers (`"sparsify"`).
    The budget of the study is given by `steps` or `epochs`.

    Args:
      first: how the student is trained at first, as an arm of its own: a method by name, or an
        `Arm`.
      *stages: kinds of stages (`"prune"`, `"sparsify"`, `"low_rank"`, `"quantize"`, `"qat"`,
        `"train"`), a `Stage` with other options, or what the student is trained further by: a
        method by name, or an `Arm`.
      name: name in tables and of its folder; by default its stages.

    Returns:
      The arm.

    Raises:
      TypeError: a stage of another kind.
      ValueError: no stage, an unknown name, or an order in which one stage undoes another.

    Example:
      >>> pipeline("kd", "prune", Stage("qat", steps=50)).name
      'kd · prune · qat (steps=50)'
    """
    made = [_as_stage(stage) for stage in stages]
    if not made:
        raise ValueError(
            "a pipeline needs a stage behind the training: write pipeline("
            f'{as_arm(first).name!r}, "prune"), or Arm(…) for the training alone'
        )
    return Pipeline(as_arm(first), made, name)


@dataclasses.dataclass(frozen=True, init=False)
class Pipeline(Arm):
    """An arm of several stages, as `pipeline` makes it.

    Attributes:
      first: how the student is trained at first.
      stages: what is done to it afterwards.

    Example:
      >>> both = pipeline("kd", "prune", Stage("qat", steps=50))
      >>> isinstance(both, Pipeline), both.first.name, [stage.label for stage in both.stages]
      (True, 'kd', ['prune', 'qat (steps=50)'])
    """

    first: Arm = dataclasses.field(kw_only=True)
    stages: tuple[Stage, ...] = dataclasses.field(kw_only=True)

    def __init__(self, first: Arm, stages: Sequence[Stage], name: str = ""):
        if isinstance(first, Pipeline):
            stages = [*first.stages, *stages]
            first = first.first
        check_order(stages)
        _check_methods(first, stages)
        name = name or " · ".join([first.name, *(stage.label for stage in stages)])
        options = {"first": document_of(first), "stages": [_document(stage) for stage in stages]}
        fields: dict[str, Any] = {"method": PIPELINE, "options": options, "name": name}
        fields |= {"data": first.data, "teacher": first.teacher, "online": first.online}
        fields["steps"] = None
        for field, value in {**fields, "first": first, "stages": tuple(stages)}.items():
            object.__setattr__(self, field, value)

    @classmethod
    def from_document(cls, options: Mapping[str, Any], name: str) -> Pipeline:
        """Returns the pipeline whose options, as of `document`, are in a file."""
        return cls(_arm_of(options["first"]), [_stage_of(each) for each in options["stages"]], name)

    @property
    def before(self) -> Arm:
        """The arm that gives the student that the last stage goes on from."""
        earlier = self.stages[:-1]
        return Pipeline(self.first, earlier) if earlier else self.first

    @property
    def last(self) -> Stage:
        """The last stage."""
        return self.stages[-1]

    @property
    def trained_by(self) -> Arm:
        """The arm by which the student is trained in the last stage."""
        given = [stage.method for stage in self.stages if stage.method is not None]
        arm = as_arm(given[-1]) if given else self.first
        return dataclasses.replace(arm, steps=None)

    @property
    def sparsities(self) -> tuple[float, float]:
        """Share of masked weights before the last stage, and after it."""
        shares = [s.options["fraction"] if s.kind == "sparsify" else None for s in self.stages]
        before = [share for share in shares[:-1] if share is not None]
        start = before[-1] if before else 0.0
        return start, start if shares[-1] is None else shares[-1]

    @property
    def recipe(self) -> None:
        """None: a pipeline is no recipe."""
        return None

    @property
    def is_distilled(self) -> bool:
        """Whether a stage learns from more than labels."""
        arms = [self.first, *(as_arm(s.method) for s in self.stages if s.method is not None)]
        return any(arm.is_distilled for arm in arms)

    def training(self, study: Study, seed: int) -> ArmTraining:
        """Makes the training of the last stage, as it would be of an untrained student.

        Args:
          study: gives data, teacher, student and defaults.
          seed: of the student.

        Returns:
          The training.

        Raises:
          ValueError: a stage that does not fit the student, or a budget in seconds.
        """
        from jaxkd.study._stage_training import untrained_stage

        return untrained_stage(study, self, seed)

    def document(self) -> dict[str, Any]:
        """Returns what the pipeline is, as plain data that its folder is bound to."""
        return {"method": PIPELINE, "options": dict(self.options)}


def document_of(arm: Arm) -> dict[str, Any]:
    """Returns what an arm inside of a pipeline is, as plain data."""
    given = {"data": arm.data, "online": arm.online, "steps": arm.steps}
    known = {name: value for name, value in given.items() if value is not None}
    return {**arm.document(), "name": arm.name, **known}


def _document(stage: Stage) -> dict[str, Any]:
    given: dict[str, Any] = {
        "method": None if stage.method is None else document_of(as_arm(stage.method))
    }
    given |= {"steps": stage.steps, "learning_rate": stage.learning_rate}
    options = {name: plain(value) for name, value in stage.options.items()}
    known = {name: value for name, value in given.items() if value is not None}
    return {"kind": stage.kind, **options, **known}


def _arm_of(document: Mapping[str, Any]) -> Arm:
    return Arm(**document)


def _stage_of(document: Mapping[str, Any]) -> Stage:
    given = dict(document)
    if "method" in given:
        given["method"] = _arm_of(given["method"])
    return Stage(given.pop("kind"), **given)


def _as_stage(given: Any) -> Stage:
    if isinstance(given, Stage):
        return given
    if isinstance(given, str) and given in OPTIONS:
        return Stage(given)
    if isinstance(given, Arm) and not isinstance(given, Pipeline):
        return Stage("train", method=given, steps=given.steps)
    if isinstance(given, str):
        return Stage("train", method=_named(given))
    raise TypeError(
        f"a stage is a name, a Stage or an Arm, not {shown(given)}: write "
        'pipeline("kd", Stage("prune", fraction=0.5), "qat")'
    )


def _named(name: str) -> str:
    """Returns the name of a method; what is neither that nor a stage is refused with both."""
    try:
        as_arm(name)
    except ValueError as error:
        stages = ", ".join(OPTIONS)
        raise ValueError(f"{error}. Stages of a pipeline are, besides: {stages}") from error
    return name


def _check_methods(first: Arm, stages: Sequence[Stage]) -> None:
    """Refuses strategies behind the first training, whose students are not the one that is given.

    Raises:
      ValueError: names it, and says what to write.
    """
    arm = first
    for number, stage in enumerate(stages):
        arm = arm if stage.method is None else as_arm(stage.method)
        is_strategy = isinstance(arm.method, str) and arm.method in strategy_arms.NAMES
        if is_strategy and stage.kind != "quantize":
            raise ValueError(
                f"stage {number + 1}, {stage.kind!r}, would be trained by {arm.name!r}, a strategy "
                "that makes students of its own: say what trains the student from there on, "
                f'Stage({stage.kind!r}, method="kd")'
            )
