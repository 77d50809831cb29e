"""Vision transformers beside those that their published weights were trained with."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import weights
from jaxkd.models import VisionTransformer

IMAGES = np.random.default_rng(0).normal(size=(2, 48, 48, 3)).astype(np.float32)
SIZES = {"embed_dim": 48, "depth": 4, "num_heads": 3, "num_classes": 10}


def random(model):
    """Initializes every parameter at random, so that no array is constant or zero."""
    import torch

    torch.manual_seed(0)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, 1.0 if parameter.ndim == 1 else 0.0, 0.1)
    return model.eval()


def ours(**options):
    return jaxkd.from_nnx(
        VisionTransformer(16, 48, 4, 3, 3, 10, image_size=48, **options, rngs=nnx.Rngs(0))
    )


def assert_alike(network, reference, names=("logits",)):
    import torch

    outputs = jax.jit(network)(jnp.asarray(IMAGES))
    theirs = reference(torch.from_numpy(IMAGES.transpose(0, 3, 1, 2)))
    theirs = theirs if isinstance(theirs, tuple) else (theirs,)
    for name, logits in zip(names, theirs, strict=True):
        logits = logits.detach().numpy()
        np.testing.assert_allclose(outputs[name], logits, rtol=0, atol=1e-4 * np.abs(logits).max())


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "deit_tiny_distilled_patch16_224"])
def test_timms_transformers(name):
    timm = pytest.importorskip("timm")
    model = random(timm.create_model(name, img_size=48, **SIZES))
    network = ours(distillation_token="distilled" in name)
    network, report = weights.load(network, model.state_dict(), "timm")
    assert report.complete
    assert_alike(network, model)
    if "distilled" in name:
        model.set_distilled_training(True)
        model.train()
        assert_alike(network, model, ("class_logits", "distillation_logits"))


def test_torchvisions_transformer():
    pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    model = random(
        torchvision.models.VisionTransformer(
            48, 16, 4, 3, 48, 192, num_classes=SIZES["num_classes"]
        )
    )
    network, report = weights.load(ours(), model.state_dict(), "torchvision")
    assert report.complete
    assert_alike(network, model)
