"""What a method is: its objective, and what it changes about the networks and the optimizer."""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import optax

from jaxkd.objective import Objective
from jaxkd.recipes._pair import Pair

# What every training supplies by itself, so that it is no option of a method.
_OF_TRAININGS = frozenset({"steps", "seed"})
_OF_OPTIMIZERS = frozenset({"momentum", "weight_decay"})


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A distillation method, declared: what a training needs to know to run it by name.

    Attributes:
      name: name of the method; those for text begin with `language.`.
      objective: a function from the method's options to the objective. It takes `pair`, `steps`
        and `seed` where it needs them.
      reference: the paper.
      needs_pair: whether the objective measures the networks, to make connectors that fit.
      prepare: a function from the pair to the pair as the method trains it, for methods that
        change the networks. It may take options, and `seed`.
      optimizer: a function from `learning_rate`, `momentum`, `weight_decay` and options to the
        optimizer, for methods that bring their own; None where any optimizer will do.
      split_gradients: whether that optimizer takes the gradients of task and distillation apart;
        see `jaxkd.make_train_step`.
      student_outputs: outputs that the student has by its own architecture, and that no method of
        another kind needs.
      batch_fields: fields of a batch that the objective reads besides inputs and labels.
      task: what labels and outputs are: `"classes"`, of which one is right, as for most methods;
        `"binary"` for outputs with a sigmoid each, `"values"`, `"pixels"`, `"ranking"`,
        `"embeddings"`, or another word.
      dataset_options: a function from a data set with the attributes `ids` and `labels` to the
        options that describe it, for methods that remember every example.

    Example:
      >>> from jaxkd import Term, losses
      >>> def cautious(*, weight=0.5):
      ...     return Objective(label=Term(losses.cross_entropy), kd=Term(losses.kd, weight))
      >>> Recipe("cautious", cautious, "Own work.").options
      {'weight': 0.5}
    """

    name: str
    objective: Callable[..., Objective]
    reference: str
    needs_pair: bool = False
    prepare: Callable[..., Pair] | None = None
    optimizer: Callable[..., optax.GradientTransformation] | None = None
    split_gradients: bool = False
    student_outputs: tuple[str, ...] = ()
    batch_fields: tuple[str, ...] = ()
    task: str = "classes"
    dataset_options: Callable[[Any], dict[str, Any]] | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The method's options with their defaults; `inspect.Parameter.empty` where there is none.

        They are the keyword-only parameters of objective, `prepare` and optimizer.

        What `jaxkd.recipes.create` supplies (pair, steps, seed) and what the optimizer of every
        training has (learning rate, momentum, weight decay) are not among them.
        """
        functions = (
            (self.objective, _OF_TRAININGS),
            (self.prepare, _OF_TRAININGS),
            (self.optimizer, _OF_OPTIMIZERS),
        )
        return {
            name: parameter.default
            for function, supplied_by_training in functions
            if function is not None
            for name, parameter in inspect.signature(function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name not in supplied_by_training
        }


def supplied(function: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns those of some values that a function has a parameter for."""
    parameters = inspect.signature(function).parameters
    return {name: value for name, value in values.items() if name in parameters}
