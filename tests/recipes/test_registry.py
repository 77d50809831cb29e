"""Recipes by name: declarations, options, and errors before anything is built."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import losses, models, recipes
from jaxkd.data import Dataset
from jaxkd.objective import Objective, Term
from jaxkd.recipes import Pair, Recipe

IMAGES = jnp.ones((4, 8, 8, 1))


@pytest.fixture(scope="module")
def pair():
    student = models.ConvNet(1, 10, rngs=nnx.Rngs(0))
    teacher = models.ResNet(8, 1, 10, rngs=nnx.Rngs(1))
    return Pair(jaxkd.from_nnx(student), jaxkd.from_nnx(teacher), IMAGES)


def public(module):
    return {n: f for n, f in vars(module).items() if inspect.isfunction(f)}


def test_every_function_of_the_package_that_makes_an_objective_is_declared():
    declared = {recipes.get(name).objective for name in recipes.names()}
    for module in (recipes, recipes.language):
        made = {
            f
            for f in public(module).values()
            if inspect.signature(f).return_annotation is Objective
        }
        assert made <= declared
    assert recipes.names(language=True) == sorted(
        f"language.{name}"
        for name, f in public(recipes.language).items()
        if inspect.signature(f).return_annotation is Objective
    )
    assert sorted(recipes.names(language=True) + recipes.names(language=False)) == recipes.names()


@pytest.mark.parametrize("name", recipes.names())
def test_declarations_agree_with_the_functions(name):
    recipe = recipes.get(name)
    assert recipe.name == name
    assert recipe.needs_pair == ("pair" in inspect.signature(recipe.objective).parameters)
    paper = re.sub(r"\s+", " ", inspect.getdoc(recipe.objective)).partition("Reference: ")[2]
    assert name == "dot" or recipe.reference.rstrip(".") in paper
    assert recipe.split_gradients <= (recipe.optimizer is not None)


def test_the_methods_of_packages_are_found_by_name_and_by_function():
    assert len(recipes.names()) > 50
    assert recipes.get("dkd").objective is recipes.dkd
    assert recipes.get("language.gkd").objective is recipes.language.gkd
    assert recipes.get("simkd").prepare is recipes.with_teacher_classifier


def test_wrong_names_and_options_name_the_right_ones():
    with pytest.raises(ValueError, match="unknown recipe 'dkdd'; did you mean 'dkd'.*reviewkd"):
        recipes.create("dkdd")
    with pytest.raises(ValueError, match="unknown recipe 'KD'; did you mean 'kd'"):
        recipes.create("KD")
    with pytest.raises(ValueError, match="steps must be .* at least 1, not 0"):
        recipes.create("kd", steps=0)
    message = "option 'temprature' of recipe 'dkd'; did you mean 'temperature'. It takes: alpha, b"
    with pytest.raises(ValueError, match=message):
        recipes.create("dkd", temprature=2.0)
    with pytest.raises(ValueError, match="unknown option 'zzz' of recipe 'pkt'. It takes: label_w"):
        recipes.create("pkt", zzz=1)
    with pytest.raises(ValueError, match=r"'crd' needs the options \['num_examples'\].* dataset="):
        recipes.create("crd")
    with pytest.raises(ValueError, match="'fitnet' measures the networks: pass pair="):
        recipes.create("fitnet")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: recipes.ctkd(steps=0), "steps must be .* at least 1, not 0"),
        (lambda: recipes.ctkd(steps=-5), "steps must be .* at least 1, not -5"),
        (lambda: recipes.ctkd(alpha=2.0), r"alpha must lie in \[0, 1\], not 2.0"),
        (lambda: recipes.dkd(warmup_share=-0.1), r"warmup_share must lie in \[0, 1\], not -0.1"),
        (lambda: recipes.dkd(warmup_share=2, steps=9), r"warmup_share must lie in \[0, 1\], not 2"),
    ],
)
def test_options_out_of_range_are_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_dot_is_a_method_by_name_alone():
    assert not hasattr(recipes, "dot") and "dot" in recipes.names()
    assert recipes.get("dot").objective is recipes.kd


def test_names_of_packages_are_suggested_by_their_last_part():
    with pytest.raises(ValueError, match="unknown recipe 'gkd'; did you mean 'language.gkd'"):
        recipes.create("gkd")
    with pytest.raises(ValueError, match="unknown recipe 'minilm'; did you mean 'language.minilm'"):
        recipes.create("minilm")


def test_arguments_of_another_kind_are_refused(pair):
    def refused(message, function, *arguments, **options):
        with pytest.raises(TypeError, match=message):
            function(*arguments, **options)

    for function in (recipes.create, recipes.get):
        refused("must be a string, not the function dkd: write 'dkd'", function, recipes.dkd)
        refused("must be a string, not None", function, None)
        refused("must be a string, not 3", function, 3)
    for steps in (float("nan"), float("inf"), "100", 100.5):
        refused(f"steps must be an integer, not {steps!r}", recipes.create, "dkd", steps=steps)
    assert recipes.create("dkd", steps=1e2).objective
    for seed in (None, "a", 1.5):
        refused(f"seed must be an integer, not {seed!r}", recipes.create, "fitnet", pair, seed=seed)
    student, teacher = pair.student, pair.teacher
    for wrong in (student, (student, teacher)):
        message = r"pair must be a Pair, not an object .*: write jaxkd\.recipes\.Pair\("
        refused(message, recipes.create, "kd", wrong)
    module = models.ConvNet(1, 10, rngs=nnx.Rngs(0))
    refused("student must be a Network, not .* ConvNet: write .*from_nnx", Pair, module, teacher, 0)
    refused("teacher must be a Network, not None", Pair, student, None, pair.inputs)
    refused("inputs must be an example batch, not None", Pair, student, teacher, None)
    refused("inputs must be an example batch", Pair, student, teacher, (4, 8, 8, 1))


def test_options_are_checked_before_anything_is_built():
    def objective(*, weight=1.0):
        raise AssertionError("built")

    mine = Recipe("mine", objective, "nobody", prepare=objective)
    with pytest.raises(ValueError, match="did you mean 'weight'"):
        recipes.create(mine, wieght=1.0)


def test_options_reach_what_takes_them(pair):
    """The objective, the change of the networks, and the optimizer."""
    assert recipes.create("kd", alpha=1.0).objective.terms.keys() == {"kd"}
    narrow, wide = (
        jax.tree.leaves(recipes.create("simkd", pair, factor=factor).student.params)
        for factor in (4, 2)
    )
    assert sum(x.size for x in narrow) < sum(x.size for x in wide)
    method = recipes.create("dot", pair, alpha=0.5, delta=0.0)
    assert method.split_gradients and method.make_optimizer.keywords == {"delta": 0.0}
    assert method.objective.terms["kd"].weight == 0.5
    assert recipes.create("kd", pair).make_optimizer is None


def test_a_method_needs_its_teacher_or_not(pair):
    method = recipes.create("uskd", pair)
    assert method.student is pair.student and method.teacher is None
    assert recipes.create("kd", pair).teacher is pair.teacher
    with pytest.raises(ValueError, match="'kd' was created without a pair"):
        recipes.create("kd").student  # noqa: B018


def test_crd_finds_examples_by_id(pair):
    dataset = Dataset.from_arrays(
        np.zeros((3, 8, 8, 1), np.uint8),
        np.array([1, 2, 0]),
        ids=np.array([5, 1, 3]),
        name="few",
        split="train",
        num_classes=10,
    )
    method = recipes.create("crd", pair, dataset=dataset, num_negatives=2)
    (bank,) = method.objective.connectors()[1].values()
    assert {x.shape[0] for x in bank.values() if x.ndim == 2} == {6}
    assert recipes.get("crd").dataset_options(dataset)["classes"].tolist() == [-1, 2, -1, 0, -1, 1]


def test_a_student_without_the_second_head_is_refused(pair):
    with pytest.raises(ValueError, match="needs the student's output 'class_logits'"):
        recipes.create("deit", pair)
    recipes.create("deit")


@pytest.mark.parametrize("name", ["cka", "pkt", "rkd"])
def test_a_teacher_without_the_outputs_that_are_compared_is_refused(pair, name):
    bare = jaxkd.from_function(lambda params, x: x.reshape(4, -1) @ params, jnp.ones((64, 10)))
    with pytest.raises(ValueError, match=r"needs the teacher's output 'embedding'; it has \['log"):
        recipes.create(name, Pair(pair.student, bare, IMAGES))
    recipes.create(name, pair)
    recipes.create("kd", Pair(pair.student, bare, IMAGES))


def test_a_recipe_of_ones_own(pair):
    def objective(pair, *, weight=1.0):
        return Objective(mse=Term(losses.feature_mse, weight, None, "nowhere", "embedding"))

    mine = Recipe("mine", objective, "nobody, 2026", needs_pair=True)
    with pytest.raises(ValueError, match="needs the student's output 'nowhere'"):
        recipes.create(mine, pair, weight=2.0)
