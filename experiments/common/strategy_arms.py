"""Strategies by name under the protocol of the methods: who teaches whom, and when."""

import functools
from collections.abc import Callable
from typing import Any

from experiments.common.protocol import MethodContext
from experiments.common.teachers import anchors_of
from jaxkd.study import Arm, strategy_arms
from jaxkd.study.strategy_arms import matching_layers as matching_layers

_OTHER_TEACHERS = ("two", "three")


def check(name: str, context: MethodContext) -> None:
    """Refuses a strategy that does not fit the networks; the teacher need not be trained yet."""
    if name == "progressive" and context.networks.trained_teacher is not None:
        raise ValueError(
            "progressive needs the teacher's earlier checkpoints, which are kept where it is "
            "trained by this experiment: leave teacher_weights empty"
        )
    if name not in ("progressive", "teachers_mean", "teachers_confidence", "teachers_random"):
        # With new views in every epoch nothing of the teacher is cached.
        arm(name, context).training(context.study.replace(num_views=0), 0)


def arm(name: str, context: MethodContext) -> Arm:
    """Makes the arm of a strategy."""
    method, make_options = _OPTIONS.get(name, (name, lambda _: {}))
    return Arm(method, make_options(context), name=name)


def _several_teachers(how: str, context: MethodContext) -> dict[str, Any]:
    others = {
        name: context.train_teacher(context.networks.make_teacher(100 + number), f"teacher_{name}")
        for number, name in enumerate(_OTHER_TEACHERS, 1)
    }
    return {"others": others, "how": how}


def _assistant(context: MethodContext) -> dict[str, Any]:
    networks = context.networks
    if networks.make_assistant is None:
        raise ValueError("the strategy assistant needs a network of a size between: name one")
    return {"make_assistant": networks.make_assistant, "rate": networks.assistant_rate}


def _progressive(context: MethodContext) -> dict[str, Any]:
    return {"anchors": anchors_of(context.study, context.study.network_teacher("progressive"))}


# Strategies with a name of their own here, or with options that the context has.
_OPTIONS: dict[str, tuple[str, Callable[[MethodContext], dict[str, Any]]]] = {
    **{
        f"teachers_{how}": ("several_teachers", functools.partial(_several_teachers, how))
        for how in ("mean", "confidence", "random")
    },
    "assistant": ("assistant", _assistant),
    "progressive": ("progressive", _progressive),
}
_PLAIN = [name for name in strategy_arms.NAMES if name != "several_teachers"]
NAMES = tuple(dict.fromkeys([*_OPTIONS, *_PLAIN]))
