"""Populations: each member ends where it would have ended alone, and what is shared is shared."""

import csv

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_images, small_network
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import Objective, Term, from_function, losses, make_train_step, recipes
from jaxkd.compression import program_flops
from jaxkd.data import Dataset, Loader
from jaxkd.metrics import R2, MeanAbsoluteError
from jaxkd.targets import TopK
from jaxkd.training import Population, evaluate, fit, grid, make_eval_step, make_mesh
from jaxkd.training._run_fields import run_fields
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
SCHEDULE = optax.cosine_decay_schedule(1.0, 100)
MEMBERS = {
    "temperature": [1.0, 4.0, 4.0, 2.0, 8.0],
    "alpha": [0.9, 0.9, 0.0, 1.0, 0.5],
    "learning_rate": [1e-2, 1e-2, 3e-3, 1e-2, 1e-3],
    "seed": [0, 1, 1, 0, 7],
}


def perceptron(seed):
    return jaxkd.from_nnx(jaxkd.models.MLP(64, (16,), 5, rngs=nnx.Rngs(seed)))


def kd(alpha, temperature):
    return recipes.kd(alpha=alpha, temperature=temperature)


def adam(learning_rate):
    return optax.chain(optax.adamw(SCHEDULE), optax.scale(learning_rate))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of a teacher's outputs for two views."""
    path = tmp_path_factory.mktemp("cache")
    return jaxkd.cache.build(
        path, small_network(9), random_images(), VIEWS, num_views=2, progress=False
    )


def batches(cache=None, count=20, batch_size=32):
    loader = Loader(random_images(), VIEWS, batch_size, cache=cache, num_views=2)
    return [loader[index] for index in range(count)]


def together(population, batches):
    """The state after all batches, and the metrics of each step."""
    state, rows = population.init(), []
    for batch in batches:
        state, metrics = population.step(state, batch)
        rows.append(jax.device_get(metrics))
    return state, rows


def alone(student, objective, optimizer, seed, batches, **options):
    step = make_train_step(student, objective, optimizer, views=VIEWS, **options)
    state, rows = step.init(seed), []
    for batch in batches:
        state, metrics = step(state, batch)
        rows.append(jax.device_get(metrics))
    return state, rows


