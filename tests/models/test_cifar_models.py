import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd.compression import count_parameters
from jaxkd.models import mobilenet_v2_cifar as mobilenet
from jaxkd.models import resnet as resnet
from jaxkd.models import shufflenet_v1 as shufflenet
from jaxkd.models import vgg as vgg
from jaxkd.models import wide_resnet as wide_resnet
from jaxkd.models._layers import batch_norm, group_norm

FAMILIES = (resnet, wide_resnet, vgg, mobilenet, shufflenet)
# Channels and side of the stem and the stages of 32×32 images, and the width of the embedding.
SHAPES = {
    **dict.fromkeys(
        ("resnet8", "resnet20", "resnet110", "wrn_16_1", "wrn_40_1"),
        ([(16, 32), (16, 32), (32, 16), (64, 8)], 64),
    ),
    **dict.fromkeys(("resnet8x4", "resnet32x4"), ([(32, 32), (64, 32), (128, 16), (256, 8)], 256)),
    **dict.fromkeys(("wrn_16_2", "wrn_40_2"), ([(16, 32), (32, 32), (64, 16), (128, 8)], 128)),
    **dict.fromkeys(
        ("vgg8", "vgg11", "vgg13", "vgg16", "vgg19"),
        ([(64, 32), (128, 16), (256, 8), (512, 4), (512, 4)], 512),
    ),
    "resnet50_cifar": ([(64, 32), (256, 32), (512, 16), (1024, 8), (2048, 4)], 2048),
    "mobilenet_v2_cifar": ([(16, 16), (12, 16), (16, 8), (48, 4), (160, 2)], 1280),
    "shufflenet_v1_cifar": ([(24, 32), (240, 16), (480, 8), (960, 4)], 960),
    "shufflenet_v2_cifar": ([(24, 32), (116, 16), (232, 8), (464, 4)], 1024),
}
REST = [
    entry.name
    for family in FAMILIES
    for entry in family.ENTRIES
    if entry.name not in SHAPES and entry.parameters is not None
]
SMALL = {
    "resnet": lambda norm, r: jaxkd.models.ResNet(8, 1, 5, widths=(4, 8, 8), norm=norm, rngs=r),
    "bottleneck": lambda norm, r: jaxkd.models.BottleneckResNet(
        (1, 1), 1, 5, widths=(2, 4), norm=norm, rngs=r
    ),
    "wide": lambda norm, r: jaxkd.models.WideResNet(10, 1, 1, 5, norm=norm, rngs=r),
    "vgg": lambda norm, r: jaxkd.models.VGG(8, 1, 5, widths=(4, 4, 8, 8, 8), norm=norm, rngs=r),
    "shufflenet_v1": lambda norm, r: jaxkd.models.CifarShuffleNetV1(
        1, 5, widths=(48, 96, 120), counts=(1, 2, 1), norm=norm, rngs=r
    ),
    "shufflenet_v2": lambda norm, r: jaxkd.models.CifarShuffleNetV2(
        1, 5, widths=(4, 8, 12), counts=(2, 2, 2), last_width=16, norm=norm, rngs=r
    ),
    "mobilenet_v2": lambda norm, r: jaxkd.models.CifarMobileNetV2(0.125, 1, 5, norm=norm, rngs=r),
}
# Of XLA: nothing here is worth the time that it takes to optimize.
QUICK = {"xla_backend_optimization_level": 0}
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)


def outline(name, size=32, **options):
    """The network without its arrays, and the shapes of what it gives."""
    model = nnx.eval_shape(lambda: jaxkd.models.create(name, rngs=nnx.Rngs(0), **options))
    network = jaxkd.from_nnx(model)
    images = jax.ShapeDtypeStruct((2, size, size, options.get("in_channels", 3)), jnp.float32)
    outputs, _ = jax.eval_shape(network.apply, network.params, network.state, images)
    return network, outputs


# One of each family, and of each kind of block; what differs in depth and width alone comes later.
FIRST = [
    "resnet20",
    "resnet8x4",
    "wrn_16_2",
    "vgg8",
    *(name for name in SHAPES if "_cifar" in name),
]


