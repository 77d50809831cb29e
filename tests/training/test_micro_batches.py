"""Batches that go through the networks in parts, and other ways to use less memory."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import random_images, small_network
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.networks import remat
from jaxkd.training import Partitioning, dot, make_mesh
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))
SGD = optax.sgd(0.05, momentum=0.9)


def network(seed=0, dropout_rate=0.0):
    model = jaxkd.models.CNN(
        (8, 8, 1), (8, 8), 16, 5, dropout_rate=dropout_rate, rngs=nnx.Rngs(seed)
    )
    return jaxkd.from_nnx(model, features={"hidden": "hidden"})


def objectives() -> dict[str, Objective]:
    projector = jaxkd.connectors.Linear(16, 16, rngs=nnx.Rngs(3))
    bank = jaxkd.connectors.CRD(5, 5, 601, dim=8, num_negatives=16, rngs=nnx.Rngs(3))
    label = Term(losses.cross_entropy, weight=0.3)
    hint = Term(losses.feature_mse, 1.0, None, "hidden", "hidden", projector)
    return {
        "per example": recipes.kd(),
        "relation": Objective(label=label, rkd=Term(losses.rkd_angle), sp=Term(losses.sp)),
        "correlation": Objective(label=label, dist=Term(losses.dist)),
        "bank": Objective(label=label, crd=Term(losses.crd, connector=bank)),
        "connector": Objective(label=label, hint=hint),
    }


def trained(objective, student=None, *, steps=3, optimizer=SGD, data=None, **options):
    student = student or network()
    step = make_train_step(
        student, objective, optimizer, teacher=network(9), views=VIEWS, **options
    )
    state, loader = step.init(), None
    loader = Loader(data or random_images(), VIEWS, 32, num_views=1)
    for index in range(steps):
        state, metrics = step(state, loader[index])
    return state, metrics


@pytest.mark.parametrize("name", objectives())
def test_micro_batches_give_the_numbers_of_the_whole_batch(name):
    """Whatever the losses couple: relations, banks, connectors; labels that are missing."""
    few = random_images().with_labels(random_images().ids[:90])
    data = few if name == "per example" else random_images()
    # Correlations of fresh networks' nearly even outputs multiply rounding at every step.
    steps = 1 if name == "correlation" else 3
    whole, metrics = trained(objectives()[name], data=data, steps=steps)
    parts, others = trained(objectives()[name], data=data, steps=steps, micro_batches=4)
    chex.assert_trees_all_close(parts.params, whole.params, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(parts.model_state, whole.model_state, rtol=1e-5, atol=1e-6)
    chex.assert_trees_all_close(others, metrics, rtol=1e-5, atol=1e-6)


def test_micro_batches_on_a_mesh_and_with_two_gradients():
    whole, _ = trained(recipes.kd(), optimizer=dot(0.05), split_gradients=True)
    spread = Partitioning(make_mesh(data=2, fsdp=4), min_size=0)
    parts, _ = trained(
        recipes.kd(), optimizer=dot(0.05), split_gradients=True, micro_batches=2,
        partitioning=spread,
    )  # fmt: skip
    chex.assert_trees_all_close(
        jax.device_get(parts.params), jax.device_get(whole.params), rtol=1e-5, atol=1e-6
    )


def test_what_cannot_be_cut_is_refused(small):
    with pytest.raises(ValueError, match=r"student has state in training, \['norm.mean'"):
        trained(recipes.kd(), small(), micro_batches=2)
    with pytest.raises(ValueError, match="BatchNorm, fake_quantized without ranges, or micro_b"):
        trained(recipes.kd(), small(), micro_batches=2)
    with pytest.raises(ValueError, match="batch of 32 cannot be cut into micro_batches=5"):
        trained(recipes.kd(), micro_batches=5)
    with pytest.raises(ValueError, match="micro_batches must be at least 1, not 0"):
        trained(recipes.kd(), micro_batches=0)
    student, teacher = network(), small(9)
    step = make_train_step(
        student, recipes.kd(), SGD, teacher=teacher, teacher_train=True, views=VIEWS,
        micro_batches=2,
    )  # fmt: skip
    with pytest.raises(ValueError, match="teacher has batch statistics"):
        step(step.init(), Loader(random_images(), VIEWS, 32, num_views=1)[0])


def test_dropout_differs_between_micro_batches():
    state, _ = trained(recipes.kd(), network(dropout_rate=0.5), micro_batches=4)
    again, _ = trained(recipes.kd(), network(dropout_rate=0.5), micro_batches=4)
    chex.assert_trees_all_equal(state.params, again.params)

    def spread(student, labels):
        """How far apart the outputs of equal examples are."""
        return jnp.sum(jnp.var(student, axis=0))

    student, objective = network(dropout_rate=0.5), Objective(spread=Term(spread))
    step = make_train_step(student, objective, SGD, micro_batches=4)
    batch = {"inputs": jnp.ones((4, 8, 8, 1)), "labels": jnp.full((4, 5), 0.2)}
    _, metrics = step(step.init(), batch)
    assert metrics["spread"] > 1e-3


def wide(seed=0):
    layers = []
    for _ in range(6):
        layers += [nnx.Linear(256, 256, rngs=nnx.Rngs(seed)), nnx.gelu]
    return jaxkd.from_nnx(nnx.Sequential(*layers))


def temporary_bytes(student, batch_size=1024, **options):
    """Of the compiled step."""
    objective = Objective(kd=Term(losses.kd))
    step = make_train_step(student, objective, SGD, **options)
    batch = {"inputs": jnp.ones((batch_size, 256)), "teacher": jnp.ones((batch_size, 256))}
    state = step.init()
    return step.lower(state, batch).compile().memory_analysis().temp_size_in_bytes


def test_micro_batches_and_rematerialisation_need_less_memory():
    plain = temporary_bytes(wide())
    assert temporary_bytes(wide(), micro_batches=8) < 0.5 * plain
    policy = jax.checkpoint_policies.nothing_saveable
    jaxpr = jax.make_jaxpr(
        jax.grad(
            lambda p: remat(wide()).apply(p, {}, jnp.ones((4, 256)), train=True)[0]["logits"].sum()
        )
    )(wide().params)
    assert "remat" in str(jaxpr)
    whole, _ = trained(recipes.kd())
    for again in (remat(network()), remat(network(), policy)):
        state, _ = trained(recipes.kd(), again)
        chex.assert_trees_all_close(state.params, whole.params, rtol=1e-5, atol=1e-6)


def test_bfloat16_computes_beside_float32_parameters(small):
    """The master parameters stay float32 and follow those of float32 at a distance."""
    student, half = small(), small_network(dtype=jnp.bfloat16)
    assert half(jnp.ones((2, 8, 8, 1)))["logits"].dtype == jnp.bfloat16
    assert half.fingerprint()["architecture"] != student.fingerprint()["architecture"]
    whole, _ = trained(recipes.kd(), student, steps=10)
    state, metrics = trained(recipes.kd(), half, steps=10)
    assert metrics["loss"].dtype == jnp.float32
    leaves = jax.tree.leaves((state.params, state.model_state, state.opt_state))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    inputs, key = jnp.ones((2, 8, 8, 1)), jax.random.key(0)
    program = str(
        jax.make_jaxpr(lambda p: half.apply(p, half.state, inputs, train=True, key=key)[0])(
            half.params
        )
    )
    assert "bf16[2,8,8,4] = conv_general_dilated" in program
    assert "bf16[2,5] = dot_general" in program
    for name, value in whole.params["student"].items():
        apart = np.abs(value - state.params["student"][name]).max()
        assert apart < 0.05, name
    with pytest.raises(ValueError, match="floating point, not in int8"):
        small_network(dtype=jnp.int8)
