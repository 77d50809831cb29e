"""Models in the shape of other libraries' ones: how they are called, and what they return."""

import dataclasses
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import cache, recipes
from jaxkd.data import Dataset

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(4, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 4).astype(np.int32)
KEY = jax.random.key(0)


class Head(nnx.Module):
    def __init__(self, width=6):
        self.head = nnx.Linear(width, 3, rngs=nnx.Rngs(0))


class Pair(NamedTuple):
    logits: jax.Array
    features: jax.Array


class NamedPair(Head):
    def __call__(self, x):
        return Pair(self.head(x), x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Output:
    logits: jax.Array
    hidden: dict[str, Any]


class DataclassOutput(Head):
    def __call__(self, x):
        return Output(self.head(x), {"last": x})


class Pyramid(Head):
    def __call__(self, x):
        return [x, 2 * x, self.head(x)]


class KeywordOnly(Head):
    def __call__(self, *, image, mask=None):
        return self.head(image)


class RequiredRngs(Head):
    """Follows nlp_seq and lm1b: dropout whose keys are an argument."""

    def __init__(self):
        super().__init__()
        self.dropout = nnx.Dropout(0.5)

    def __call__(self, x, rngs):
        return self.head(self.dropout(x, rngs=rngs))


class Positions(Head):
    """Follows bonsai's decoders: positions and a cache are required; the cache is returned."""

    def __call__(self, x, positions, cache):
        return self.head(x) + 0 * positions[:, None], cache


class EncodeOnly(Head):
    """Follows the autoencoder among Flax's examples: the teacher is one of its methods."""

    def encode(self, x):
        return self.head(x), x

    def __call__(self, x, key):
        raise NotImplementedError


class LinenTuple(nn.Module):
    """Follows big_vision: `(logits, dictionary of everything)`."""

    @nn.compact
    def __call__(self, x, *, train=False):
        out = {"pre_logits": x}
        return nn.Dense(3)(x), out


class LinenStatistics(nn.Module):
    """Follows the ResNet among Flax's examples for ImageNet."""

    @nn.compact
    def __call__(self, x, train: bool = True):
        return nn.Dense(3)(nn.BatchNorm(use_running_average=not train)(x))


def linen(module, **options):
    return jaxkd.from_linen(module, module.init(KEY, ROWS[:1]), **options)


def equinox_like():
    """A model that is a function of one example, and a pytree of its parameters."""
    params = {"weight": jnp.asarray(RNG.normal(size=(3, 6)), jnp.float32)}
    return jaxkd.from_function(lambda p, x: jax.vmap(lambda row: p["weight"] @ row)(x), params)


def haiku_like():
    """`apply(params, state, rng, inputs) -> (outputs, state)`, as of haiku and of Keras."""
    params = {"linear": {"w": jnp.ones((6, 3))}}

    def apply(params, state, rng, x):
        return x @ params["linear"]["w"], {"count": state["count"] + 1}

    return jaxkd.from_function(
        lambda p, s, x: apply(p, s, None, x), params, state={"count": jnp.zeros(())}
    )


MODELS = {
    "equinox": equinox_like,
    "haiku and keras": haiku_like,
    "big_vision": lambda: linen(LinenTuple()),
    "resnet of flax": lambda: linen(LinenStatistics()),
    "named tuple": lambda: jaxkd.from_nnx(NamedPair()),
    "dataclass": lambda: jaxkd.from_nnx(DataclassOutput()),
    "pyramid": lambda: jaxkd.from_nnx(Pyramid(), outputs={"logits": "2", "stage1": "0"}),
    "keyword only": lambda: jaxkd.from_nnx(KeywordOnly(), call=lambda m, x: m(image=x)),
    "required rngs": lambda: jaxkd.from_nnx(RequiredRngs()),
    "positions and cache": lambda: jaxkd.from_nnx(
        Positions(), call=lambda m, x: m(x, jnp.arange(len(x)), None)[0]
    ),
    "one method": lambda: jaxkd.from_nnx(
        EncodeOnly(), call=lambda m, x: m.encode(x), outputs={"logits": "0"}
    ),
}
OUTPUTS = {
    "big_vision": {"logits", "pre_logits"},
    "named tuple": {"logits", "features"},
    "dataclass": {"logits", "hidden.last"},
    "pyramid": {"logits", "stage1"},
}


@pytest.mark.parametrize("name", MODELS)
def test_outputs_have_names(name):
    network = MODELS[name]()
    shapes = jax.eval_shape(network, ROWS)
    assert set(shapes) == OUTPUTS.get(name, {"logits"})
    assert shapes["logits"].shape == (4, 3)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_cached_outputs_are_the_online_ones_and_a_step_moves_the_parameters(name, tmp_path):
    network = MODELS[name]()
    data = Dataset.from_arrays(ROWS, LABELS, name="rows", split="train", num_classes=3)
    stored = cache.build(tmp_path / "cache", network, data, batch_size=4, progress=False)
    decoded = stored.read(np.arange(4), view=0).decode()["logits"]
    online = jax.jit(network)(ROWS)["logits"]
    np.testing.assert_allclose(decoded, online, rtol=1e-6, atol=1e-6)
    step = jaxkd.make_train_step(network, recipes.kd(alpha=0.5), optax.sgd(0.1))
    batch = {"inputs": ROWS, "labels": LABELS, "teacher": jnp.ones((4, 3)) * jnp.arange(3)}
    state, metrics = step(step.init(), batch)
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), state.params["student"], network.params)
    assert np.isfinite(metrics["loss"]) and any(jax.tree.leaves(moved))


class LowRank(nnx.Module):
    def __init__(self):
        self.head = nnx.LoRALinear(6, 3, lora_rank=2, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.head(x)


@pytest.mark.slow
def test_adapters_of_low_rank_are_trained_alone():
    network = jaxkd.from_nnx(LowRank(), trainable=nnx.LoRAParam)
    step = jaxkd.make_train_step(network, recipes.labels(), optax.sgd(0.1))
    state, _ = step(step.init(), {"inputs": ROWS, "labels": LABELS})
    assert all("lora" in path for path in state.params["student"])
    frozen = state.model_state["student"]
    for path, value in network.state.items():
        np.testing.assert_array_equal(frozen[path], value)


class TwoInputs(Head):
    def __call__(self, x):
        return {"color": self.head(x["image"]), "shape": self.head(x["mask"])}


def test_inputs_and_outputs_by_name():
    data = Dataset.from_arrays(
        {"image": ROWS, "mask": 1 - ROWS},
        {"color": LABELS, "shape": LABELS},
        name="two",
        split="train",
        num_classes={"color": 3, "shape": 3},
    )
    shapes = jax.eval_shape(jaxkd.from_nnx(TwoInputs()), data.read(data.ids, np.zeros(4, int)))
    assert {name: leaf.shape for name, leaf in shapes.items()} == {"color": (4, 3), "shape": (4, 3)}
