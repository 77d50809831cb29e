import pathlib
import subprocess
import sys

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from cache_builder import TEACHER_SEED, VIEWS, reordered
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.compression import program_flops
from jaxkd.data import Dataset, Loader
from jaxkd.targets import Dense, TopK
from jaxkd.training import evaluate, make_eval_step, predict
from jaxkd.views import Normalize, Views

PLAIN = Views((Normalize(),))
SGD = optax.sgd(0.02, momentum=0.9)


def train(student, teacher, data, *, steps, views=VIEWS, cache=None, num_views=3):
    """Final parameters and the last metrics."""
    objective = recipes.kd(alpha=0.9, temperature=4.0)
    step = make_train_step(student, objective, SGD, teacher=None if cache else teacher, views=views)
    state = step.init(seed=1)
    loader = Loader(data, views, 32, seed=2, cache=cache, num_views=num_views)
    for index in range(steps):
        state, metrics = step(state, loader[index])
    return state, metrics


@few("kind", ["convolution, batch norm and dropout", "perceptron"])
def test_online_and_cached_students_are_the_same_after_200_steps(
    tmp_path, images, small, mlp, kind
):
    """With crops, flips and mixup; the build in another process, order, batch and block size."""
    teacher = small(TEACHER_SEED)
    student = mlp(0) if kind == "perceptron" else small(0)
    online, _ = train(student, teacher, images, steps=200)
    here = jaxkd.cache.build(tmp_path / "here", teacher, images, VIEWS, num_views=3, progress=False)
    options = ["--order=8", "--batch_size=51", "--block_size=96"]
    builder = pathlib.Path(__file__).parents[1] / "cache_builder.py"
    subprocess.run([sys.executable, builder, tmp_path / "built", *options], check=True)
    there = jaxkd.cache.open(tmp_path / "built", teacher=teacher, dataset=images, views=VIEWS)
    for cache, data in [(here, images), (there, reordered(images, 5))]:
        cached, _ = train(student, teacher, data, steps=200, cache=cache)
        chex.assert_trees_all_close(cached.params, online.params, atol=1e-6, rtol=0)
        chex.assert_trees_all_close(cached.model_state, online.model_state, atol=1e-5)
    moved = [
        float(jnp.abs(online.params["student"][name] - student.params[name]).max())
        for name in student.params
    ]
    assert max(moved) > 1e-2


@few("codec", [TopK(5, (4.0,)), Dense(), Dense("bfloat16")])
def test_cached_flops_are_those_of_plain_training(tmp_path, codec):
    """At most 1.01 times, for the demonstration's student at the usual batch size."""
    teacher = jaxkd.from_nnx(jaxkd.models.MLP(784, (8,), 10, rngs=nnx.Rngs(1)))
    student = jaxkd.from_nnx(jaxkd.models.MLP(784, (128,), 10, rngs=nnx.Rngs(0)))
    data = Dataset.from_arrays(
        np.zeros((128, 28, 28, 1), np.uint8),
        np.zeros(128, int),
        name="zeros",
        split="train",
        num_classes=10,
    )
    cache = jaxkd.cache.build(tmp_path, teacher, data, PLAIN, codec=codec, progress=False)
    flops = []
    for objective, source in [(recipes.labels(), None), (recipes.kd(), cache)]:
        step = make_train_step(student, objective, SGD, views=PLAIN)
        state = step.init()
        batch = Loader(data, PLAIN, 128, cache=source)[0]
        flops.append(program_flops(step.lower(state, batch).compile()))
    plain, cached = flops
    assert plain > 2 * 3 * 101_632 * 128 * 0.6
    assert cached <= 1.01 * plain


def test_batch_statistics_and_dropout_thread_through(small, images):
    student, teacher = small(0), small(1)
    state, metrics = train(student, teacher, images, steps=3, views=PLAIN)
    assert not np.array_equal(state.model_state["student"]["norm.mean"], student.state["norm.mean"])
    assert set(metrics) == {"loss", "label", "kd", "accuracy"}
    again, _ = train(student, teacher, images, steps=3, views=PLAIN)
    chex.assert_trees_all_equal(state.params, again.params)


