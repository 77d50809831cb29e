import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd.models import (
    efficientnet,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    resnet_imagenet,
    shufflenet_v2,
    squeezenet,
)
from jaxkd.models._inverted_residual import InvertedResidual
from jaxkd.models._layers import batch_norm, group_norm

FAMILIES = (
    resnet_imagenet,
    inception_v3,
    mobilenet_v1,
    mobilenet_v2,
    mobilenet_v3,
    squeezenet,
    shufflenet_v2,
    efficientnet,
)
ENTRIES = {
    entry.name: entry
    for family in FAMILIES
    for entry in family.ENTRIES
    if not entry.name.endswith("_cifar")
}

# Sides of the maps at the ends of the stages, and their channels, for images as published.
STAGES = {
    "resnet18": [(56, 64), (28, 128), (14, 256), (7, 512)],
    "resnet34": [(56, 64), (28, 128), (14, 256), (7, 512)],
    "resnet50": [(56, 256), (28, 512), (14, 1024), (7, 2048)],
    "resnet101": [(56, 256), (28, 512), (14, 1024), (7, 2048)],
    "resnet152": [(56, 256), (28, 512), (14, 1024), (7, 2048)],
    "inception_v3": [(35, 288), (17, 768), (8, 2048)],
    "inception_v3_no_aux": [(35, 288), (17, 768), (8, 2048)],
    "mobilenet_v1": [(56, 128), (28, 256), (14, 512), (7, 1024)],
    "mobilenet_v2": [(56, 24), (28, 32), (14, 96), (7, 320)],
    "mobilenet_v3_small": [(56, 16), (28, 24), (14, 48), (7, 96)],
    "mobilenet_v3_large": [(56, 24), (28, 40), (14, 112), (7, 160)],
    "squeezenet1_0": [(54, 256), (27, 512), (13, 512)],
    "squeezenet1_1": [(55, 128), (27, 256), (13, 512)],
    "shufflenet_v2": [(28, 116), (14, 232), (7, 464)],
    "efficientnet_b0": [(56, 24), (28, 40), (14, 112), (7, 320)],
}
# Compiling takes longer than anything else here.
QUICK = {"xla_backend_optimization_level": 0}
# Ways of making each small.
SMALL = {
    "resnet": functools.partial(resnet_imagenet.ImageNetResNet, 18, 3, 5, width=4),
    "mobilenet_v1": functools.partial(mobilenet_v1.MobileNetV1, 3, 5, width_factor=0.125),
    "mobilenet_v2": functools.partial(mobilenet_v2.MobileNetV2, 3, 5, width_factor=0.125),
    "mobilenet_v3": functools.partial(mobilenet_v3.MobileNetV3, "small", 3, 5, width_factor=0.25),
    "shufflenet": functools.partial(
        shufflenet_v2.ShuffleNetV2, 3, 5, widths=(8, 16, 32), counts=(2, 2, 2), last_width=16
    ),
    "efficientnet": functools.partial(
        efficientnet.EfficientNet, 3, 5, width_factor=0.25, depth_factor=0.3
    ),
}


def _shapes(make, *shape, dtype=None, **more):
    """Number of parameters, and outputs, of a network without computing anything."""
    model = nnx.eval_shape(lambda: make(**more, rngs=nnx.Rngs(0)))
    if dtype is not None:
        model.set_attributes(dtype=dtype)
    model.eval()  # running statistics that do not change are quicker to trace
    graph, state = nnx.split(model)

    def run(state, images):
        logits, features = nnx.merge(graph, state)(images)
        return {"logits": logits, **features}

    outputs = jax.eval_shape(run, state, jax.ShapeDtypeStruct(shape, jnp.float32))
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param))), outputs


# Those that differ from another in depth or width alone.
LATER = ["resnet34", "resnet101", "resnet152", "inception_v3_no_aux"]
LATER += ["mobilenet_v3_large", "squeezenet1_1"]


@few("name", [*(n for n in ENTRIES if n not in LATER), *LATER], keep=len(ENTRIES) - len(LATER))
def test_parameters_and_stages_are_as_published(name):
    entry = ENTRIES[name]
    sizes = {"num_classes": entry.num_classes, "in_channels": 3, "image_size": entry.image_size}
    make = functools.partial(entry.make, **sizes, norm="batch")
    parameters, outputs = _shapes(make, 2, entry.image_size, entry.image_size, 3)
    assert parameters == entry.parameters
    stages = STAGES[name]
    for number, (side, channels) in enumerate(stages, 1):
        assert outputs[f"stage{number}"].shape == (2, side, side, channels)
        assert outputs[f"preact{number}"].shape == (2, side, side, channels)
    assert f"stage{len(stages) + 1}" not in outputs
    assert outputs["logits"].shape == (2, 1000)
    assert outputs["stem"].ndim == 4 and outputs["embedding"].ndim == 2
    assert ("aux_logits" in outputs) == (name == "inception_v3")


@pytest.mark.parametrize("name", SMALL)
@few("norm", [batch_norm, group_norm])
def test_any_size_and_norm_and_bfloat16_to_the_end(name, norm):
    _, outputs = _shapes(SMALL[name], 2, 1, 33, 3, norm=norm, dtype=jnp.bfloat16)
    assert outputs["logits"].shape == (2, 5)
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}


