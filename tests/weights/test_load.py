import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models, weights
from jaxkd.models.vision_transformer import _Attention as Attention
from jaxkd.networks import extend
from jaxkd.weights.namings.repdistiller import RULES

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class ConvNorm(nnx.Module):
    def __init__(self, rngs):
        self.conv = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.head = nnx.Linear(4, 3, rngs=rngs)

    def __call__(self, inputs):
        return self.head(self.norm(self.conv(inputs)).mean(axis=(1, 2)))


class LinenConvNorm(nn.Module):
    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.Conv(4, (3, 3), name="conv")(inputs)
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dense(3, name="head")(x.mean(axis=(1, 2)))


def state_dict():
    return {
        "backbone.conv.weight": normal(4, 2, 3, 3),
        "backbone.conv.bias": normal(4),
        "backbone.bn.weight": normal(4),
        "backbone.bn.bias": normal(4),
        "backbone.bn.running_mean": normal(4),
        "backbone.bn.running_var": 1 + normal(4) ** 2,
        "backbone.bn.num_batches_tracked": np.array(7),
        "fc.weight": normal(3, 4),
        "fc.bias": normal(3),
    }


RENAMED = [(r"^backbone\.", ""), (r"^bn$", "norm"), (r"^fc$", "head")]
IMAGES = jnp.asarray(normal(2, 8, 8, 2))


def linen():
    module = LinenConvNorm()
    return jaxkd.from_linen(module, module.init(jax.random.key(0), IMAGES))


