"""Methods by name: one call makes all that a training needs."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import optax

from jaxkd import losses
from jaxkd.networks import Network
from jaxkd.networks._arguments import check_integer, check_kind, shown, suggestion
from jaxkd.objective import Objective, Term
from jaxkd.recipes._declared import RECIPES
from jaxkd.recipes._pair import Pair
from jaxkd.recipes._recipe import Recipe, supplied


@dataclasses.dataclass(frozen=True)
class AppliedRecipe:
    """A method applied to two networks: all that a training needs.

    Attributes:
      recipe: the method.
      pair: student and teacher as the method trains them; None if none was given.
      objective: what is minimized.
      make_optimizer: a function from `learning_rate`, `momentum` and `weight_decay` to the
        method's own optimizer; None where any optimizer will do.

    Example:
      >>> applied = create("kd", alpha=1.0)
      >>> applied.recipe.name, list(applied.objective.terms), applied.split_gradients
      ('kd', ['kd'], False)
    """

    recipe: Recipe
    pair: Pair | None
    objective: Objective
    make_optimizer: Callable[..., optax.GradientTransformation] | None

    @property
    def student(self) -> Network:
        """The network to train, and later to deploy.

        Raises:
          ValueError: the recipe was created without a pair.
        """
        return self._networks().student

    @property
    def teacher(self) -> Network | None:
        """The trained network, None where the objective does not compare with one.

        Raises:
          ValueError: the recipe was created without a pair.
        """
        return self._networks().teacher if self.objective.needs_teacher else None

    @property
    def split_gradients(self) -> bool:
        """Whether the optimizer takes two gradients, see `jaxkd.make_train_step`."""
        return self.recipe.split_gradients

    def _networks(self) -> Pair:
        if self.pair is None:
            raise ValueError(f"the recipe {self.recipe.name!r} was created without a pair")
        return self.pair


def names(*, language: bool | None = None, task: str | None = None) -> list[str]:
    """Returns the names of all methods, sorted.

    Args:
      language: True for the methods for text alone, False for all others.
      task: those for one kind of outputs and labels alone, `"classes"`, `"binary"`, `"values"`,
        `"pixels"`, `"ranking"` or `"embeddings"`.

    Returns:
      Names that `create` and `get` take.

    Example:
      >>> len(names()) > 50, names(language=True)[:2]
      (True, ['language.distilbert', 'language.distillm2'])
    """
    return sorted(
        name
        for name, recipe in RECIPES.items()
        if (language is None or name.startswith("language.") == language)
        and (task is None or recipe.task == task)
    )


def get(name: str) -> Recipe:
    """Returns the declaration of a method.

    Args:
      name: name of the method, one of `names()`.

    Returns:
      Its objective, what it needs, its options and its reference.

    Raises:
      TypeError: a name that is no string.
      ValueError: an unknown name; the message has the closest ones.

    Example:
      >>> get("dkd").options["beta"], get("dkd").reference
      (8.0, 'Zhao et al., Decoupled Knowledge Distillation, CVPR 2022.')
    """
    if not isinstance(name, str):
        makers = {
            recipe.objective: recipe.name for recipe in RECIPES.values() if not recipe.optimizer
        }
        found = next((n for maker, n in makers.items() if maker is name), "kd")
        raise TypeError(
            f"the name of a recipe must be a string, not {shown(name)}: write {found!r}"
        )
    if name not in RECIPES:
        raise ValueError(
            f"unknown recipe {name!r}{suggestion(name, RECIPES)} The recipes are: "
            f"{', '.join(names())}"
        )
    return RECIPES[name]


def create(
    name: str | Recipe,
    pair: Pair | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    dataset: Any = None,
    **options: Any,
) -> AppliedRecipe:
    """Applies a method to a student and its teacher.

    Args:
      name: name of the method, one of `names()`, or a `Recipe` of your own.
      pair: the student and its teacher; not needed by methods that compare logits alone.
      steps: number of steps of the whole training, for methods with a warm-up or an initial stage;
        without it they have none.
      seed: seed of the initial weights of what is trained beside the student.
      dataset: training examples with the attributes `ids` and `labels`, for methods that remember
        every example (`crd`).
      **options: options of the method in place of its authors' defaults; `get(name).options` lists
        them.

    Returns:
      The networks as the method trains them, the objective, and the optimizer if the method brings
      its own.

    Raises:
      TypeError: an argument of another kind, such as a tuple of networks in place of a `Pair`.
      ValueError: an unknown name or option, an option that is missing, a pair that is missing or
        that lacks outputs which the method compares, fewer than one step. Names and options are
        checked before anything is built.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> import jaxkd
      >>> student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
      >>> teacher = jaxkd.from_nnx(jaxkd.models.ResNet(8, 1, 10, rngs=nnx.Rngs(1)))
      >>> pair = Pair(student, teacher, jnp.ones((8, 28, 28, 1)))
      >>> method = create("fitnet", pair, weight=10.0)
      >>> list(method.objective.terms), method.make_optimizer is None
      (['label', 'fitnet'], True)
      >>> create("dkd", pair, temprature=2.0)  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      ValueError: unknown option 'temprature' of recipe 'dkd'; did you mean 'temperature'? ...
    """
    recipe = name if isinstance(name, Recipe) else get(name)
    if pair is not None:
        check_kind("pair", pair, Pair, "write jaxkd.recipes.Pair(student, teacher, inputs)")
    if steps is not None:
        check_integer("steps", steps)
    if not hasattr(seed, "dtype"):  # a PRNG key is a seed, too
        check_integer("seed", seed)
    if dataset is not None and recipe.dataset_options is not None:
        options = {**recipe.dataset_options(dataset), **options}
    _check(recipe, pair, options)
    if steps is not None and steps < 1:
        raise ValueError(f"steps must be the steps of the whole training, at least 1, not {steps}")
    if recipe.prepare is not None and pair is not None:
        pair = recipe.prepare(pair, **supplied(recipe.prepare, {"seed": seed, **options}))
    arguments = {"pair": pair, "steps": steps, "seed": seed, **options}
    objective = recipe.objective(**supplied(recipe.objective, arguments))
    if pair is not None:
        _check_outputs(recipe, pair, objective)
    make_optimizer = recipe.optimizer and functools.partial(
        recipe.optimizer, **supplied(recipe.optimizer, options)
    )
    return AppliedRecipe(recipe, pair, objective, make_optimizer)


def _check(recipe: Recipe, pair: Pair | None, options: dict[str, Any]) -> None:
    """Refuses options that the method does not take, and what it needs and was not given."""
    known = recipe.options
    for option in options:
        if option not in known:
            raise ValueError(
                f"unknown option {option!r} of recipe {recipe.name!r}{suggestion(option, known)} "
                f"It takes: {', '.join(sorted(known)) or 'no options'}"
            )
    empty = inspect.Parameter.empty
    if missing := sorted(o for o, d in known.items() if d is empty and o not in options):
        remedy = ", or pass dataset=, which has them" if recipe.dataset_options else ""
        raise ValueError(f"recipe {recipe.name!r} needs the options {missing}: give them{remedy}")
    if recipe.needs_pair and pair is None:
        raise ValueError(
            f"recipe {recipe.name!r} measures the networks: pass "
            "pair=jaxkd.recipes.Pair(student, teacher, inputs)"
        )


def _check_outputs(recipe: Recipe, pair: Pair, objective: Objective) -> None:
    """Refuses networks without the outputs that are compared, beyond the logits of all."""
    if any(map(_is_of_classes, objective.terms.values())):
        shape = pair.shape("student", "logits")
        if recipe.task == "ranking" and (len(shape) < 2 or shape[-1] == 1):
            raise ValueError(
                f"recipe {recipe.name!r} compares the candidates of a query, and the student's "
                f"scores {shape} are of one: give those of all candidates together, [batch, "
                "candidates], as by scores.reshape(batch, candidates) in the network"
            )
        if len(shape) < 2 or shape[-1] == 1:
            raise ValueError(
                f"recipe {recipe.name!r} compares classes, and the student's logits {shape} have "
                "one: of a network with one sigmoid output write "
                "jaxkd.recipes.create('binary_kd', pair), of one with a value 'regression_kd'"
            )
    for output in sorted({*objective.student_outputs, *recipe.student_outputs} - {"logits"}):
        pair.shape("student", output)
    for output in sorted(objective.teacher_outputs - {"logits"}):
        pair.shape("teacher", output)


def _is_of_classes(term: Term) -> bool:
    """Whether the loss is one of the library's with a class axis, whose softmax needs several."""
    loss = getattr(term.loss, "func", term.loss)
    return term.has_class_axis and term.student == "logits" and loss is not losses.logit_mse
