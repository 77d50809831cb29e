"""Meshes and rules: placement of arrays, and that nothing about a step depends on it."""

import jax
import numpy as np
import optax
import pytest
from conftest import random_images
from flax import nnx
from jax.sharding import PartitionSpec as P
from tiers import few

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.compression import collectives
from jaxkd.data import Loader, eval_batches
from jaxkd.targets import TopK
from jaxkd.training import Partitioning, evaluate, make_eval_step, make_mesh, predict
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(1), RandomFlip(), Normalize()))
MESHES = {
    "all axes": {"data": 2, "fsdp": 2, "model": 2},
    "fsdp": {"data": 2, "fsdp": 4},
    "data and model": {"data": 4, "model": 2},
    "data": {"data": 8},
}


SGD = optax.sgd(0.01, momentum=0.9)


class Smooth(nnx.Module):
    """Without maxima and rectifiers: where one flips, rounding becomes a difference that counts."""

    def __init__(self, width, *, rngs):
        self.conv = nnx.Conv(1, 8, (3, 3), rngs=rngs)
        self.hidden = nnx.Linear(128, width, rngs=rngs)
        self.head = nnx.Linear(width, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.gelu(self.conv(x))
        x = x.reshape(x.shape[0], 4, 2, 4, 2, -1).mean((2, 4))
        return self.head(nnx.gelu(self.hidden(x.reshape(x.shape[0], -1))))


def network(seed=0, width=16):
    return jaxkd.from_nnx(Smooth(width, rngs=nnx.Rngs(seed)))


def objectives() -> dict[str, Objective]:
    """One of each kind, by name."""
    label = Term(losses.cross_entropy, weight=0.3)
    bank = jaxkd.connectors.CRD(5, 5, 601, dim=8, num_negatives=16, rngs=nnx.Rngs(3))
    return {
        "per example": recipes.kd(alpha=0.7),
        "relational": Objective(label=label, rkd=Term(losses.rkd_distance, weight=2.0)),
        "contrastive": Objective(label=label, crd=Term(losses.crd, weight=0.5, connector=bank)),
        "sparse": Objective(label=label, kd=Term(losses.kl_divergence, temperature=4.0)),
    }


@pytest.fixture(scope="module")
def caches(tmp_path_factory):
    """Caches of the teacher's outputs, dense and sparse."""
    made, teacher = {}, network(9)
    params = {
        **teacher.params,
        "head.kernel": 3 * teacher.params["head.kernel"],
    }  # less uniform predictions
    teacher = teacher.replace(params=params, state=teacher.state)
    for name, codec in {"dense": None, "sparse": TopK(3, (4.0,))}.items():
        made[name] = jaxkd.cache.build(
            tmp_path_factory.mktemp(name), teacher, random_images(), VIEWS, codec=codec,
            num_views=2, progress=False,
        )  # fmt: skip
    return made


def trained(objective, cache, partitioning=None, *, steps=20, student=None, **options):
    """The state after some steps and the metrics of each; the layout never drifts."""
    student = student or network()
    step = make_train_step(
        student, objective, SGD, views=VIEWS, partitioning=partitioning, **options
    )
    state = step.init(seed=1)
    loader, rows = Loader(random_images(), VIEWS, 32, cache=cache, num_views=2), []
    layout = layout_of(state)
    for index in range(steps):
        state, metrics = step(state, loader[index])
        assert layout_of(state) == layout
        rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows


def layout_of(state):
    return [(str(leaf.sharding), str(jax.typeof(leaf))) for leaf in jax.tree.leaves(state)]


def assert_same(tree, expected, tolerance=1e-5):
    """Within a tolerance of the largest number of each array."""
    pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(expected), strict=True)
    for a, b in pairs:
        if jax.dtypes.issubdtype(jax.numpy.result_type(b), jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        largest = max(np.abs(b).max(initial=0), 1e-3)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * largest)


@pytest.fixture(scope="module")
def on_one_device(caches):
    """State and metrics of each objective after 20 steps."""
    return {
        name: trained(objective, caches["sparse" if name == "sparse" else "dense"])
        for name, objective in objectives().items()
    }


@few("kind", ["explicit", "auto"])
@few("shape", MESHES)
def test_a_mesh_changes_nothing_but_where_arrays_lie(caches, on_one_device, shape, kind):
    """Losses, parameters, optimizer and banks after 20 steps equal those of one device."""
    mesh = make_mesh(**MESHES[shape], explicit=kind == "explicit")
    partitioning = Partitioning(mesh, min_size=0)
    for name, objective in objectives().items():
        cache = caches["sparse" if name == "sparse" else "dense"]
        state, rows = trained(objective, cache, partitioning)
        assert_same(state, on_one_device[name][0])
        assert_same(rows, on_one_device[name][1])
        assert {len(leaf.sharding.device_set) for leaf in jax.tree.leaves(state)} == {8}
        kernel = state.params["student"]["hidden.kernel"]
        spread = kernel.sharding.shard_shape(kernel.shape) != kernel.shape
        assert spread == (shape != "data")


def compiled(objective, batch, partitioning, teacher=None, student=None):
    """The compiled step of a cached batch, and the number of the student's parameters."""
    student = student or network()
    step = make_train_step(
        student, objective, SGD, views=VIEWS, partitioning=partitioning, teacher=teacher
    )
    state = step.init()
    program = step.lower(state, step.put(batch)).compile()
    return program, sum(leaf.size for leaf in jax.tree.leaves(state.params))


