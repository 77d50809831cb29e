"""Arms of a study: ways of training the student, by name or by a function of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optax

from jaxkd import recipes
from jaxkd.cache import Cache
from jaxkd.cache._foreign import runnable
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.networks._arguments import check_integer, check_kind, shown, suggestion
from jaxkd.objective import Objective
from jaxkd.recipes import Recipe
from jaxkd.strategies import Phase
from jaxkd.study import strategy_arms
from jaxkd.views import Views

if TYPE_CHECKING:
    from jaxkd.study.study import Study

LABELS = "labels"
"""Name of the arm that others are compared with: the student on labels alone."""

WEIGHT_DECAY = 1e-4
"""Weight decay of the default optimizer, and of those that recipes bring."""

_ALIASES: dict[str, tuple[str, dict[str, Any]]] = {
    "label smoothing": (LABELS, {"label_smoothing": 0.1}),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArmTraining:
    """The training of a student by an arm, for one seed; `Study.training` fills in the defaults.

    Trainings of the seeds of an arm share the compiled step, so they may differ in the initial
    variables of student and connectors alone.

    Attributes:
      student: untrained network.
      objective: what is minimized.
      examples: what it is trained on.
      steps: number of updates; 0 for a student that is complete as it is.
      optimizer: an optax transformation.
      views: how the network sees the examples.
      num_views: number of different views of an example, None for new ones in every epoch.
      teacher: network whose forward pass is in the step; None where there is none or it is cached.
      cache: cached outputs of the teacher; None where there are none.
      step_options: further arguments of `jaxkd.make_train_step`.
      deploy: function from the trained network to the part that is measured and kept.
      phases: trainings that follow each other, in place of objective, teacher and steps.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> import optax
      >>> student = jaxkd.from_function(linear, jnp.zeros((4, 4)))
      >>> training = ArmTraining(
      ...     student=student, objective=jaxkd.recipes.labels(), examples=data, steps=100,
      ...     optimizer=optax.adam(1e-3), views=jaxkd.Views())
      >>> training.num_views, training.teacher
      (1, None)
    """

    student: Network
    objective: Objective
    examples: Examples
    steps: int
    optimizer: optax.GradientTransformation
    views: Views
    num_views: int | None = 1
    teacher: Network | None = None
    cache: Cache | None = None
    step_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    deploy: Callable[[Network], Network] = lambda network: network
    phases: Sequence[Phase] = ()


@dataclasses.dataclass(frozen=True)
class Arm:
    """One way of training the student.

    Attributes:
      method: name of a recipe (`jaxkd.recipes.names()`), `"label smoothing"`, name of a strategy
        (`jaxkd.study.strategy_arms.NAMES`), a `Recipe`, an `Objective`, or a function of the study,
        the seed and the options that returns an `ArmTraining`, most easily by `Study.training`.
      options: options of the method, in place of its authors' defaults.
      name: name in tables and of its folder; by default method and options.
      data: name of the study's data that it trains on; by default `"transfer"` for methods with a
        teacher where there is such data, otherwise `"train"`.
      teacher: another teacher than the study's.
      online: whether the teacher's forward pass is made in every step. By default logits are read
        from a cache, and so are the other outputs that a method compares where one student sees
        more examples than a cache has records, all records take at most 1 GiB, and the teacher
        makes a step at least 1.1 times as expensive.
      steps: number of updates, by default the study's.

    Raises:
      TypeError: a method, or another argument, of another kind.
      ValueError: an unknown name or option, or steps below 1.

    Example:
      >>> Arm("kd", {"alpha": 1.0, "temperature": 2.0}).name
      'kd (alpha=1, temperature=2)'
    """

    method: str | Recipe | Objective | Callable[..., ArmTraining]
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    _: dataclasses.KW_ONLY
    name: str = ""
    data: str | None = None
    teacher: Any = None
    online: bool | None = None
    steps: int | None = None

    def __post_init__(self):
        check_kind("options", self.options, Mapping, 'write Arm("kd", {"alpha": 0.5})')
        _check_fields(self)
        method, options = self.method, dict(self.options)
        label = method if isinstance(method, str) else ""
        if isinstance(method, str) and method in _ALIASES:
            method, defaults = _ALIASES[method]
            options = {**defaults, **options}
        _check_method(method, options)
        name = self.name or _label(label or _name_of(method), self.options)
        for field, value in (("method", method), ("options", options), ("name", name)):
            object.__setattr__(self, field, value)

    @property
    def recipe(self) -> Recipe | None:
        """The recipe that it names, if it does."""
        if isinstance(self.method, Recipe):
            return self.method
        if not isinstance(self.method, str) or self.method in strategy_arms.NAMES:
            return None
        return recipes.get(self.method)

    @property
    def is_distilled(self) -> bool:
        """Whether it learns from more than labels."""
        return self.method != LABELS

    @property
    def option_names(self) -> frozenset[str]:
        """Names of the options that the method takes, as far as it declares them."""
        if isinstance(self.method, str) and self.method in strategy_arms.NAMES:
            return frozenset(strategy_arms.options(self.method))
        return frozenset(self.recipe.options) if self.recipe else frozenset()

    def training(self, study: Study, seed: int) -> ArmTraining:
        """Makes the training for a seed.

        Args:
          study: gives data, teacher, student and defaults.
          seed: of the student, the order of the batches, and dropout.

        Returns:
          The training.

        Raises:
          TypeError: a function that returned something else.
        """
        given = {"data": self.data, "teacher": self.teacher, "online": self.online}
        given |= {"steps": self.steps}
        if isinstance(self.method, Objective):
            return study.training(seed, self.method, **given)
        if (recipe := self.recipe) is not None:
            return self._of_recipe(recipe, study, seed)
        method = self.method
        if isinstance(method, str):
            method = strategy_arms.METHODS[method]
        assert callable(method)
        made = method(study, seed, **self.options)
        if not isinstance(made, ArmTraining):
            raise TypeError(
                f"the function of the arm {self.name!r} must return an ArmTraining, not "
                f"{shown(made)}: write return study.training(seed, objective)"
            )
        return made

    def _of_recipe(self, recipe: Recipe, study: Study, seed: int) -> ArmTraining:
        """Makes the training of a recipe, with the networks and the optimizer that it brings."""
        teacher = study.teacher if self.teacher is None else runnable(self.teacher)
        pair = study.pair(seed, teacher) if isinstance(teacher, Network) else None
        steps = self.steps or study.steps
        applied = recipes.create(
            recipe,
            pair,
            seed=seed,
            steps=steps,
            dataset=study.examples(self.data, needs_teacher=True),
            **self.options,
        )
        changes: dict[str, Any] = {"teacher": teacher}
        if applied.pair is not None:
            changes = {"teacher": applied.teacher, "student": applied.student}
        if applied.make_optimizer is not None:
            rate = study.schedule(steps)
            changes["optimizer"] = applied.make_optimizer(rate, weight_decay=WEIGHT_DECAY)
        if applied.split_gradients:
            changes["step_options"] = {"split_gradients": True}
        return study.training(
            seed, applied.objective, data=self.data, online=self.online, steps=steps, **changes
        )

    def document(self) -> dict[str, Any]:
        """Returns what the arm is, as plain data that its folder is bound to."""
        method = self.method if isinstance(self.method, str) else _name_of(self.method)
        if isinstance(self.method, Objective):
            method = repr(self.method)
        options = {name: plain(value) for name, value in sorted(self.options.items())}
        return {"method": method, "options": options}


def as_arm(given: Any) -> Arm:
    """Returns an arm, of a name or an arm.

    Raises:
      TypeError: something else; says what to write.
    """
    if isinstance(given, Arm):
        return given
    if isinstance(given, str):
        return Arm(given)
    raise TypeError(
        f"an arm is a name or an Arm, not {shown(given)}: write Arm({_name_of(given)}, "
        'name="mine"), where a function takes the study and a seed'
    )


def as_arms(given: Any) -> tuple[Arm, ...]:
    """Returns the arms of a list of names and arms.

    Raises:
      TypeError: no list, or something else in it; says what to write.
    """
    if isinstance(given, str | Arm | Mapping) or not isinstance(given, Iterable):
        raise TypeError(
            f'arms must be a list, not {shown(given)}: write arms=["labels", "kd"], and options of '
            'a method as Arm("kd", {"alpha": 0.5})'
        )
    return tuple(as_arm(arm) for arm in given)


def _check_fields(arm: Arm) -> None:
    """Refuses what would be read as something else: no steps as the study's, a text as yes."""
    kinds: dict[str, Any] = {"name": str, "data": str | None, "online": bool | None}
    for field, kind in kinds.items():
        if not isinstance(value := getattr(arm, field), kind):
            text = {"name": "a text", "data": "a name or None", "online": "True, False or None"}
            raise TypeError(f"{field} of an arm must be {text[field]}, not {shown(value)}")
    if arm.steps is not None:
        check_integer("steps of an arm", arm.steps)
        if arm.steps < 1:
            raise ValueError(
                f"steps of an arm must be at least 1, or None for the study's, not {arm.steps}"
            )


