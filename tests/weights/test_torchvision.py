"""The networks beside those that their published weights were trained with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models, weights
from jaxkd.weights.namings.timm import RULES as TIMM
from jaxkd.weights.namings.torchvision import RULES as TORCHVISION

CLASSES = 10
# Name in torchvision or timm, ours, arguments, side; odd sides show where padding goes.
CASES = {
    **{f"resnet{depth}": (models.ImageNetResNet, (depth,), {}, 97) for depth in (18, 50)},
    "inception_v3": (models.InceptionV3, (), {"dropout_rate": 0.0}, 107),
    "mobilenetv1_100": (models.MobileNetV1, (), {}, 97),
    "mobilenet_v2": (models.MobileNetV2, (), {"dropout_rate": 0.0}, 98),
    "mobilenet_v3_small": (models.MobileNetV3, ("small",), {"dropout_rate": 0.0}, 98),
    "mobilenet_v3_large": (models.MobileNetV3, ("large",), {"dropout_rate": 0.0}, 97),
    "squeezenet1_0": (models.SqueezeNet, ("1.0",), {"dropout_rate": 0.0}, 96),
    "squeezenet1_1": (models.SqueezeNet, ("1.1",), {"dropout_rate": 0.0}, 97),
    "shufflenet_v2_x1_0": (models.ShuffleNetV2, (), {}, 98),
    "efficientnet_b0": (
        models.EfficientNet,
        (),
        {"dropout_rate": 0.0, "stochastic_depth_rate": 0.0},
        97,
    ),
}


def _published(name):
    """The published network with random weights and statistics, and without anything random."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    if name == "mobilenetv1_100":
        model = pytest.importorskip("timm").create_model(name, num_classes=CLASSES)
    else:
        torchvision = pytest.importorskip("torchvision")
        options = {"init_weights": False} if name == "inception_v3" else {}
        model = torchvision.models.get_model(name, num_classes=CLASSES, **options)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
            torch.nn.init.normal_(module.running_mean, 0, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
        elif "Dropout" in type(module).__name__ or "StochasticDepth" in type(module).__name__:
            module.p = 0.0
    return model


def _loaded(name, model, **more):
    kind, arguments, options, _ = CASES[name]
    rules = {**TORCHVISION, **TIMM}[kind.__name__]
    # Nothing is computed for initial values, as all are replaced.
    network = jaxkd.from_nnx(
        nnx.eval_shape(lambda: kind(*arguments, 3, CLASSES, **options, **more, rngs=nnx.Rngs(0)))
    )
    arrays = {key: value.numpy() for key, value in model.state_dict().items()}
    network, report = weights.load(network, arrays, rules)
    assert report.complete
    return network


def _difference(ours, theirs):
    """The largest, as a share of the largest logit."""
    theirs = theirs.detach().numpy()
    assert ours.shape == theirs.shape
    return np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max()


def _apply(network, images, *, train):
    """Our outputs, computed in the precision of the images."""
    params, state = jax.tree.map(
        lambda value: jnp.asarray(value, images.dtype), (network.params, network.state)
    )
    apply = jax.jit(network.apply, static_argnames="train")
    outputs, _ = apply(params, state, jnp.asarray(images), train=train)
    return outputs


@pytest.mark.parametrize("name", CASES)
def test_logits_are_those_of_the_published_network(name):
    torch = pytest.importorskip("torch")
    model = _published(name)
    if name == "inception_v3":  # its auxiliary classifier needs larger images, see below
        model.aux_logits, model.AuxLogits = False, None
        network = _loaded(name, model, auxiliary=False)
    else:
        network = _loaded(name, model)
    side = CASES[name][-1]
    images = np.random.default_rng(0).normal(size=(4, side, side, 3))
    channels_first = torch.from_numpy(images.transpose(0, 3, 1, 2))
    with torch.no_grad():
        theirs = model.eval()(channels_first.float())
    ours = _apply(network, images.astype(np.float32), train=False)
    assert _difference(ours["logits"], theirs) < 1e-4
    # Statistics of a few small maps, layer after layer, blow rounding up; so in float64.
    with torch.no_grad():
        theirs = model.double().train()(channels_first)
    with jax.enable_x64(True):
        ours = _apply(network, images, train=True)
    assert _difference(ours["logits"], theirs) < 1e-8


def test_the_auxiliary_classifier_is_that_of_the_published_network():
    torch = pytest.importorskip("torch")
    model = _published("inception_v3").train()
    network = _loaded("inception_v3", model)
    images = np.random.default_rng(0).normal(size=(2, 299, 299, 3))
    with torch.no_grad():
        theirs = model.double()(torch.from_numpy(images.transpose(0, 3, 1, 2)))
    with jax.enable_x64(True):
        ours = _apply(network, images, train=True)
    assert _difference(ours["logits"], theirs.logits) < 1e-8
    assert _difference(ours["aux_logits"], theirs.aux_logits) < 1e-8