def test_dropout_has_other_samples_in_every_step(small, images):
    """From the state's key and the number of the step, and from nothing else."""
    student, objective, still = small(0), recipes.labels(), optax.sgd(0.0)
    step = make_train_step(student, objective, still, views=PLAIN)
    batch = Loader(images, PLAIN, 32)[0]

    def rows():
        state = step.init()
        for _ in range(3):
            state, metrics = step(state, batch)
            yield float(metrics["loss"])

    first = list(rows())
    assert len(set(first)) == 3
    assert list(rows()) == first


def test_the_teacher_is_outside_of_the_gradient_and_in_evaluation_mode(images, small, mlp):
    teacher, student = small(1), mlp(0)
    objective = recipes.kd(alpha=1.0)
    step = make_train_step(student, objective, SGD, teacher=teacher, views=PLAIN)
    batch = Loader(images, PLAIN, 32)[0]
    state, metrics = step(step.init(), batch)
    inputs = PLAIN.render(batch)["inputs"]
    expected = losses.kd(student(inputs)["logits"], teacher(inputs)["logits"]).mean()
    np.testing.assert_allclose(metrics["kd"], expected, rtol=1e-4)

    def total(frozen):
        fresh = step.init()
        return step.function(frozen, fresh, batch)[1]["loss"][0]

    gradients = jax.grad(total, allow_int=True)(step.frozen)
    assert all(not np.any(np.asarray(g)) for g in jax.tree.leaves(gradients[0]))


def test_a_connector_trains_and_lives_in_the_state(images, small):
    teacher = small(1, width=6, features={"map": "conv"})
    student = small(0, features={"map": "conv"})
    connector = jaxkd.from_nnx(jaxkd.connectors.Conv1x1(4, 6, norm=True, rngs=nnx.Rngs(2)))
    objective = Objective(
        label=Term(losses.cross_entropy),
        hint=Term(losses.feature_mse, student="map", teacher="map", connector=connector),
    )
    step = make_train_step(student, objective, SGD, teacher=teacher, views=PLAIN)
    state = step.init()
    loader = Loader(images, PLAIN, 32)
    first = None
    for index in range(20):
        state, metrics = step(state, loader[index])
        first = first or float(metrics["hint"])
    assert metrics["hint"] < first
    for part, own in [("params", connector.params), ("model_state", connector.state)]:
        after = getattr(state, part)["connectors"]["hint"]
        assert all(not np.array_equal(after[name], own[name]) for name in own if "bias" not in name)


def test_many_steps_in_one_call_are_the_same_steps(images, mlp):
    student, objective = mlp(0), recipes.labels()
    step = make_train_step(student, objective, SGD, views=PLAIN)
    loader = Loader(images, PLAIN, 32)
    state, summed = step.init(), 0.0
    for index in range(5):
        state, metrics = step(state, loader[index])
        summed += float(metrics["loss"])
    stacked = jax.tree.map(lambda *x: np.stack(x), *[loader[i] for i in range(8)])
    looped, sums = step.many(step.init(), stacked, 5)
    chex.assert_trees_all_close(looped.params, state.params, atol=1e-6)
    assert int(looped.step) == 5
    np.testing.assert_allclose(sums["loss"][0], summed, rtol=1e-5)
    assert float(sums["loss"][1]) == 5 and float(sums["accuracy"][1]) == 5 * 32


def test_a_teacher_from_two_sides_or_none_is_refused(tmp_path, images, small, mlp):
    student, objective = mlp(0), recipes.kd()
    cache = jaxkd.cache.build(tmp_path, small(1), images, PLAIN, progress=False)
    both = make_train_step(student, objective, SGD, teacher=small(1), views=PLAIN)
    state = both.init()
    with pytest.raises(ValueError, match="two teachers"):
        both(state, Loader(images, PLAIN, 32, cache=cache)[0])
    neither = make_train_step(student, objective, SGD, views=PLAIN)
    with pytest.raises(ValueError, match="'kd' compares with the teacher"):
        neither(state, Loader(images, PLAIN, 32)[0])


def _with_hint(seed, width=5):
    connector = jaxkd.connectors.Linear(5, width, rngs=nnx.Rngs(seed))
    return Objective(hint=Term(losses.feature_mse, connector=jaxkd.from_nnx(connector)))


