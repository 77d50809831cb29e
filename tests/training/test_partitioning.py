"""Meshes and rules: where arrays lie, and that nothing about a step depends on it."""

import jax
import numpy as np
import optax
import pytest
from conftest import random_images
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, TrainState, losses, make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.targets import TopK
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

VIEWS = Views((RandomCrop(1), RandomFlip(), Normalize()))
MESHES = {
    "data": {"data": 8},
    "fsdp": {"data": 2, "fsdp": 4},
    "data and model": {"data": 4, "model": 2},
}


SGD = optax.sgd(0.01, momentum=0.9)


def network(seed=0, width=16):
    return jaxkd.from_nnx(jaxkd.models.CNN((8, 8, 1), (8, 8), width, 5, rngs=nnx.Rngs(seed)))


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
    """The teacher's answers, dense and sparse."""
    made, teacher = {}, network(9)
    params = {**teacher.params, "head.kernel": 3 * teacher.params["head.kernel"]}  # of opinions
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
    state = step.place(TrainState.create(student, objective, SGD, seed=1))
    loader, rows = Loader(random_images(), VIEWS, 32, cache=cache, num_views=2), []
    layout = laid(state)
    for index in range(steps):
        state, metrics = step(state, loader[index])
        assert laid(state) == layout
        rows.append({name: float(value) for name, value in metrics.items()})
    return state, rows


def laid(state):
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


@pytest.mark.parametrize("kind", ["auto", "explicit"])
@pytest.mark.parametrize("shape", MESHES)
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
