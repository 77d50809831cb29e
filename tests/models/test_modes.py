"""Every network is found to be in the right mode from its trace alone: nothing is compiled."""

import jax
import jax.numpy as jnp
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import models
from jaxkd.networks._trial import Trial

FIRST = ["resnet8", "squeezenet1_1", "vit_tiny_patch16"]
IMAGES = [name for name in models.names() if name not in ("mlp", "cnn")]
TEXTS = {
    "decoder": lambda rngs: models.Decoder(20, 8, 2, 2, rngs=rngs),
    "encoder": lambda rngs: models.Encoder(
        20, 8, 2, 2, num_classes=3, max_length=16, dropout_rate=0.1, rngs=rngs
    ),
}


def check(make, shape, dtype, monkeypatch):
    monkeypatch.setattr(Trial, "_try_evaluation", lambda self: pytest.fail("compiled"))
    network = jaxkd.from_nnx(nnx.eval_shape(lambda: make(nnx.Rngs(0))))
    inputs = jax.ShapeDtypeStruct(shape, dtype)
    trial = Trial(network, "student", lambda inputs: inputs, (inputs,))
    trial.check_evaluation()
    trial.check_training()


@few("name", [*FIRST, *(name for name in IMAGES if name not in FIRST)], keep=len(FIRST))
def test_networks_of_images(name, monkeypatch):
    size = 224 if "patch16" in name else 299 if "inception" in name else 64
    make = lambda rngs: models.create(name, num_classes=10, rngs=rngs)  # noqa: E731
    check(make, (4, size, size, 3), jnp.float32, monkeypatch)


@pytest.mark.parametrize("name", TEXTS)
def test_networks_of_texts(name, monkeypatch):
    check(TEXTS[name], (4, 7), jnp.int32, monkeypatch)