def _check_method(method: Any, options: Mapping[str, Any]) -> None:
    if isinstance(method, Recipe | Objective):
        return
    if isinstance(method, str):
        known = [*recipes.names(), *strategy_arms.NAMES, *_ALIASES]
        if method not in known:
            raise ValueError(
                f"there is no method {method!r}{suggestion(method, known)} The methods are: "
                f"{', '.join(known)}"
            )
        if method in strategy_arms.NAMES:
            taken = strategy_arms.options(method)
        else:
            taken = recipes.get(method).options
        if unknown := [name for name in options if name not in taken]:
            raise ValueError(
                f"unknown option {unknown[0]!r} of {method!r}{suggestion(unknown[0], taken)} It "
                f"takes: {', '.join(sorted(taken)) or 'no options'}"
            )
        return
    if not callable(method):
        raise TypeError(
            "the method of an arm must be a name, an objective or a function of study and seed, "
            f'not {shown(method)}: write Arm("kd")'
        )


def _name_of(method: Any) -> str:
    if isinstance(method, Objective):
        return " + ".join(method.terms)
    return str(getattr(method, "name", getattr(method, "__name__", type(method).__name__)))


def _label(method: str, options: Mapping[str, Any]) -> str:
    method = method.replace("_", " ") if method in strategy_arms.NAMES else method
    parts = [f"{name}={_short(value)}" for name, value in options.items()]
    return f"{method} ({', '.join(parts)})" if parts else method


def _short(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value) if isinstance(value, str) else getattr(value, "__name__", repr(value))
    return f"{value:g}"


def plain(value: Any) -> Any:
    """Returns numbers and texts as they are, and the names of other things."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return getattr(value, "__qualname__", type(value).__name__)