def assert_same(state, expected):
    """Parameters, statistics and optimizer within 1e-5, and the same key."""
    data = [s.replace(key=jax.random.key_data(s.key)) for s in (state, expected)]
    chex.assert_trees_all_close(*data, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module")
def trained_alone(cache):
    """State and metrics of each of MEMBERS, trained by itself."""
    rows = [dict(zip(MEMBERS, row, strict=True)) for row in zip(*MEMBERS.values(), strict=True)]
    return [
        alone(
            perceptron(n["seed"]),
            kd(n["alpha"], n["temperature"]),
            adam(n["learning_rate"]),
            n["seed"],
            batches(cache),
        )
        for n in rows
    ]


@few("kind", ["one device", "explicit", "auto"])
def test_every_member_is_the_student_trained_alone(cache, trained_alone, kind):
    """With temperatures, weights, learning rates and seeds of their own; on one device and 8."""
    spread = kind in ("auto", "explicit")
    members = {name: values * (8 if spread else 1) for name, values in MEMBERS.items()}
    mesh = make_mesh(explicit=kind == "explicit") if spread else None
    population = Population(perceptron, kd, adam, members, views=VIEWS, mesh=mesh)
    state, rows = together(population, batches(cache))
    assert int(state.step) == 20
    kernel = state.params["student"]["head.kernel"]
    assert kernel.sharding.shard_shape(kernel.shape)[0] == 5
    for index in (*range(5), len(population) - 1):
        own, own_rows = trained_alone[index % 5]
        assert_same(population.member(state, index), own)
        for row, own_row in zip(rows, own_rows, strict=True):
            for name, value in own_row.items():
                np.testing.assert_allclose(row[name][index], value, rtol=1e-4, atol=1e-6)


def test_batch_statistics_dropout_and_an_online_teacher():
    """Each member samples by its own key, as it would alone."""
    teacher, data = small_network(9), batches(count=4)
    population = Population(
        lambda seed: small_network(seed // 2),
        recipes.kd(),
        optax.sgd(0.02),
        {"seed": [0, 1, 0]},
        views=VIEWS,
        teacher=teacher,
    )
    state, _ = together(population, data)
    for index, seed in enumerate([0, 1]):
        own, _ = alone(
            small_network(seed // 2), recipes.kd(), optax.sgd(0.02), seed, data, teacher=teacher
        )
        assert_same(population.member(state, index), own)
    kernels = np.asarray(state.params["student"]["head.kernel"])
    # 0 and 1 begin with the same numbers and drop other units; 0 and 2 are the same student.
    assert np.abs(kernels[0] - kernels[1]).max() > 1e-4
    np.testing.assert_array_equal(kernels[0], kernels[2])


def test_connectors_and_their_state_belong_to_each_member():
    """A projector with batch norm and a memory bank, initialized by the member's seed."""
    teacher = small_network(1, width=6, features={"map": "conv"})
    data = batches(count=4)

    def objective(seed, weight):
        rngs = nnx.Rngs(seed + 20)
        conv = jaxkd.connectors.Conv1x1(4, 6, norm=True, rngs=rngs)
        bank = jaxkd.connectors.CRD(5, 5, 601, dim=4, num_negatives=8, rngs=rngs)
        return Objective(
            label=Term(losses.cross_entropy),
            hint=Term(
                losses.feature_mse, weight=weight, student="map", teacher="map", connector=conv
            ),
            crd=Term(losses.crd, weight=0.1, connector=bank),
        )

    def student(seed):
        return small_network(seed, features={"map": "conv"})

    members = {"weight": [1.0, 0.2], "seed": [3, 4]}
    sgd = optax.sgd(0.02)
    population = Population(student, objective, sgd, members, views=VIEWS, teacher=teacher)
    state, _ = together(population, data)
    for index, (weight, seed) in enumerate(zip(*members.values(), strict=True)):
        own, _ = alone(student(seed), objective(seed, weight), sgd, seed, data, teacher=teacher)
        assert_same(population.member(state, index), own)


@pytest.mark.parametrize(
    ("recipe", "axes"),
    [
        (recipes.labels, {"label_smoothing": [0.0, 0.2]}),
        (recipes.dkd, {"alpha": [1.0, 2.0], "beta": [2.0, 8.0], "label_weight": [0.5, 1.0]}),
        (recipes.dist, {"beta": [1.0, 2.0], "gamma": [0.5, 1.0], "weight": [1.0, 2.0]}),
        (recipes.nkd, {"gamma": [1.0, 1.5], "temperature": [1.0, 2.0]}),
        (recipes.wsld, {"temperature": [2.0, 4.0], "weight": [1.0, 2.0]}),
        (recipes.ttm, {"gamma": [0.1, 0.5], "weight": [1.0, 2.0]}),
        (recipes.wttm, {"gamma": [0.1, 0.5], "label_weight": [0.0, 1.0]}),
        (recipes.lskd, {"temperature": [2.0, 3.0], "weight": [9.0, 1.0]}),
        (recipes.mlkd, {"weight": [0.1, 0.2]}),
        (recipes.rld, {"alpha": [1.0, 0.5], "beta": [8.0, 2.0], "alpha_temperature": [1.0, 2.0]}),
        (recipes.logit_mse, {"weight": [0.1, 1.0]}),
        (
            lambda peak: recipes.kd(
                alpha=optax.linear_schedule(peak, 0.1, 10),
                temperature=optax.linear_schedule(8 * peak, 2.0, 10),
            ),
            {"peak": [0.5, 1.0]},
        ),
    ],
)
def test_recipes_take_traced_numbers(recipe, axes):
    generator = np.random.default_rng(0)
    student, teacher = (
        {"logits": jnp.asarray(generator.normal(size=(8, 5)), jnp.float32)} for _ in range(2)
    )
    batch = {"labels": jnp.arange(8) % 5}

    def total(numbers):
        return recipe(**numbers)(student, teacher, batch, step=3)[0]

    @jax.jit
    def totals(numbers):
        alone = [{name: values[index] for name, values in axes.items()} for index in range(2)]
        return jax.vmap(total)(numbers), jnp.stack([total(own) for own in alone])

    numbers = {name: jnp.asarray(values, jnp.float32) for name, values in axes.items()}
    np.testing.assert_allclose(*totals(numbers), rtol=1e-5)


def test_one_program_for_every_number_of_steps(cache):
    population = Population(perceptron, kd, adam, MEMBERS, views=VIEWS)
    compiled: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, seconds, **_: compiled.append(name) if "backend_compile" in name else None
    )
    state, data = population.init(), population.step.put(batches(cache, 4))
    state, _ = population.step(state, data[0])
    before = len(compiled)
    for batch in data[1:]:
        state, _ = population.step(state, batch)
    assert len(compiled) == before


def test_what_members_share_is_computed_once():
    """FLOPs: the teacher's forward pass, decoding and views do not grow with the members."""

    def flops(members, teacher=None, cache=None):
        population = Population(
            perceptron,
            recipes.kd,
            optax.sgd(0.1),
            {"temperature": list(np.arange(1.0, members + 1))},
            views=VIEWS,
            teacher=teacher,
        )
        (batch,) = batches(cache, 1)
        return program_flops(population.step.lower(population.init(), batch).compile())

    class Logits:
        num_views, in_memory = 2, True

        def check(self, **_):
            pass

        def read(self, ids, view):
            return np.zeros((len(ids), 5), np.float32)

    teacher = jaxkd.from_nnx(jaxkd.models.MLP(64, (512,), 5, rngs=nnx.Rngs(1)))
    forward = 2 * 32 * 512 * (64 + 5)
    online = {n: flops(n, teacher) for n in (1, 4)}
    cached = {n: flops(n, cache=Logits()) for n in (1, 4)}
    for n in (1, 4):
        assert forward < online[n] - cached[n] < 1.05 * forward
    # Four students cost four times what one costs but for the views.
    assert 3 < cached[4] / cached[1] <= 4


def test_evaluation_and_prediction_of_all_members(cache):
    population = Population(perceptron, kd, adam, MEMBERS, views=VIEWS)
    state, _ = together(population, batches(cache, 5))
    seen, data = Views((Normalize(),)), random_images().with_labels(random_images().ids[:150])
    metrics = population.evaluator(data, views=seen, batch_size=64)(state)
    logits = population.predict(state, data, views=seen, batch_size=64)
    assert logits.shape == (5, 200, 5) and logits.dtype == np.float32
    for index in range(5):
        network = population.network(state, index)
        step = make_eval_step(network, views=seen)
        own = evaluate(step, network.params, network.state, jaxkd.data.eval_batches(data, 64))
        assert {name: values[index] for name, values in metrics.items()} == pytest.approx(own)
        hits = logits[index, :150].argmax(-1) == data.labels[:150]
        assert metrics["accuracy"][index] == pytest.approx(hits.mean())
    with pytest.raises(ValueError, match="no labeled example"):
        population.evaluator(data.with_labels([]))


def test_members_are_evaluated_by_chosen_metrics_and_need_no_logits():
    inputs = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
    data = Dataset.from_arrays(inputs, inputs[:, 0], name="values", split="test")
    population = Population(
        lambda seed: from_function(lambda params, x: {"age": x @ params}, jnp.ones(4) * (seed + 1)),
        Objective(fit=Term(lambda student, labels: (student - labels) ** 2, student="age")),
        optax.sgd(0.1),
        {"seed": [0, 1, 2]},
    )
    state = population.init()
    chosen = {"r2": R2(output="age"), "mae": MeanAbsoluteError(output="age")}
    metrics = population.evaluator(data, chosen, batch_size=16)(state)
    # Equal metrics share a program.
    equal = {"r2": R2(output="age"), "mae": MeanAbsoluteError(output="age")}
    assert population._evaluation(None, equal) is population._evaluation(None, chosen)
    for index in range(3):
        predicted = inputs.sum(1) * (index + 1)
        error = predicted - inputs[:, 0]
        assert metrics["mae"][index] == pytest.approx(np.abs(error).mean(), rel=1e-5)
        assert metrics["r2"][index] == pytest.approx(
            1 - np.mean(error**2) / inputs[:, 0].var(), rel=1e-5
        )
    with pytest.raises(ValueError, match="no logits"):
        population.predict(state, data)


@few("mesh", [True, False])
def test_fit_logs_every_member_goes_on_without_diverged_ones_and_resumes(tmp_path, cache, mesh):
    """One member diverges; the others go on, and an interrupted run is resumed."""
    rates = [1e-2, 1e30, 1e-3, 1e-2] * 2
    population = Population(
        perceptron,
        recipes.kd(),
        lambda learning_rate: optax.chain(optax.sgd(SCHEDULE), optax.scale(learning_rate)),
        {"learning_rate": rates},
        views=VIEWS,
        mesh=make_mesh() if mesh else None,
    )
    loader = Loader(random_images(), VIEWS, 32, cache=cache)

    def run(workdir, steps):
        return fit(
            population.step,
            population.init(),
            loader,
            steps=steps,
            log_every=10,
            evaluate=population.evaluator(random_images(), views=Views((Normalize(),))),
            eval_every=20,
            checkpoint_every=20,
            workdir=workdir,
            config={"members": population.members},
            tensorboard=False,
            progress=None,
        )

    whole = run(tmp_path / "whole", 40)
    run(tmp_path / "cut", 20)
    resumed = run(tmp_path / "cut", 40)
    for name in ("params", "opt_state"):
        chex.assert_trees_all_equal(
            *(jax.device_get(getattr(fitted.state, name)) for fitted in (whole, resumed))
        )
    rows = list(csv.DictReader((tmp_path / "cut/train.csv").open()))
    assert [int(row["member"]) for row in rows] == list(range(8)) * 4
    finite = np.isfinite([float(row["loss"]) for row in rows[-8:]])
    assert finite.tolist() == [True, False, True, True] * 2
    assert {"step", "member", "accuracy", "cross_entropy"} <= set(resumed.eval[0])
    assert len(resumed.eval) == 16


def test_numbers_and_lengths_that_do_not_fit_are_refused():
    def refused(error, match, members, objective=kd, optimizer=adam, **options):
        with pytest.raises(error, match=match):
            Population(perceptron, objective, optimizer, members, **options)

    refused(ValueError, "temperature of kd must be a positive number, not 0.0", {
        **MEMBERS, "temperature": [1.0, 4.0, 4.0, 0.0, 1.0],
    })  # fmt: skip
    refused(ValueError, r"alpha must lie in \[0, 1\], not 1.5", {**MEMBERS, "alpha": [1.5] * 5})
    refused(
        ValueError, r"neither function takes the members' \['tau'\]", {**MEMBERS, "tau": [1.0] * 5}
    )
    refused(ValueError, r"objective needs \['alpha'\]", {
        name: MEMBERS[name] for name in ("temperature", "learning_rate")
    })  # fmt: skip
    refused(ValueError, r"'alpha': 4, 'learning_rate': 5", {**MEMBERS, "alpha": [0.5] * 4})
    refused(ValueError, "at least one member", {name: [] for name in MEMBERS})
    refused(ValueError, "at least one member", {})
    refused(ValueError, "alpha of member 1 must be finite, not nan", {
        **MEMBERS, "alpha": [0.1, float("nan"), 0.1, 0.1, 0.1],
    })  # fmt: skip
    refused(TypeError, "alpha of member 0 must be a number, not '0.5'", {
        **MEMBERS, "alpha": ["0.5"] * 5,
    })  # fmt: skip
    refused(TypeError, "seed of member 0 must be an integer, not 0.5", {
        **MEMBERS, "seed": [0.5] * 5,
    })  # fmt: skip
    refused(ValueError, r"'temprature'\]; did you mean 'temperature'\? Objective", {
        "seed": [0] * 5, "temprature": [1.0] * 5,
    }, objective=recipes.kd, optimizer=optax.sgd(0.1))  # fmt: skip
    refused(TypeError, r"alpha must be one number a member, not 0.5: write {'alpha': \[0.5\]}",
            {**MEMBERS, "alpha": 0.5})  # fmt: skip
    refused(TypeError, "teacher must be a Network, not 3", MEMBERS, teacher=3)
    refused(TypeError, "objective must be an Objective or a function", MEMBERS, objective=3)
    refused(TypeError, "must return an Objective, not dict", MEMBERS,
            objective=lambda alpha, temperature: {})  # fmt: skip
    refused(ValueError, "5 members cannot be spread evenly over 8 devices: make it 8", MEMBERS,
            mesh=make_mesh())  # fmt: skip


def test_what_differs_in_more_than_numbers_is_refused():
    def wider(seed):
        return jaxkd.from_nnx(jaxkd.models.MLP(64, (16 + seed,), 5, rngs=nnx.Rngs(0)))

    with pytest.raises(ValueError, match="member 1|members 0 and 1"):
        Population(wider, recipes.labels(), optax.sgd(0.1), {"seed": [0, 1]}).init()

    def plain(inputs_times):
        return optax.sgd(0.1, momentum=0.9 if inputs_times > 1 else None)

    population = Population(
        perceptron, recipes.labels(), plain, {"inputs_times": [1.0, 2.0]}, views=VIEWS
    )
    with pytest.raises(ValueError, match="members 0 and 1 differ in more than the values"):
        population.init()
    with pytest.raises(ValueError, match=r"members have seeds of their own.*population\.init\(\)"):
        population.step.init()


def test_a_schedule_that_looks_at_its_peak_is_refused_with_what_to_do():
    def peaked(learning_rate):
        return optax.adamw(optax.warmup_cosine_decay_schedule(0.0, learning_rate, 5, 100))

    members = {"learning_rate": [0.1, 0.2]}
    population = Population(perceptron, recipes.labels(), peaked, members, views=VIEWS)
    with pytest.raises(ValueError, match="function for the optimizer looks at the value"):
        population.step(population.init(), batches(count=1)[0])


def test_targets_must_be_known_at_every_temperature(tmp_path):
    codec = TopK(3, temperatures=(1.0, 4.0))
    sparse = jaxkd.cache.build(
        tmp_path, small_network(9), random_images(), VIEWS, codec=codec, num_views=2, progress=False
    )
    (batch,) = batches(sparse, 1)
    good, bad = (
        Population(perceptron, recipes.kd, optax.sgd(0.1), grid(temperature=t), views=VIEWS)
        for t in ([1.0, 4.0], [1.0, 2.0])
    )
    _, metrics = good.step(good.init(), batch)
    assert np.isfinite(metrics["loss"]).all()
    with pytest.raises(ValueError, match=r"temperatures \[2.0\].*\(1.0, 4.0\)"):
        bad.step(bad.init(), batch)


def test_grids():
    with pytest.raises(ValueError, match="at least one axis"):
        grid()
    with pytest.raises(ValueError, match=r"axes \['alpha'\] hold no number"):
        grid(alpha=[], temperature=1.0)
    members = grid(a=jnp.arange(2), b=np.array([0.5]), seed=range(3))
    population = Population(
        perceptron, lambda a, b: recipes.labels(label_smoothing=b), optax.sgd(0.1), members
    )
    assert population.numbers(4) == {"a": 1, "b": 0.5, "seed": 1}
    with pytest.raises(IndexError, match="no member 6: they are 0 to 5"):
        population.numbers(6)


def test_a_run_of_a_population_remembers_what_its_step_was_made_with():
    def fields(**options):
        members = {"seed": [0, 1]}
        population = Population(
            perceptron, kd(0.5, 2.0), optax.sgd(0.1), members, teacher=perceptron(9), **options
        )
        return run_fields(population.step, population.init(), [], None)

    plain, other = fields(), fields(teacher_train=True, split_gradients=True)
    differing = {name for name in plain if plain[name] != other[name]}
    assert differing == {"step.teacher_train", "step.split_gradients"}