@few("name", [*FIRST, *(name for name in SHAPES if name not in FIRST)], keep=len(FIRST))
def test_parameters_and_stages_are_the_published_ones(name):
    network, outputs = outline(name, dtype=jnp.bfloat16)
    assert count_parameters(network.params) == jaxkd.models.entry(name).parameters
    maps, width = SHAPES[name]
    for number, (channels, side) in enumerate(maps):
        for feature in (f"stage{number}", f"preact{number}") if number else ("stem",):
            assert outputs[feature].shape == (2, side, side, channels)
    assert f"stage{len(maps)}" not in outputs
    assert outputs["embedding"].shape == (2, width)
    assert network.params["head.kernel"].shape == (width, 100)
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {value.dtype for value in network.params.values()} == {jnp.dtype(jnp.float32)}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", REST)
def test_parameters_of_the_other_depths(name):
    model = nnx.eval_shape(lambda: jaxkd.models.create(name, rngs=nnx.Rngs(0)))
    assert count_parameters(nnx.state(model, nnx.Param)) == jaxkd.models.entry(name).parameters


def test_classes_channels_and_sizes_are_free():
    network, outputs = outline("vgg8", size=64, num_classes=7, in_channels=1, norm="group")
    assert outputs["logits"].shape == (2, 7)
    assert outputs["stage4"].shape == (2, 4, 4, 512)  # with the fourth pooling
    assert not network.state
    _, outputs = outline("resnet8x4", size=29, num_classes=7)
    assert outputs["stage3"].shape == (2, 8, 8, 256)


def filled(model):
    """A network with random numbers; compiling the initial weights would take most of the time."""
    network = jaxkd.from_nnx(nnx.eval_shape(model))
    random = np.random.default_rng(0)

    def value(path, array):
        last = path.rpartition(".")[2]
        if last in ("scale", "var"):
            return jnp.asarray(random.uniform(0.5, 1.5, array.shape), array.dtype)
        fan = np.prod(array.shape[:-1]) if last == "kernel" else 100.0
        return jnp.asarray(random.normal(size=array.shape) * np.sqrt(2 / fan), array.dtype)

    params, state = (
        {path: value(path, array) for path, array in part.items()}
        for part in (network.params, network.state)
    )
    return network.replace(params=params, state=state)


@few("name", SMALL)
def test_learns_with_group_norm_in_bfloat16(name):
    def make():
        model = SMALL[name](group_norm, nnx.Rngs(0))
        model.set_attributes(dtype=jnp.dtype(jnp.bfloat16), raise_if_not_found=False)
        return model

    network = filled(make)
    images = jnp.asarray(np.random.default_rng(1).normal(size=(3, 32, 32, 1)), jnp.float32)

    @functools.partial(jax.jit, compiler_options=QUICK)
    def gradients(params):
        def loss(params):
            outputs, _ = network.apply(params, network.state, images, train=True)
            logits = outputs["logits"].astype(jnp.float32)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(3), jnp.arange(3)])

        return jax.grad(loss)(params)

    found = gradients(network.params)
    assert all(np.isfinite(value).all() for value in found.values())
    assert all(np.abs(value).max() > 0 for path, value in found.items() if "kernel" in path)


