import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import connectors, losses, networks, ops


def maps(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


KERNEL, BIAS = maps(6, 3, seed=1), maps(3, seed=2)


def simkd(**options):
    return connectors.SimKD(4, 6, **{"kernel": KERNEL, "rngs": nnx.Rngs(0), **options})


def srrl(**options):
    return connectors.SRRL(4, 6, **{"kernel": KERNEL, "rngs": nnx.Rngs(0), **options})


@pytest.mark.parametrize("bias", [None, BIAS], ids=["no_bias", "bias"])
def test_logits_are_the_teachers_classifier_on_the_average(bias):
    student = maps(2, 5, 3, 4)
    arguments = jax.jit(lambda x: simkd(bias=bias)(x))(student)
    logits = np.mean(arguments["projected"], axis=(1, 2)) @ KERNEL + (0 if bias is None else bias)
    np.testing.assert_allclose(arguments["logits"], logits, rtol=1e-4, atol=1e-6)
    projected, predicted = jax.jit(lambda x: srrl(bias=bias)(x))(student)["student"]
    logits = np.mean(projected, axis=(1, 2)) @ KERNEL + (0 if bias is None else bias)
    np.testing.assert_allclose(predicted, logits, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("make", [simkd, srrl])
def test_the_classifier_is_state_and_not_trained(make):
    network = jaxkd.from_nnx(make(bias=BIAS))
    assert not [name for name in network.params if "head" in name]
    np.testing.assert_array_equal(network.state["head.kernel"], KERNEL)
    np.testing.assert_array_equal(network.state["head.bias"], BIAS)


def test_simkd_behind_a_student():
    student = jaxkd.from_nnx(jaxkd.models.ConvNet(1, 10, rngs=nnx.Rngs(0)))
    projector = connectors.SimKD(32, 6, kernel=KERNEL, bias=BIAS, rngs=nnx.Rngs(0))
    network = networks.extend(student, projector, "stage3")
    images = maps(2, 8, 8, 1)
    apply = jax.jit(lambda p, s, x: network.apply(p, s, x, train=True))
    outputs, state = apply(network.params, network.state, images)
    assert outputs["projected"].shape == (*outputs["stage3"].shape[:-1], 6)
    assert outputs["logits"].shape == (2, 3)
    np.testing.assert_array_equal(state["extension"]["head.kernel"], KERNEL)
    assert np.any(state["extension"]["mix.norm.mean"] != 0)


def test_simkd_pools_a_larger_student_first():
    @jax.jit
    def project(student):
        pooled = ops.adaptive_average_pool(student, (4, 3))
        return simkd(size=(4, 6))(student)["projected"], simkd()(pooled)["projected"]

    np.testing.assert_allclose(*project(maps(2, 8, 3, 4)), rtol=1e-6)


def test_srrl_of_maps_and_of_vectors():
    @jax.jit
    def evaluate(vectors, teacher):
        flat, square = srrl()(vectors)["student"], srrl()(vectors[:, None, None])["student"]
        values = [losses.srrl(student, teacher) for student in (flat, square)]
        return flat[0], square[0][:, 0, 0], values

    flat, square, values = evaluate(maps(5, 4), (maps(5, 2, 2, 6), maps(5, 3)))
    np.testing.assert_allclose(flat, square, rtol=1e-6)
    np.testing.assert_allclose(*values, rtol=1e-6)


def test_gradients_reach_the_projection_through_the_classifier():
    network = jaxkd.networks.as_connector(srrl())

    def loss(params):
        arguments, _ = network.apply(params, network.state, maps(5, 2, 2, 4), train=True)
        return jnp.sum(jnp.square(arguments["student"][1]))

    gradients = jax.jit(jax.grad(loss))(network.params)
    assert np.any(gradients["project.conv.kernel"]) and np.any(gradients["project.norm.bias"])


def test_errors():
    for make in (simkd, srrl):
        with pytest.raises(ValueError, match=r"\[6, num_classes\].*not \(3, 6\)"):
            make(kernel=KERNEL.T)
        with pytest.raises(ValueError, match=r"bias has shape \(6,\), its kernel \(6, 3\)"):
            make(bias=jnp.ones(6))
    with pytest.raises(ValueError, match="between 1 and 6, not 7"):
        simkd(factor=7)
    with pytest.raises(ValueError, match=r"SimKD projects maps .* not \(2, 4\)"):
        simkd()(jnp.ones((2, 4)))