@few("kind", ["auto", "explicit"])
def test_a_data_parallel_step_adds_up_gradients_and_nothing_else(caches, kind):
    """The reductions have as many numbers as there are parameters, and a few for the metrics."""
    partitioning = Partitioning(make_mesh(explicit=kind == "explicit"))
    for name in ("dense", "sparse"):
        batch = Loader(random_images(), VIEWS, 32, cache=caches[name])[0]
        program, parameters = compiled(objectives()["per example"], batch, partitioning)
        found = collectives(program)
        assert {collective.kind for collective in found} == {"all-reduce"}
        assert parameters <= sum(collective.size for collective in found) <= parameters + 12
        # The weights of labels depend on how many there are: a few scalars, then the gradient.
        large = [collective for collective in found if collective.size > 12]
        assert len(large) == 1 and large[0].size >= parameters


def test_a_relational_step_gathers_what_the_relation_needs(caches):
    """The student's and the teacher's logits of the batch, and no more than that."""
    batch = Loader(random_images(), VIEWS, 32, cache=caches["dense"])[0]
    objective = objectives()["relational"]
    program, parameters = compiled(objective, batch, Partitioning(make_mesh()))
    found = collectives(program)
    gathered = [c for c in found if c.kind != "all-reduce"]
    assert 0 < sum(collective.size for collective in gathered) <= 4 * 32 * 5
    reduced = sum(collective.size for collective in found if collective.kind == "all-reduce")
    assert parameters <= reduced <= parameters + 4 * 32 * 32


def test_teacher_and_student_may_lie_differently(caches):
    """A teacher that is spread beside a student that is whole, and the reverse."""
    teacher, expected = network(9, width=32), None
    for rules in ((("student", P()),), (("teacher", P()),)):
        partitioning = Partitioning(make_mesh(fsdp=4), rules, min_size=0)
        step = make_train_step(
            network(), recipes.kd(), SGD, teacher=teacher, views=VIEWS, partitioning=partitioning
        )
        state = step.init()
        kernels = step.frozen[0]["hidden.kernel"], state.params["student"]["hidden.kernel"]
        spread = [kernel.sharding.shard_shape(kernel.shape) != kernel.shape for kernel in kernels]
        assert spread == [rules[0][0] == "student", rules[0][0] == "teacher"]
        state, metrics = step(state, Loader(random_images(), VIEWS, 32, num_views=1)[0])
        expected = expected or float(metrics["loss"])
        assert float(metrics["loss"]) == pytest.approx(expected, rel=1e-5)


def test_evaluation_on_a_mesh_is_that_of_one_device():
    student, data = network(), random_images()
    plain = Views((Normalize(),))
    here = make_eval_step(student, views=plain)
    there = make_eval_step(student, views=plain, partitioning=Partitioning(make_mesh()))
    batches = list(eval_batches(data, 64))
    a, b = (evaluate(step, student.params, student.state, batches) for step in (here, there))
    assert a == pytest.approx(b, rel=1e-5)
    np.testing.assert_allclose(
        predict(here, student, batches), predict(there, student, batches), atol=1e-5
    )
    on_host = jax.tree.map(np.asarray, (student.params, student.state))
    assert a == pytest.approx(evaluate(there, *on_host, batches), rel=1e-5)


def test_several_steps_in_one_call_keep_the_layout(caches):
    partitioning = Partitioning(make_mesh(fsdp=4), min_size=0)
    step = make_train_step(network(), recipes.kd(), SGD, views=VIEWS, partitioning=partitioning)
    state = step.init()
    loader, layout = Loader(random_images(), VIEWS, 32, cache=caches["dense"]), layout_of(state)
    stacked = jax.tree.map(lambda *x: np.stack(x), *[loader[i] for i in range(3)])
    state, _ = step.many(state, step.put(stacked, leading=1), step.put(np.int32(3)))
    assert int(state.step) == 3 and layout_of(state) == layout


def test_rules_that_do_not_fit_are_refused_by_name():
    mesh = make_mesh(data=2, fsdp=4)
    with pytest.raises(ValueError, match=r"names the axes \['tensor'\]; the mesh has"):
        Partitioning(mesh, (("kernel", P("tensor")),))
    state = make_train_step(network(), recipes.kd(), SGD).init()
    with pytest.raises(ValueError, match=r"'head' places params/student/head.bias of shape \(5,\)"):
        Partitioning(mesh, (("head", P("fsdp")),)).place(state)
    factored = optax.adafactor(0.1, min_dim_size_to_factor=4)
    rules = (("hidden.kernel", P("fsdp", None)), ("", P()))
    state = make_train_step(network(), recipes.kd(), factored).init()
    placed = Partitioning(mesh, rules).place(state)
    kernel = placed.params["student"]["hidden.kernel"]
    assert kernel.sharding.spec == P("fsdp")
    with pytest.raises(ValueError, match="8 devices cannot be arranged as data=3, fsdp=1, model=1"):
        make_mesh(data=3)
    with pytest.raises(ValueError, match="cannot be arranged"):
        make_mesh(data=-1, fsdp=-1)
    with pytest.raises(ValueError, match="30 examples cannot be spread evenly over 8 parts"):
        Partitioning(mesh).put({"inputs": np.zeros((30, 2))})
    assert Partitioning(mesh).for_batch(30).batch == P()
    assert Partitioning(mesh).for_batch(32).batch == Partitioning(mesh).batch
