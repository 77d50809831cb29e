"""Networks and rules of weights against outputs that RepDistiller's own networks gave."""

import functools
import pathlib

import jax
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import weights
from jaxkd.weights.namings.repdistiller import RULES

GOLDEN = pathlib.Path(__file__).parents[1] / "golden_models"
FILES = {
    "resnet8": "resnet8",
    "resnet8x4": "resnet8x4",
    "wrn_16_1": "wrn_16_1",
    "mobilenet_v2_cifar": "MobileNetV2",
    "shufflenet_v1_cifar": "ShuffleV1",
    "shufflenet_v2_cifar": "ShuffleV2",
}


def outline(name):
    """The network without its arrays, which are about to be replaced."""
    return jaxkd.from_nnx(nnx.eval_shape(lambda: jaxkd.models.create(name, rngs=nnx.Rngs(0))))


def last_first(array):
    return array.transpose(0, 2, 3, 1) if array.ndim == 4 else array


@pytest.mark.parametrize("name", FILES)
def test_outputs_are_those_of_repdistiller(name):
    with np.load(GOLDEN / f"{FILES[name]}.npz") as file:
        golden = dict(file)
    arrays = {key[6:]: value for key, value in golden.items() if key.startswith("param/")}
    network = outline(name)
    network, report = weights.load(network, arrays, RULES[network.name])
    assert report.complete
    images = last_first(golden["input_NCHW"])

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def evaluate(params, state):
        trained, _ = network.apply(params, state, images, train=True)
        return network.apply(params, state, images)[0], trained["logits"]

    outputs, trained = evaluate(network.params, network.state)
    np.testing.assert_allclose(outputs["logits"], golden["logits_eval"], atol=1e-4, rtol=0)
    np.testing.assert_allclose(trained, golden["logits_train"], atol=1e-4, rtol=0)
    maps = sorted(key for key in golden if key.startswith("feature"))
    names = ["stem", *(f"stage{number}" for number in range(1, len(maps) - 1)), "embedding"]
    for ours, theirs in zip(names, maps, strict=True):
        if name.startswith("wrn"):  # RepDistiller's stages are the sums before all activation.
            ours = ours.replace("stage", "block")
        expected = last_first(golden[theirs])
        np.testing.assert_allclose(
            outputs[ours][: len(expected)], expected, atol=1e-4, rtol=0, err_msg=ours
        )


def vgg_arrays(counts, widths=(64, 128, 256, 512, 512)):
    """Names and shapes as in RepDistiller's VGG: convolution, normalization and ReLU alternate."""
    arrays, before = {}, 3
    for block, (count, width) in enumerate(zip(counts, widths, strict=True)):
        for layer in range(count):
            conv, norm = f"block{block}.{3 * layer}", f"block{block}.{3 * layer + 1}"
            arrays[f"{conv}.weight"] = np.zeros((width, before, 3, 3), np.float32)
            arrays[f"{conv}.bias"] = np.zeros(width, np.float32)
            for part in ("weight", "bias", "running_mean", "running_var"):
                arrays[f"{norm}.{part}"] = np.zeros(width, np.float32)
            before = width
    arrays["classifier.weight"] = np.zeros((100, before), np.float32)
    arrays["classifier.bias"] = np.zeros(100, np.float32)
    return arrays


@pytest.mark.parametrize(
    ("name", "counts"), [("vgg8", (1, 1, 1, 1, 1)), ("vgg19", (2, 2, 4, 4, 4))]
)
def test_rules_for_vgg_place_every_array(name, counts):
    _, report = weights.load(outline(name), vgg_arrays(counts), RULES["VGG"])
    assert report.complete
    assert report.matched["blocks.2.0.norm.var"] == "block2.1.running_var"
    assert report.matched["blocks.4.0.conv.kernel"] == "block4.0.weight"


def test_rules_for_bottlenecks_name_the_parts():
    arrays = {
        "conv1.weight": np.zeros((64, 3, 3, 3)),
        "layer1.0.shortcut.0.weight": np.zeros((256, 64, 1, 1)),
        "layer1.0.shortcut.1.running_mean": np.zeros(256),
        "layer4.2.conv3.weight": np.zeros((2048, 512, 1, 1)),
        "layer4.2.bn3.weight": np.zeros(2048),
        "linear.weight": np.zeros((100, 2048)),
    }
    network = outline("resnet50_cifar")
    _, report = weights.load(network, arrays, RULES[network.name], strict=False)
    assert report.matched == {
        "stem.kernel": "conv1.weight",
        "stages.0.0.shortcut.kernel": "layer1.0.shortcut.0.weight",
        "stages.0.0.shortcut_norm.mean": "layer1.0.shortcut.1.running_mean",
        "stages.3.2.conv3.kernel": "layer4.2.conv3.weight",
        "stages.3.2.norm3.scale": "layer4.2.bn3.weight",
        "head.kernel": "linear.weight",
    }