@pytest.mark.parametrize("name", [name for name in SMALL if name != "mobilenet_v2"])
def test_stages_are_the_relu_of_their_preacts(name):
    network = filled(lambda: SMALL[name](batch_norm, nnx.Rngs(0)))
    apply = jax.jit(network.apply, compiler_options=QUICK)
    outputs, _ = apply(network.params, network.state, IMAGES)
    stages = sorted(key for key in outputs if key.startswith("stage"))
    assert len(stages) >= 2
    for stage in stages:
        preact = outputs[stage.replace("stage", "preact")]
        assert preact.min() < 0
        np.testing.assert_array_equal(outputs[stage], jnp.maximum(preact, 0))
    last = outputs.get("last", outputs[stages[-1]])
    np.testing.assert_allclose(outputs["embedding"], last.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_wide_preacts_are_the_normalized_blocks():
    network = filled(lambda: SMALL["wide"](batch_norm, nnx.Rngs(0)))
    outputs = network(IMAGES)
    for number, norm in ((1, "stages.1.0.norm1"), (2, "stages.2.0.norm1"), (3, "final_norm")):
        scale, bias = network.params[f"{norm}.scale"], network.params[f"{norm}.bias"]
        mean, var = network.state[f"{norm}.mean"], network.state[f"{norm}.var"]
        expected = (outputs[f"block{number}"] - mean) / np.sqrt(var + 1e-5) * scale + bias
        np.testing.assert_allclose(outputs[f"preact{number}"], expected, rtol=1e-4, atol=1e-5)


def test_wide_dropout_is_active_in_training_alone():
    def wide(rate):
        return jaxkd.models.WideResNet(10, 1, 1, 5, dropout_rate=rate, rngs=nnx.Rngs(0))

    network, plain = filled(lambda: wide(0.5)), filled(lambda: wide(0.0))
    np.testing.assert_array_equal(network(IMAGES)["logits"], plain(IMAGES)["logits"])

    def train(network, key):
        return network.apply(network.params, network.state, IMAGES, train=True, key=key)[0]

    first, again, other = (train(network, jax.random.key(s))["logits"] for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-3
    assert np.isfinite(train(plain, None)["logits"]).all()
    with pytest.raises(ValueError, match="pass key="):
        network.apply(network.params, network.state, IMAGES, train=True)


def test_channels_are_shuffled_as_dealt():
    shuffled = shufflenet.shuffle_channels(jnp.arange(6).reshape(1, 1, 1, 6), 3)
    np.testing.assert_array_equal(shuffled.ravel(), [0, 2, 4, 1, 3, 5])


@pytest.mark.parametrize("name", SMALL)
def test_images_of_other_channels_are_refused(name):
    def run():
        return SMALL[name](group_norm, nnx.Rngs(0))(jnp.ones((2, 8, 8, 3)))

    with pytest.raises(ValueError, match=r"takes images .*, 1\].*not \(2, 8, 8, 3\)"):
        jax.eval_shape(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: jaxkd.models.WideResNet(15, 1, 3, 5, rngs=r), "6n \\+ 4 .* not 15"),
        (lambda r: jaxkd.models.WideResNet(16, 0, 3, 5, rngs=r), "widen_factor .* not 0"),
        (lambda r: jaxkd.models.ResNet(8, 3, 5, widths=(4, 8), rngs=r), "three stages"),
        (lambda r: jaxkd.models.BottleneckResNet((1, 1), 3, 5, rngs=r), "2 stages .* not 4"),
        (lambda r: jaxkd.models.VGG(12, 3, 5, rngs=r), "one of \\[8, 11, .* not 12"),
        (lambda r: jaxkd.models.VGG(8, 3, 5, widths=(8, 8), rngs=r), "five blocks"),
        (lambda r: jaxkd.models.CifarMobileNetV2(0.01, 3, 5, rngs=r), "1/16, not 0.01"),
        (lambda r: jaxkd.models.CifarShuffleNetV1(3, 5, groups=5, rngs=r), "multiples of 20"),
        (lambda r: jaxkd.models.CifarShuffleNetV2(3, 5, widths=(3, 4, 6), rngs=r), "even"),
        (lambda r: jaxkd.models.CifarShuffleNetV2(3, 5, counts=(3, 7), rngs=r), "three stages"),
    ],
)
def test_impossible_networks_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make(nnx.Rngs(0))


def test_images_too_small_to_pool_are_refused():
    with pytest.raises(ValueError, match="VGG takes images .* at least 8, not \\(2, 4, 4, 1\\)"):
        jax.eval_shape(lambda: SMALL["vgg"](group_norm, nnx.Rngs(0))(jnp.ones((2, 4, 4, 1))))
