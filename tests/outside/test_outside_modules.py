"""Modules in the shape of bonsai's and of Flax's examples: a few lines make a network of each."""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from outside_checks import check_cached_as_online, lines_of, moved_by_a_step

import jaxkd
from jaxkd import networks

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(4, 4, 4, 3)).astype(np.float32)
TOKENS = RNG.integers(1, 7, (4, 5)).astype(np.int32)
TEXTS = {"input_ids": TOKENS, "attention_mask": (TOKENS < 6).astype(np.int32)}
RNGS, KEY = nnx.Rngs(0), jax.random.key(0)


class ConvNeXt(nnx.Module):
    """Follows bonsai's ConvNeXt: `rngs`, a required keyword, is a key for stochastic depth."""

    def __init__(self):
        self.stem = nnx.Conv(3, 4, (2, 2), 2, rngs=RNGS)
        self.head = nnx.Linear(4, 3, rngs=RNGS)

    def __call__(self, x, *, rngs: jax.Array, train: bool = False):
        x = self.stem(x)
        if train:
            x = x * jax.random.bernoulli(rngs, 0.9, (len(x), 1, 1, 1)) / 0.9
        return self.head(x.mean((1, 2)))


class VisionTransformer(nnx.Module):
    """Follows bonsai's ViT: `rngs` is required; dropout has `deterministic=False`."""

    def __init__(self):
        self.projection = nnx.Conv(3, 4, (2, 2), 2, rngs=RNGS)
        self.token = nnx.Param(jnp.ones((1, 1, 4)))
        self.attention = nnx.MultiHeadAttention(2, 4, dropout_rate=0.1, decode=False, rngs=RNGS)
        self.dropout = nnx.Dropout(0.1, deterministic=False)
        self.classifier = nnx.Linear(4, 3, rngs=RNGS)

    def __call__(self, x, *, rngs: nnx.Rngs | None):
        x = self.projection(x).reshape(len(x), -1, 4)
        x = jnp.concatenate([jnp.tile(self.token[...], (len(x), 1, 1)), x], axis=1)
        x = x + self.attention(self.dropout(x, rngs=rngs), rngs=rngs)
        return self.classifier(x[:, 0])


class DINOv3(nnx.Module):
    """Follows bonsai's DINOv3: channels come first, and no output is called logits."""

    def __init__(self):
        self.embeddings = nnx.Conv(3, 4, (2, 2), 2, rngs=RNGS)

    def __call__(self, pixel_values):
        x = self.embeddings(pixel_values.transpose(0, 2, 3, 1)).reshape(len(pixel_values), -1, 4)
        return {"last_hidden_state": x, "pooler_output": x[:, 0]}


class Down(nnx.Module):
    def __init__(self):
        self.conv = nnx.Conv(3, 4, (3, 3), rngs=RNGS)

    def __call__(self, x):
        x = nnx.relu(self.conv(x))
        return nnx.max_pool(x, (2, 2), (2, 2)), x


class UNet(nnx.Module):
    """Follows bonsai's UNet: a block returns its output and its skip connection."""

    def __init__(self):
        self.down = Down()
        self.up = nnx.ConvTranspose(4, 4, (2, 2), (2, 2), rngs=RNGS)
        self.out = nnx.Conv(8, 3, (1, 1), rngs=RNGS)

    def __call__(self, x):
        x, skip = self.down(x)
        return self.out(jnp.concatenate([self.up(x), skip], axis=-1))


class Layer(nnx.Module):
    def __init__(self):
        self.linear = nnx.Linear(4, 4, rngs=RNGS)

    def __call__(self, x, cache):
        cache.values[...] = cache.values[...] + x.sum(1)
        return x + self.linear(cache.values[...])[:, None]


class LayerCache(nnx.Module):
    def __init__(self, batch_size):
        self.values = nnx.Cache(jnp.zeros((batch_size, 4)))