def conv(images, kernel, bias):
    """3×3, padded by one: channels first as in PyTorch, and in NumPy."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, kernel) + bias[:, None, None]


@pytest.mark.parametrize("make", [lambda: jaxkd.from_nnx(ConvNorm(nnx.Rngs(0))), linen])
def test_a_state_dict_gives_what_it_gives_channels_first(make):
    arrays = state_dict()
    network, report = weights.load(make(), arrays, RENAMED)
    assert report.complete and len(report.matched) == 8
    assert report.matched["norm.mean"] == "backbone.bn.running_mean"
    maps = conv(
        np.asarray(IMAGES).transpose(0, 3, 1, 2),
        arrays["backbone.conv.weight"],
        arrays["backbone.conv.bias"],
    )
    mean, var, scale, bias = (
        arrays[f"backbone.bn.{name}"][:, None, None]
        for name in ("running_mean", "running_var", "weight", "bias")
    )
    maps = (maps - mean) / np.sqrt(var + 1e-5) * scale + bias
    logits = maps.mean(axis=(2, 3)) @ arrays["fc.weight"].T + arrays["fc.bias"]
    np.testing.assert_allclose(network(IMAGES)["logits"], logits, rtol=1e-4, atol=1e-4)


def flattening_weights():
    return {
        "conv.weight": normal(4, 3, 3, 3),
        "conv.bias": normal(4),
        "fc1.weight": normal(6, 4 * 4 * 3),
        "fc1.bias": normal(6),
        "fc2.weight": normal(5, 6),
        "fc2.bias": normal(5),
    }


FLATTENING = [("^conv$", "convs.0"), ("^fc1$", "hidden"), ("^fc2$", "head")]


def flattening(arrays, flatten):
    """Images of 8×6 pixels, so that neither axis is mistaken for another."""
    network = jaxkd.from_nnx(models.CNN((8, 6, 3), (4,), 6, 5, rngs=nnx.Rngs(0)))
    return weights.load(network, arrays, FLATTENING, flatten=flatten)[0]


def test_a_flattened_map_is_flattened_channels_first():
    arrays, images = flattening_weights(), normal(2, 3, 8, 6)
    maps = np.maximum(conv(images, arrays["conv.weight"], arrays["conv.bias"]), 0)
    pooled = maps.reshape(2, 4, 4, 2, 3, 2).max(axis=(3, 5))
    hidden = pooled.reshape(2, -1) @ arrays["fc1.weight"].T + arrays["fc1.bias"]
    logits = np.maximum(hidden, 0) @ arrays["fc2.weight"].T + arrays["fc2.bias"]
    inputs = images.transpose(0, 2, 3, 1)
    network = flattening(arrays, {"hidden": (4, 4, 3)})
    np.testing.assert_allclose(network(inputs)["logits"], logits, rtol=1e-4, atol=1e-3)
    wrong = flattening(arrays, None)(inputs)["logits"]
    assert np.abs(wrong - logits).max() > 1


def test_a_flattened_map_as_pytorch_has_it():
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential()
    for name, module in {
        "conv": torch.nn.Conv2d(3, 4, 3, padding=1),
        "relu1": torch.nn.ReLU(),
        "pool": torch.nn.MaxPool2d(2),
        "flatten": torch.nn.Flatten(),
        "fc1": torch.nn.Linear(48, 6),
        "relu2": torch.nn.ReLU(),
        "fc2": torch.nn.Linear(6, 5),
    }.items():
        model.add_module(name, module)
    images = normal(2, 3, 8, 6)
    network = flattening(model.state_dict(), {"hidden": (4, 4, 3)})
    ours = network(images.transpose(0, 2, 3, 1))["logits"]
    np.testing.assert_allclose(ours, model(torch.from_numpy(images)).detach(), atol=1e-5)


def test_what_cannot_be_flattened_so_is_named():
    with pytest.raises(ValueError, match="48 columns, a map of \\(4, 5, 3\\) has 60 numbers"):
        flattening(flattening_weights(), {"hidden": (4, 5, 3)})
    with pytest.raises(ValueError, match="flatten names 'fc1', where CNN has no dense layer"):
        flattening(flattening_weights(), {"fc1": (4, 4, 3)})


def test_one_by_one_convolutions_are_dense_layers():
    network = jaxkd.from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    arrays = {"weight": normal(3, 2, 1, 1), "bias": normal(3)}
    network, _ = weights.load(network, arrays)
    np.testing.assert_array_equal(network.params["kernel"], arrays["weight"][:, :, 0, 0].T)
    network = jaxkd.from_nnx(nnx.Conv(2, 3, (1, 1), rngs=nnx.Rngs(0)))
    network, _ = weights.load(network, {"weight": normal(3, 2), "bias": normal(3)})
    assert network.params["kernel"].shape == (1, 1, 2, 3)


def test_square_embeddings_are_not_turned_and_square_kernels_are():
    class Both(nnx.Module):
        def __init__(self, rngs):
            self.table = nnx.Embed(3, 3, rngs=rngs)
            self.dense = nnx.Linear(3, 3, use_bias=False, rngs=rngs)

        def __call__(self, inputs):
            return self.dense(self.table(inputs))

    arrays = {"table.weight": normal(3, 3), "dense.weight": normal(3, 3)}
    network, _ = weights.load(jaxkd.from_nnx(Both(nnx.Rngs(0))), arrays)
    np.testing.assert_array_equal(network.params["table.embedding"], arrays["table.weight"])
    np.testing.assert_array_equal(network.params["dense.kernel"], arrays["dense.weight"].T)


def test_values_get_the_types_of_their_places():
    network = jaxkd.from_nnx(nnx.Linear(2, 3, param_dtype=jnp.bfloat16, rngs=nnx.Rngs(0)))
    loaded, _ = weights.load(network, {"kernel": np.full((2, 3), 1.5), "bias": np.zeros(3, int)})
    assert {value.dtype for value in loaded.params.values()} == {jnp.dtype(jnp.bfloat16)}
    np.testing.assert_array_equal(loaded.params["kernel"].astype(float), 1.5)


def test_everything_that_does_not_fit_is_listed():
    arrays = state_dict()
    arrays["fc.weight"] = normal(5, 4)
    arrays["aux.weight"] = arrays.pop("backbone.conv.bias")
    network = jaxkd.from_nnx(ConvNorm(nnx.Rngs(0)))
    with pytest.raises(ValueError) as error:
        weights.load(network, arrays, RENAMED)
    message = str(error.value)
    assert "do not fit ConvNorm:\n6 arrays matched\n" in message
    assert "head.kernel: (4, 3) wanted, fc.weight is (5, 4), (4, 5) with its axes" in message
    assert "missing in the source: conv.bias\n" in message
    assert "no variable in the network: aux.weight\n" in message
    loaded, report = weights.load(network, arrays, RENAMED, strict=False)
    assert not report.complete and len(report.matched) == 6
    assert (report.unused, report.missing) == (("aux.weight",), ("conv.bias",))
    for name in ("conv.bias", "head.kernel"):
        np.testing.assert_array_equal(loaded.params[name], network.params[name])
    np.testing.assert_array_equal(loaded.params["head.bias"], arrays["fc.bias"])


def test_long_lists_are_cut_with_a_count():
    network = jaxkd.from_nnx(nnx.Linear(2, 3, use_bias=False, rngs=nnx.Rngs(0)))
    arrays = {f"other{number:02}.weight": normal(1) for number in range(13)}
    _, report = weights.load(network, arrays, strict=False)
    lines = str(report).splitlines()
    assert lines[:2] == ["0 arrays matched", "missing in the source: kernel"]
    assert lines[-2:] == [
        "no variable in the network: other09.weight",
        "no variable in the network: and 3 more",
    ]


def test_two_names_for_one_place_are_an_error():
    network = jaxkd.from_nnx(nnx.Linear(2, 3, rngs=nnx.Rngs(0)))
    arrays = {"a.weight": normal(3, 2), "b.weight": normal(3, 2)}
    with pytest.raises(ValueError, match="'a.weight' and 'b.weight' both belong to 'kernel'"):
        weights.load(network, arrays, [("^[ab]$", "")], strict=False)


def test_namings_are_found_by_the_class_of_the_network():
    model = nnx.eval_shape(lambda: models.ResNet(8, 1, 10, rngs=nnx.Rngs(0)))
    network = jaxkd.from_nnx(model)
    arrays = {"conv1.weight": normal(16, 1, 3, 3)}
    by_name, by_rules = (
        weights.load(network, arrays, naming, strict=False)
        for naming in ("repdistiller", RULES["ResNet"])
    )
    assert by_name[1] == by_rules[1]
    assert by_name[1].matched == {"stem.kernel": "conv1.weight"}
    with pytest.raises(ValueError, match=r"one of \['bert', .*'torchvision'\].*'tf'"):
        weights.load(network, arrays, "tf")
    with pytest.raises(ValueError, match="that timm has for ResNet .*'VisionTransformer'"):
        weights.load(network, arrays, "timm")


@pytest.mark.parametrize("naming", ["repdistiller", "timm", "torchvision"])
def test_namings_are_of_networks_that_there_are(naming):
    module = __import__(f"jaxkd.weights.namings.{naming}", fromlist=["RULES"])
    assert module.RULES and all(hasattr(models, name) for name in module.RULES)


def test_linen_variables_give_the_same_answers_in_nnx():
    module = LinenConvNorm()
    variables = module.init(jax.random.key(1), IMAGES)
    _, updates = module.apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    variables = {**variables, **updates}
    network = jaxkd.from_nnx(ConvNorm(nnx.Rngs(0)))
    loaded, report = weights.from_linen_variables(network, variables)
    assert report.complete and report.matched["norm.var"] == "norm.var"
    np.testing.assert_allclose(
        loaded(IMAGES)["logits"], module.apply(variables, IMAGES), rtol=1e-5, atol=1e-6
    )
    with pytest.raises(ValueError, match=r"need 'params'; these have \['batch_stats'\]"):
        weights.from_linen_variables(network, updates)


def test_attention_of_three_layers_is_joined():
    class Block(nnx.Module):
        def __init__(self, rngs):
            self.attention = Attention(8, 2, dropout_rate=0.0, rngs=rngs)

        def __call__(self, tokens):
            return self.attention(tokens)

    module, tokens = nn.MultiHeadDotProductAttention(2), normal(2, 5, 8)
    variables = jax.tree.map(
        lambda x: normal(*x.shape), module.init(jax.random.key(0), tokens)["params"]
    )
    network = jaxkd.from_nnx(Block(nnx.Rngs(0)))
    rules = [("^(query|key|value|qkv|out)$", r"attention.\1")]
    loaded, report = weights.from_linen_variables(network, {"params": variables}, rules)
    assert report.complete and len(report.matched) == 4
    assert report.matched["attention.qkv.bias"] == "query.bias, key.bias, value.bias"
    expected = module.apply({"params": variables}, tokens)
    np.testing.assert_allclose(loaded(tokens)["logits"], expected, rtol=1e-4, atol=1e-4)


def test_pytorchs_attention_is_one_array_already():
    network = jaxkd.from_nnx(nnx.Linear(8, 24, rngs=nnx.Rngs(0)))
    arrays = {"block.attn.in_proj_weight": normal(24, 8), "block.attn.in_proj_bias": normal(24)}
    network, _ = weights.load(network, arrays, [(r"^block\.attn\.in_proj$", "")])
    np.testing.assert_array_equal(network.params["kernel"], arrays["block.attn.in_proj_weight"].T)


def test_states_of_nnx_and_of_extended_networks():
    model = nnx.Sequential(
        nnx.Linear(2, 3, rngs=nnx.Rngs(1)),
        nnx.BatchNorm(3, rngs=nnx.Rngs(0)),
        nnx.Dropout(0.5, rngs=nnx.Rngs(0)),
    )
    fresh = nnx.Sequential(
        nnx.Linear(2, 3, rngs=nnx.Rngs(2)),
        nnx.BatchNorm(3, rngs=nnx.Rngs(0)),
        nnx.Dropout(0.5, rngs=nnx.Rngs(0)),
    )
    network = jaxkd.from_nnx(fresh)
    for state in (nnx.state(model), nnx.to_pure_dict(nnx.state(model))):
        loaded, report = weights.load(network, state)
        assert report.complete
        np.testing.assert_array_equal(loaded.params["layers.0.kernel"], model.layers[0].kernel[...])
    longer = extend(network, nnx.BatchNorm(3, rngs=nnx.Rngs(0)), "logits")
    arrays = {
        "network.layers.1.mean": normal(3),
        "extension.var": normal(3) ** 2,
        "extension.scale": normal(3),
    }
    loaded, report = weights.load(longer, arrays, strict=False)
    assert set(report.matched) == set(arrays)
    np.testing.assert_array_equal(
        loaded.state["network"]["layers.1.mean"], arrays["network.layers.1.mean"]
    )


def test_variables_of_one_name_are_refused():
    network = jaxkd.from_linen(LinenConvNorm(), LinenConvNorm().init(jax.random.key(0), IMAGES))
    double = dataclasses.replace(network, state={"a": {"b": IMAGES}, "c": {"b": IMAGES}})
    with pytest.raises(ValueError, match="two variables of LinenConvNorm are called 'b'"):
        weights.load(double, {})
    with pytest.raises(ValueError, match="two of the source's arrays are called 'b'"):
        weights.load(network, {"params": {"b": IMAGES}, "other": {"b": IMAGES}})


def test_a_module_in_place_of_a_network_is_told_how_to_become_one(tmp_path):
    module, file = nnx.Linear(2, 3, rngs=nnx.Rngs(0)), tmp_path / "linear.npz"
    line = r"write jaxkd\.from_nnx\(module\)"
    for call in (
        lambda: weights.load(module, file),
        lambda: weights.save(module, file),
        lambda: jaxkd.export.export(tmp_path / "files", module, np.ones((2, 2), np.float32)),
        lambda: jaxkd.networks.edit_module(module, lambda same: same),
    ):
        with pytest.raises(TypeError, match=line):
            call()
    network = jaxkd.from_nnx(module)
    weights.save(network, file)
    with pytest.raises(TypeError, match=r"write network, report = jaxkd\.weights\.load"):
        weights.save(weights.load(network, file), tmp_path / "again.npz")