def test_a_step_inits_other_students_and_connectors_of_the_same_shapes(mlp):
    objectives = [_with_hint(seed) for seed in range(2)]
    step = make_train_step(mlp(0), objectives[0], SGD)
    state = step.init(5, student=mlp(1), objective=objectives[1])
    chex.assert_trees_all_equal(state.params["student"], mlp(1).params)
    chex.assert_trees_all_equal(state.params["connectors"], objectives[1].connectors()[0])
    chex.assert_trees_all_equal(state.key, jax.random.key(5))
    chex.assert_trees_all_equal(step.init().params["student"], mlp(0).params)


def test_a_step_refuses_to_init_what_it_was_not_made_for(mlp):
    step = make_train_step(mlp(0), recipes.labels(), SGD)
    message = r"head.bias: float32\[7\] given, float32\[5\] in the step"
    with pytest.raises(ValueError, match=message):
        step.init(student=mlp(0, num_classes=7))
    hinted = make_train_step(mlp(0), _with_hint(0), SGD)
    message = r"params/connectors/hint.*float32\[5, 7\] given, float32\[5, 5\] in the step"
    with pytest.raises(ValueError, match=message):
        hinted.init(objective=_with_hint(0, width=7))
    # The step would go on minimizing its own terms.
    message = r"has the terms \['label', 'kd'\], the step minimizes \['label'\].*make another"
    with pytest.raises(ValueError, match=message):
        step.init(objective=recipes.kd())


def test_a_step_refuses_to_init_another_loss_or_student(mlp):
    step = make_train_step(mlp(0), recipes.kd(), SGD)
    assert step.init(objective=recipes.kd(), student=mlp(1))
    with pytest.raises(ValueError, match=r"weight of label: 0\.5 given, 0\.\d+ in the step"):
        step.init(objective=recipes.kd(alpha=0.5))
    with pytest.raises(ValueError, match=r"temperature of kd: 1\.0 given, 4\.0 in the step"):
        step.init(objective=recipes.kd(temperature=1.0))
    terms = {**recipes.kd().terms, "kd": Term(losses.dkd, weight=0.9, temperature=4.0)}
    with pytest.raises(ValueError, match=r"loss of kd: dkd.* given, kd.* in the step"):
        step.init(objective=Objective(**terms))
    terms["kd"] = Term(losses.kd, weight=0.9, temperature=4.0, teacher="auxiliary")
    with pytest.raises(ValueError, match="outputs of kd: logits and auxiliary given"):
        step.init(objective=Objective(**terms))

    def linear(params, inputs):
        return inputs @ params

    def negative(params, inputs):
        return -inputs @ params

    first, second = (jaxkd.from_function(f, jnp.ones((4, 3))) for f in (linear, negative))
    step = make_train_step(first, recipes.labels(), SGD)
    with pytest.raises(ValueError, match=r"another architecture[^$]*linear[^$]*negative"):
        step.init(student=second)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": recipes.create("kd")}, r"an Objective, not .*AppliedRecipe: give its \.obj"),
        ({"objective": recipes.kd}, r"objective must be an Objective, not the function kd: write"),
        ({"objective": Term(losses.kd)}, r"of the class Term: write .*Objective\(kd=Term"),
        ({"optimizer": optax.sgd}, r"not the function sgd: write optax.sgd\(0\.1\)"),
        ({"optimizer": 0.1}, "optimizer must be a GradientTransformation, not 0.1"),
        ({"views": Normalize()}, r"of the class Normalize: write Views\(\(Normalize\(\),\)\)"),
        ({"student": nn.Dense}, "student must be a Network, not the class Dense: write .*from_lin"),
        ({"teacher": jnp.ones((4, 3))}, "teacher must be a Network, not .*: write .*cache=cache"),
        ({"micro_batches": 1.5}, "micro_batches must be an integer, not 1.5"),
    ],
)
def test_arguments_of_another_kind_are_refused(mlp, changes, message):
    arguments = {"student": mlp(), "objective": recipes.kd(), "optimizer": SGD, **changes}
    with pytest.raises(TypeError, match=message):
        make_train_step(**arguments)