@few(
    ("make", "smallest"),
    [
        (functools.partial(squeezenet.SqueezeNet, "1.0", 3, 5), 21),
        (functools.partial(squeezenet.SqueezeNet, "1.1", 3, 5), 17),
        (functools.partial(inception_v3.InceptionV3, 3, 5, norm=group_norm), 75),
    ],
    keep=2,
)
def test_the_smallest_images(make, smallest):
    _, outputs = _shapes(make, 2, smallest, smallest, 3, dtype=jnp.bfloat16)
    assert outputs["stage3"].shape[1:3] == (1, 1)
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    with pytest.raises(ValueError, match=f"at least {smallest}, not \\(2, {smallest - 1}, 99, 3"):
        _shapes(make, 2, smallest - 1, 99, 3)


def test_what_is_not_known_is_refused():
    rngs = nnx.Rngs(0)
    with pytest.raises(ValueError, match=r"one of \[18, 34, 50, 101, 152\], not 20"):
        resnet_imagenet.ImageNetResNet(20, 3, 5, rngs=rngs)
    with pytest.raises(ValueError, match=r"one of \['large', 'small'\], not 'tiny'"):
        mobilenet_v3.MobileNetV3("tiny", 3, 5, rngs=rngs)
    with pytest.raises(ValueError, match=r"one of \['1.0', '1.1'\], not '2.0'"):
        squeezenet.SqueezeNet("2.0", 3, 5, rngs=rngs)
    with pytest.raises(ValueError, match=r"must be even, .* \(8, 17, 32\)"):
        shufflenet_v2.ShuffleNetV2(3, 5, widths=(8, 17, 32), rngs=rngs)
    with pytest.raises(ValueError, match=r"MobileNetV1 takes images .* 3\], not \(2, 64, 64, 1\)"):
        _shapes(SMALL["mobilenet_v1"], 2, 64, 64, 1)


def _network(make):
    """With initial values from numpy: compiling JAX's takes longer than what is to be tested."""
    network = jaxkd.from_nnx(nnx.eval_shape(lambda: make(rngs=nnx.Rngs(0))))
    rng = np.random.default_rng(0)

    def value(path, wanted):
        if path.endswith("kernel"):
            scale = (2 / np.prod(wanted.shape[:-1])) ** 0.5
            return jnp.asarray(scale * rng.normal(size=wanted.shape), jnp.float32)
        return jnp.full(wanted.shape, float(path.endswith(("scale", "var"))))

    params, state = (
        {path: value(path, wanted) for path, wanted in part.items()}
        for part in (network.params, network.state)
    )
    return network.replace(params=params, state=state)


@few(("name", "norm"), [("resnet", group_norm), ("efficientnet", batch_norm)])
def test_every_parameter_learns(name, norm):
    network = _network(functools.partial(SMALL[name], norm=norm))
    images = jnp.asarray(np.random.default_rng(1).normal(size=(8, 64, 64, 3)), jnp.float32)

    def loss(params):
        outputs, state = network.apply(
            params, network.state, images, train=True, key=jax.random.key(0)
        )
        return jnp.square(outputs["logits"] - jnp.arange(5.0)).mean(), state

    step = jax.jit(jax.grad(loss, has_aux=True), compiler_options=QUICK)
    gradients, state = step(network.params)
    for path, gradient in gradients.items():
        assert np.isfinite(gradient).all() and np.any(gradient), path
    assert all(np.any(state[path] != value) for path, value in network.state.items())


def test_stochastic_depth_keeps_or_drops_whole_examples():
    options = {"activation": nnx.relu, "stochastic_depth_rate": 0.5, "norm": group_norm}
    network = _network(functools.partial(InvertedResidual, 4, 8, 4, 3, 1, **options))
    maps = jnp.asarray(np.random.default_rng(0).normal(size=(64, 3, 3, 4)), jnp.float32)
    apply = jax.jit(network.apply, static_argnames="train", compiler_options=QUICK)
    branch = apply(network.params, network.state, maps)[0]["logits"] - maps

    def rows_with_branch(seed):
        outputs, _ = apply(
            network.params, network.state, maps, train=True, key=jax.random.key(seed)
        )
        changed = np.abs(outputs["logits"] - maps).max((1, 2, 3)) > 0
        doubled = maps + 2.0 * changed[:, None, None, None] * branch
        np.testing.assert_allclose(outputs["logits"], doubled, rtol=1e-4, atol=1e-5)
        return changed

    first, second = rows_with_branch(0), rows_with_branch(1)
    assert 16 < first.sum() < 48
    np.testing.assert_array_equal(rows_with_branch(0), first)
    assert np.any(first != second)
    with pytest.raises(ValueError, match="pass key="):
        network.apply(network.params, network.state, maps, train=True)


def test_the_last_window_of_squeezenets_pooling_may_reach_over_the_side():
    for side, wanted in ((7, [2, 4, 6]), (8, [2, 4, 6, 7])):
        row = jnp.arange(float(side))
        pooled = squeezenet._Pool()(jnp.broadcast_to(row[None, :, None, None], (1, side, side, 1)))
        np.testing.assert_array_equal(pooled[0, :, 0, 0], wanted)
