"""What recipes on feature maps share: terms for matched stages and 1×1 convolutions."""

from collections.abc import Callable
from typing import Any

from flax import nnx

from jaxkd import connectors
from jaxkd.objective import Schedule, Term
from jaxkd.recipes._pair import Pair


def stage_terms(
    name: str,
    pair: Pair,
    loss: Callable[..., Any],
    weight: float | Schedule,
    connect: Callable[[str, str], nnx.Module] | None = None,
    *,
    temperature: float | Schedule | None = None,
) -> dict[str, Term]:
    """Returns one term for each pair of stages, `name1`, `name2`, …, with connectors of their own.

    Args:
      name: prefix of the terms' names.
      pair: the student and its teacher.
      loss: loss of every term.
      weight: weight of every term.
      connect: from the names of the student's and the teacher's stage to a connector.
      temperature: temperature of every term.
    """
    return {
        f"{name}{number}": Term(
            loss,
            weight,
            temperature,
            student,
            teacher,
            connect(student, teacher) if connect else None,
        )
        for number, (student, teacher) in enumerate(pair.stages(), 1)
    }


def stage_names(pair: Pair) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Returns the names of the matched stages, all the student's and all the teacher's."""
    student, teacher = zip(*pair.stages(), strict=True)
    return student, teacher


def conv1x1(
    pair: Pair, student: str, teacher: str, rngs: nnx.Rngs, *, norm: bool = False
) -> connectors.Conv1x1:
    """Returns a 1×1 convolution from the channels of one map to those of the other."""
    widths = pair.width("student", student), pair.width("teacher", teacher)
    return connectors.Conv1x1(*widths, norm=norm, rngs=rngs)


def neighboring_stages(
    pair: Pair, rngs: nnx.Rngs, first: int
) -> tuple[tuple[str, ...], tuple[str, ...], nnx.Module]:
    """Returns two matched stages from the one numbered `first`, with connectors of channels."""
    stages = pair.stages()[first : first + 2]
    convolutions = connectors.PerStage([conv1x1(pair, *names, rngs) for names in stages])
    student, teacher = zip(*stages, strict=True)
    return student, teacher, convolutions