def test_an_optimizer_of_two_functions_will_do(mlp):
    optimizer = optax.MultiSteps(optax.sgd(0.1), 2)
    step = make_train_step(mlp(), recipes.labels(), optimizer)
    batch = {"inputs": jnp.ones((4, 8, 8, 1)), "labels": jnp.arange(4)}
    states = [step.init()]
    for _ in range(2):
        states.append(step(jax.tree.map(jnp.copy, states[-1]), batch)[0])
    first, second, third = (jax.tree.leaves(state.params)[0] for state in states)
    np.testing.assert_array_equal(first, second)
    assert (np.asarray(second) != third).any()


def test_a_student_of_other_classes_is_refused_before_the_first_step(tmp_path, images, small, mlp):
    student, objective = mlp(0, num_classes=7), recipes.kd(alpha=1.0)
    cache = jaxkd.cache.build(tmp_path, small(1), images, PLAIN, progress=False)
    step = make_train_step(student, objective, SGD, views=PLAIN)
    state = step.init()
    with pytest.raises(ValueError, match=r"7.*5|5.*7"):
        step(state, Loader(images, PLAIN, 32, cache=cache)[0])
    assert int(state.step) == 0


def test_evaluation_counts_labeled_examples_once(images, small):
    network = small(0)
    unlabeled = images.with_labels(images.ids[:150])
    step = make_eval_step(network, views=PLAIN)
    batches = list(jaxkd.data.eval_batches(unlabeled, 64))
    metrics = evaluate(step, network.params, network.state, batches)
    logits = predict(step, network, batches)
    assert logits.shape == (200, 5)
    labels = images.labels[:150]
    assert metrics["accuracy"] == pytest.approx((logits[:150].argmax(-1) == labels).mean())
    log_p = jax.nn.log_softmax(logits[:150])
    assert metrics["cross_entropy"] == pytest.approx(
        -float(log_p[np.arange(150), labels].mean()), rel=1e-5
    )
    with pytest.raises(ValueError, match="no labeled example"):
        evaluate(
            step,
            network.params,
            network.state,
            jaxkd.data.eval_batches(images.with_labels(np.array([], int)), 64),
        )


def test_an_evaluation_without_batches_or_logits_is_refused(images, small):
    network = small(0)
    step = make_eval_step(network, views=PLAIN)
    with pytest.raises(ValueError, match="no batch to evaluate on"):
        evaluate(step, network.params, network.state, [])
    with pytest.raises(ValueError, match="no batch to evaluate on"):
        predict(step, network, [])
    blind = make_eval_step(jaxkd.networks.without_logits(network), views=PLAIN)
    with pytest.raises(ValueError, match="no logits .*without_logits.*the network itself"):
        predict(blind, network, jaxkd.data.eval_batches(images, 64))


class LinenStudent(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(16)(x.reshape(x.shape[0], -1))
        # Before the ReLU: after it, a unit that is hardly ever positive has a variance near zero,
        # and the normalization multiplies the last digit of its gradient by thousands.
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(x))
        return nn.Dense(5)(nn.Dropout(0.2, deterministic=not train)(x))


def linen_student() -> jaxkd.Network:
    variables = LinenStudent().init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))
    return jaxkd.from_linen(LinenStudent(), variables)


def bare_student() -> jaxkd.Network:
    def function(params, inputs):
        return inputs.reshape(inputs.shape[0], -1) @ params["kernel"] + params["bias"]

    return jaxkd.from_function(function, {"kernel": jnp.zeros((64, 5)), "bias": jnp.zeros(5)})


@pytest.mark.parametrize("make", [linen_student, bare_student])
def test_students_of_every_kind_train_online_and_cached_alike(tmp_path, images, small, make):
    teacher, student = small(1), make()
    cache = jaxkd.cache.build(tmp_path, teacher, images, PLAIN, progress=False)
    online, first = train(student, teacher, images, steps=1, views=PLAIN, num_views=1)
    online, last = train(student, teacher, images, steps=30, views=PLAIN, num_views=1)
    cached, _ = train(student, teacher, images, steps=30, views=PLAIN, num_views=1, cache=cache)
    assert last["loss"] < first["loss"]
    chex.assert_trees_all_close(online.params, cached.params, atol=1e-6)
    chex.assert_trees_all_close(online.model_state, cached.model_state, atol=1e-6)
    for old, new in zip(
        jax.tree.leaves(student.state), jax.tree.leaves(online.model_state["student"]), strict=True
    ):
        assert not np.array_equal(old, new)
