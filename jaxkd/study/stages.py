"""Stages of a pipeline: what is done to a trained student, and how it is trained afterwards."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.networks._arguments import check_integer, shown, suggestion

if TYPE_CHECKING:
    from jaxkd.study.arms import Arm

OPTIONS: dict[str, dict[str, Any]] = {
    "train": {},
    "prune": {"fraction": 0.25, "importance": "l2", "multiple_of": 1, "protect": ()},
    "sparsify": {"fraction": 0.8, "scope": "global"},
    "low_rank": {"rank": 0.25, "without": None},
    "quantize": {"weights": "int8", "activations": "int8"},
    "qat": {"weights": "int8", "activations": "int8"},
}
"""Kinds of stages, each with its options and their defaults."""

FINAL = ("quantize", "qat")
"""Kinds of stages that nothing can follow."""

_SHARES = ("fraction", "rank")


@dataclasses.dataclass(frozen=True, init=False)
class Stage:
    """What is done to a trained student, with the training that follows.

    | kind | what becomes of the student | options |
    | :-- | :-- | :-- |
    | `"train"` | it is trained further | |
    | `"prune"` | channels are removed (`compression.shrink`) | `fraction=0.25` of them, \
`importance="l2"`, `multiple_of=1`, `protect=()` |
    | `"sparsify"` | weights are masked while it is trained, more and more up to two thirds of the \
steps (`compression.magnitude_pruning`) | `fraction=0.8` of them, `scope="global"` |
    | `"low_rank"` | each layer becomes two (`compression.factorize`) | `rank=0.25` of the full \
rank, `without=None` |
    | `"quantize"` | few bits after training, without a training (`compression.quantize`) | \
`weights="int8"`, `activations="int8"` |
    | `"qat"` | few bits in training (`compression.fake_quantize`) | the same |

    `without` are the paths of layers that stay whole, or regular expressions for whole paths; by
    default those that give as many numbers as there are logits. Batch normalizations are folded
    into the layers before them ahead of quantization, and ranges of activations are measured on
    eight batches of training views.

    Args:
      kind: one of these names.
      method: what it is trained by from here on, a name or an `Arm`: `"labels"` leaves the teacher
        out. By default what the stages before were trained by.
      steps: number of updates; by default two fifths of the first training's, a fifth for `"qat"`.
      learning_rate: peak of the learning rate; by default a third of the study's, a tenth for
        `"qat"`.
      **options: of the kind.

    Raises:
      ValueError: an unknown kind or option, a share outside of (0, 1), or a training of
        `"quantize"`.

    Example:
      >>> Stage("prune", fraction=0.5, steps=200)
      Stage('prune (fraction=0.5, steps=200)')
    """

    kind: str
    options: Mapping[str, Any]
    method: Arm | str | None
    steps: int | None
    learning_rate: float | None

    def __init__(
        self,
        kind: str,
        *,
        method: Arm | str | None = None,
        steps: int | None = None,
        learning_rate: float | None = None,
        **options: Any,
    ):
        options = {name: _plain(value) for name, value in options.items()}
        _check(kind, options)
        if kind == "quantize" and not (method is None and steps is None and learning_rate is None):
            raise ValueError(
                "quantize is without training, and takes no method, steps or learning_rate: write "
                'Stage("qat", …) for a student that is trained in few bits'
            )
        if steps is not None:
            check_integer("steps", steps)
        for name, number in (("steps", steps), ("learning_rate", learning_rate)):
            if number is not None and not number > 0:
                raise ValueError(f"{name} of {kind!r} must be positive, not {number}")
        steps = None if steps is None else int(steps)
        learning_rate = None if learning_rate is None else float(learning_rate)
        fields = {"kind": kind, "options": {**OPTIONS[kind], **options}, "method": method}
        for name, value in {**fields, "steps": steps, "learning_rate": learning_rate}.items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        return f"Stage({self.label!r})"

    @property
    def label(self) -> str:
        """The kind, with what differs from its defaults."""
        method = getattr(self.method, "name", self.method)
        given = {n: v for n, v in self.options.items() if v != OPTIONS[self.kind][n]}
        given |= {"steps": self.steps, "learning_rate": self.learning_rate}
        kind = self.kind.replace("_", " ")
        if self.kind == "train":
            kind = str(method or "train")
        else:
            given["method"] = method
        parts = [f"{n}={_short(v)}" for n, v in given.items() if v is not None]
        return f"{kind} ({', '.join(parts)})" if parts else kind

    @property
    def step_share(self) -> float:
        """Number of updates as a share of the first training's, where none is given."""
        return {"quantize": 0.0, "qat": 0.2}.get(self.kind, 0.4)

    @property
    def rate_share(self) -> float:
        """Learning rate as a share of the study's, where none is given."""
        return 0.1 if self.kind == "qat" else 1 / 3


def check_order(stages: Sequence[Stage]) -> None:
    """Refuses an order of stages in which one undoes another.

    Raises:
      ValueError: says which, and the order to write.
    """
    kinds = [stage.kind for stage in stages]
    for before, kind in zip(kinds, kinds[1:], strict=False):
        if before in FINAL:
            raise ValueError(
                f"nothing can follow {before!r}, whose kernels are integers: write {kind!r} before "
                f"{before!r}"
            )
    shares = [s.options["fraction"] for s in stages if s.kind == "sparsify"]
    for share, later in zip(shares, shares[1:], strict=False):
        if later < share:
            raise ValueError(
                f"'sparsify' of {later:g} after {share:g} would free weights: write a fraction of "
                f"at least {share:g}"
            )
    for index, kind in enumerate(kinds):
        earlier = kinds[:index]
        if kind == "prune" and "low_rank" in earlier:
            raise ValueError(
                "'prune' after 'low_rank' would remove channels between the two factors of a layer:"
                " write 'prune', 'low_rank'"
            )
        if kind == "low_rank" and "sparsify" in earlier:
            raise ValueError(
                "'low_rank' after 'sparsify' would fill the zeros: write 'low_rank', 'sparsify'"
            )
        if kind == "low_rank" and kind in earlier:
            raise ValueError(
                "'low_rank' twice would factorize factors: write it once, with a lower "
                'Stage("low_rank", rank=…)'
            )


def _check(kind: Any, options: Mapping[str, Any]) -> None:
    if not isinstance(kind, str) or kind not in OPTIONS:
        what = repr(kind) if isinstance(kind, str) else shown(kind)
        found = suggestion(kind, OPTIONS) if isinstance(kind, str) else "."
        raise ValueError(f"there is no stage {what}{found} The stages are: {', '.join(OPTIONS)}")
    if unknown := [name for name in options if name not in OPTIONS[kind]]:
        raise ValueError(
            f"unknown option {unknown[0]!r} of {kind!r}{suggestion(unknown[0], OPTIONS[kind])} It "
            f"takes: {', '.join(['method', 'steps', 'learning_rate', *OPTIONS[kind]])}"
        )
    for name in _SHARES:
        if name in options and not (isinstance(options[name], float) and 0 < options[name] < 1):
            raise ValueError(
                f"{name} of {kind!r} is a share above 0 and below 1, not {options[name]!r}"
            )


def _plain(value: Any) -> Any:
    """A list of a file is the tuple that was written to it; numbers of NumPy are Python's."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.item() if isinstance(value, np.generic) else value


def _short(value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:g}"
    return value if isinstance(value, str) else getattr(value, "__name__", repr(value))