class Qwen3(nnx.Module):
    """Follows bonsai's Qwen3: segment ids, padding and caches that it fills are required."""

    def __init__(self):
        self.embedder = nnx.Embed(7, 4, rngs=RNGS)
        self.layers = nnx.List([Layer(), Layer()])
        self.lm_head = nnx.Linear(4, 7, rngs=RNGS)

    def init_cache(self, batch_size):
        return [LayerCache(batch_size) for _ in self.layers]

    def __call__(self, tokens, segment_ids, right_pads, cache):
        x = self.embedder(tokens) * segment_ids[..., None] + right_pads
        for layer, own in zip(self.layers, cache, strict=True):
            x = layer(x, own)
        return self.lm_head(x), cache


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(5, name="fc1")(x.reshape(len(x), -1)))
        return nn.Dense(2, name="fc2_mean")(x), nn.Dense(2, name="fc2_logvar")(x)


class VAE(nn.Module):
    """Follows the VAE among Flax's examples: its encoder, the teacher, returns a tuple."""

    def setup(self):
        self.encoder, self.decoder = Encoder(), nn.Dense(48)

    def __call__(self, x, z_rng):
        mean, logvar = self.encoder(x)
        noise = jax.random.normal(z_rng, mean.shape)
        return self.decoder(mean + noise * jnp.exp(logvar / 2)), mean, logvar


@dataclasses.dataclass(frozen=True)
class Config:
    vocab_size: int = 7
    deterministic: bool = False
    kernel_init: Any = nn.initializers.lecun_normal()


class LanguageModel(nn.Module):
    """Follows lm1b: the mode is a field of its configuration, and parameters are in boxes."""

    config: Config

    @nn.compact
    def __call__(self, inputs, inputs_positions=None, inputs_segmentation=None):
        split = nn.with_logical_partitioning(self.config.kernel_init, ("embed", "vocab"))
        x = nn.Embed(self.config.vocab_size, 4)(inputs)
        x = nn.Dropout(0.1)(x, deterministic=self.config.deterministic)
        return nn.Dense(self.config.vocab_size, kernel_init=split, name="logitdense")(x)


class Tagger(nn.Module):
    """Follows nlp_seq: inputs and mode are required keywords."""

    @nn.compact
    def __call__(self, *, inputs, train):
        x = nn.Dropout(0.3)(nn.Embed(7, 4)(inputs), deterministic=not train)
        return nn.Dense(3)(x)


class ModelOutput(dict):
    """A dictionary whose entries are attributes, too, as those of transformers are."""

    __getattr__ = dict.__getitem__


class Bert(nn.Module):
    """Follows modules of transformers: several inputs, and a dictionary with empty entries."""

    @nn.compact
    def __call__(self, input_ids, attention_mask, token_type_ids=None, deterministic=True):
        x = nn.Embed(7, 4)(input_ids) * attention_mask[..., None]
        x = nn.Dropout(0.1)(x, deterministic=deterministic)
        return ModelOutput(logits=nn.Dense(3)(x.mean(1)), hidden_states=None, attentions=None)


class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
        return nn.relu(nn.Dense(4)(x)), None


class Scanned(nn.Module):
    """Follows MaxText: one block is scanned over the layers."""

    @nn.compact
    def __call__(self, x):
        axes = {"params": 0, "intermediates": 0}
        blocks = nn.scan(Block, axes, split_rngs={"params": True}, length=2)
        x, _ = blocks(name="blocks")(nn.Dense(4)(x.mean((1, 2))), None)
        return nn.Dense(3, name="head")(x)


class Synchronized(nn.Module):
    """Follows EfficientNet on many chips: statistics are reduced over a named axis."""

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.BatchNorm(use_running_average=not train, axis_name="batch")(nn.Conv(4, (3, 3))(x))
        return nn.Dense(3, name="head")(x.mean((1, 2)))


def variables_of(module, *inputs, **keywords):
    """Stands in for `module.init`: NumPy makes the values, so that nothing is compiled."""
    keys = {"params": KEY, "dropout": KEY, "batch": KEY}
    init = functools.partial(module.init, **keywords)
    return jax.tree.map(
        lambda leaf: RNG.uniform(0.1, 0.5, leaf.shape).astype(leaf.dtype),
        jax.eval_shape(init, keys, *inputs),
    )


def convnext():
    return jaxkd.from_nnx(
        ConvNeXt(), call=lambda module, x, train, key: module(x, rngs=key, train=train)
    )


def vision_transformer():
    return jaxkd.from_nnx(VisionTransformer())


def dinov3():
    network = jaxkd.from_nnx(DINOv3(), outputs={"embedding": "pooler_output"})
    return networks.with_inputs(network, lambda images: images.transpose(0, 3, 1, 2))


def unet():
    return jaxkd.from_nnx(UNet(), features={"skip": "down:1"})


def qwen3():
    def call(module, tokens):
        return module(tokens, jnp.ones_like(tokens), 0, module.init_cache(len(tokens)))[0]

    return jaxkd.from_nnx(Qwen3(), call=call)


def vae():
    variables = variables_of(VAE(), IMAGES, KEY)
    places = {"mean": "0", "log_variance": "1"}
    return jaxkd.from_linen(
        VAE(), variables, call=lambda module, x: module.encoder(x), outputs=places
    )


def lm1b():
    module = LanguageModel(Config())
    mode = {"self.config": (Config(), Config(deterministic=True))}
    return jaxkd.from_linen(module, variables_of(module, TOKENS), train_mode=mode)


def nlp_seq():
    variables = variables_of(Tagger(), inputs=TOKENS, train=False)
    return jaxkd.from_linen(
        Tagger(), variables, call=lambda module, x, train: module(inputs=x, train=train)
    )


def bert():
    def call(module, batch, train):
        return module(**batch, deterministic=not train)

    return jaxkd.from_linen(Bert(), variables_of(Bert(), **TEXTS), call=call)


def scanned():
    variables = variables_of(Scanned(), IMAGES)
    return jaxkd.from_linen(Scanned(), variables, features={"layers": "blocks:stacked.0"})


def synchronized():
    variables = variables_of(Synchronized(), IMAGES)
    return jaxkd.from_linen(Synchronized(), variables, axis_name="batch")


def frozen_backbone():
    return jaxkd.from_nnx(UNet(), trainable="out")


LOGITS = {"logits": (4, 3)}
CASES = {
    convnext: (IMAGES, LOGITS),
    vision_transformer: (IMAGES, LOGITS),
    dinov3: (IMAGES, {"embedding": (4, 4)}),
    unet: (IMAGES, {"logits": (4, 4, 4, 3), "skip": (4, 4, 4, 4)}),
    qwen3: (TOKENS, {"logits": (4, 5, 7)}),
    vae: (IMAGES, {"mean": (4, 2), "log_variance": (4, 2)}),
    lm1b: (TOKENS, {"logits": (4, 5, 7)}),
    nlp_seq: (TOKENS, {"logits": (4, 5, 3)}),
    bert: (TEXTS, LOGITS),
    scanned: (IMAGES, {**LOGITS, "layers": (4, 2, 4)}),
    synchronized: (IMAGES, LOGITS),
    frozen_backbone: (IMAGES, {"logits": (4, 4, 4, 3)}),
}
# What one step leaves as it is: the decoder and one of two heads, which the loss does not reach.
STILL = {"vae": {"encoder.fc2_logvar.bias", "encoder.fc2_logvar.kernel", "decoder.bias"}}
STATISTICS = {"synchronized": {"batch_stats.BatchNorm_0.mean", "batch_stats.BatchNorm_0.var"}}
named = pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)


@named
def test_five_lines_make_a_network(make):
    inputs, shapes = CASES[make]
    assert {n: v.shape for n, v in jax.eval_shape(make(), inputs).items()} == shapes
    assert lines_of(make) <= 5


def test_streams_in_place_of_a_key_are_explained():
    network = jaxkd.from_nnx(ConvNeXt())
    with pytest.raises(TypeError, match=r"call=lambda module, inputs, train, key: .*rngs=key"):
        network.apply(network.params, network.state, IMAGES, train=True, key=KEY)


@pytest.mark.slow
@named
def test_cached_outputs_are_the_online_ones_and_a_step_moves_what_it_should(make, tmp_path):
    network, (inputs, shapes) = make(), CASES[make]
    check_cached_as_online(network, inputs, tmp_path / "cache")
    moved, still, statistics = moved_by_a_step(network, inputs, next(iter(shapes)))
    assert moved and {path for path in still if not path.startswith("decoder")} == {
        path for path in STILL.get(make.__name__, ()) if not path.startswith("decoder")
    }
    assert statistics == STATISTICS.get(make.__name__, set())
