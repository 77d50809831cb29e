import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd import models, recipes, weights
from jaxkd.compression import channel_groups, count_parameters, flops, shrink
from jaxkd.models._inverted_residual import InvertedResidual, SqueezeExcite
from jaxkd.models._layers import batch_norm, group_norm


def _images(size=8, channels=3):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, size, size, channels)), jnp.float32)


def _tokens():
    return jnp.asarray(np.random.default_rng(0).integers(1, 30, (2, 6)), jnp.int32)


class Concatenated(nnx.Module):
    """Dense connections, squeeze-and-excitation, grouped convolutions and a shuffle."""

    def __init__(self, rngs):
        self.stem = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.more = nnx.Conv(8, 4, (3, 3), rngs=rngs)
        self.norm = batch_norm(12, rngs=rngs)
        self.grouped = nnx.Conv(12, 12, (1, 1), feature_group_count=2, rngs=rngs)
        self.reduce = nnx.Linear(12, 6, rngs=rngs)
        self.expand = nnx.Linear(6, 12, rngs=rngs)
        self.head = nnx.Linear(12, 5, rngs=rngs)

    def __call__(self, x):
        x = nnx.relu(self.stem(x))
        x = self.norm(jnp.concatenate([x, self.more(x)], axis=-1))
        x = nnx.relu(self.grouped(x))
        x = x * nnx.sigmoid(self.expand(nnx.relu(self.reduce(x.mean((1, 2))))))[:, None, None]
        x = nnx.avg_pool(x, (2, 2), strides=(2, 2))
        return self.head(x.max((1, 2)))


class Inverted(nnx.Module):
    """What MobileNets are made of."""

    def __init__(self, rngs):
        squeeze = SqueezeExcite(12, 4, activation=nnx.relu, gate=nnx.sigmoid, rngs=rngs)
        options = {"activation": nnx.relu6, "norm": batch_norm, "rngs": rngs}
        self.first = InvertedResidual(3, 8, 6, 3, 2, **options)
        self.second = InvertedResidual(6, 12, 6, 3, 1, squeeze=squeeze, **options)
        self.head = nnx.Linear(6, 5, rngs=rngs)

    def __call__(self, x):
        return self.head(self.second(self.first(x)).mean((1, 2)))


class FlaxAttention(nnx.Module):
    def __init__(self, rngs):
        self.attention = nnx.MultiHeadAttention(4, 16, decode=False, rngs=rngs)
        self.head = nnx.Linear(16, 3, rngs=rngs)

    def __call__(self, x):
        return self.head(self.attention(x).mean(1))


NETWORKS = {
    "mlp": (lambda r: models.MLP(12, (8, 6), 3, rngs=r), jnp.ones((2, 12))),
    "cnn": (lambda r: models.CNN((8, 8, 3), (4, 6), 8, 5, rngs=r), _images()),
    "resnet": (lambda r: models.ResNet(8, 3, 5, widths=(4, 6, 8), rngs=r), _images()),
    "resnet, group norm": (
        lambda r: models.ResNet(8, 3, 5, widths=(8, 8, 16), norm=group_norm, rngs=r),
        _images(),
    ),
    "inverted residuals": (Inverted, _images()),
    "vision transformer": (
        lambda r: models.VisionTransformer(4, 16, 4, 4, 3, 5, image_size=8, rngs=r),
        _images(),
    ),
    "encoder": (
        lambda r: models.Encoder(32, 16, 1, 4, max_length=8, num_classes=3, rngs=r),
        _tokens(),
    ),
    "decoder": (lambda r: models.Decoder(32, 16, 2, 4, num_kv_heads=2, rngs=r), _tokens()),
    "concatenation": (Concatenated, _images()),
    "flax attention": (FlaxAttention, jnp.ones((2, 5, 16)).cumsum(1)),
}


def _abstract(name):
    return nnx.eval_shape(lambda: NETWORKS[name][0](nnx.Rngs(0)))


def _made(name, seed=1):
    """A network in which no bias is zero, so that what is left out wrongly shows."""
    random, model = np.random.default_rng(seed), _abstract(name)
    for path, variable in nnx.to_flat_state(nnx.state(model)):
        leaf = variable.get_value()
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            variable.set_value(jax.random.key(0))
            continue
        value = random.normal(size=leaf.shape) / np.sqrt(max(1, np.prod(leaf.shape[:-1])))
        if path[-1] in ("scale", "var"):
            value = 1 + np.abs(value)
        variable.set_value(jnp.asarray(value.astype(leaf.dtype)))
    return model, NETWORKS[name][1]


def _zeroed(params, groups, kept):
    """Parameters with those of the channels set to zero that are not kept."""
    params = {path: np.array(leaf) for path, leaf in params.items()}
    for group in groups:
        for place in group.axes if group.name in kept else ():
            if place.path in params:  # else it is a statistic
                gone = (place.channels >= 0) & ~np.isin(place.channels, kept[group.name])
                np.moveaxis(params[place.path], place.axis, 0)[gone] = 0
    return params


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_left_computes_as_if_the_rest_were_zero(name):
    model, inputs = _made(name)
    groups = channel_groups(model, inputs)
    small, kept = shrink(model, inputs, keep=0.5)
    free = {group.name: group.size for group in groups if not group.reason}
    halves = {name: max(1, round(size / 2)) for name, size in free.items()}
    assert {name: len(rest) for name, rest in kept.items()} == halves
    whole, left = jaxkd.from_nnx(model), jaxkd.from_nnx(small)
    assert count_parameters(left.params) < 0.8 * count_parameters(whole.params)
    run = jax.jit(lambda params: whole.apply(params, whole.state, inputs)[0]["logits"])
    found = jax.jit(left)(inputs)["logits"]
    expected = run(_zeroed(whole.params, groups, kept))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)
    assert np.abs(found - run(whole.params)).max() > 1e-2


def test_a_residual_stage_is_one_group_and_the_inside_of_a_block_another():
    model, inputs = _made("resnet")
    groups = {group.name: group for group in channel_groups(model, inputs)}
    stem = {f"{place.path}[{place.axis}]" for place in groups["stem"].axes}
    assert {"stem.kernel[3]", "stem_norm.mean[0]", "stages.0.0.conv1.kernel[2]"} <= stem
    assert {"stages.0.0.conv2.kernel[3]", "stages.1.0.shortcut.kernel[2]"} <= stem
    assert "stages.0.0.conv1.kernel[3]" not in stem
    inside = {f"{place.path}[{place.axis}]" for place in groups["stages.0.0.conv1"].axes}
    assert {"stages.0.0.conv1.kernel[3]", "stages.0.0.conv2.kernel[2]"} <= inside
    assert groups["head"].reason == "the logits"
    assert "stay, because of the logits" in str(groups["head"])


def test_heads_go_whole_and_the_width_stays():
    model, inputs = _made("vision transformer")
    groups = {group.name: group for group in channel_groups(model, inputs)}
    heads = groups["blocks.0.attention.qkv"]
    assert heads.size == 4 and not heads.reason
    qkv = next(place for place in heads.axes if place.path.endswith("qkv.kernel"))
    np.testing.assert_array_equal(qkv.channels, np.tile(np.repeat(np.arange(4), 4), 3))
    assert "reduce_sum" in groups["patches"].reason and "norm1" in groups["patches"].reason
    small, _ = shrink(model, inputs, keep={"blocks.0.attention.qkv": [1, 3]})
    assert small.blocks[0].attention.heads == 2 and small.blocks[1].attention.heads == 4
    assert small.blocks[0].attention.qkv.kernel.shape == (16, 24)


def test_a_decoder_generates_with_the_heads_it_has_left():
    model, inputs = _made("decoder")
    small, _ = shrink(model, inputs, keep={"layers.0.attention.*": 0.5})
    cache = jax.eval_shape(lambda: small.init_cache(2, 8))
    assert [keys.shape[2] for keys in cache.keys] == [1, 2]
    logits, _ = jax.jit(small.decode)(inputs, small.init_cache(2, 8))
    np.testing.assert_allclose(
        logits, jax.jit(jaxkd.from_nnx(small))(inputs)["logits"][:, -1], rtol=1e-4, atol=1e-5
    )


def test_flops_fall_as_counted_by_hand():
    model, inputs = models.MLP(12, (8, 6), 3, rngs=nnx.Rngs(0)), jnp.ones((1, 12))
    small, _ = shrink(model, inputs, keep=0.5)

    def by_hand(a, b):
        products = 2 * (12 * a + a * b + b * 3)
        return products + (a + b + 3) + (a + b)  # and biases, and ReLU

    for network, widths in ((model, (8, 6)), (small, (4, 3))):
        assert flops(jaxkd.from_nnx(network), inputs) == by_hand(*widths)


@pytest.mark.parametrize("name", ["resnet", "flax attention"])
def test_the_description_makes_the_same_of_a_fresh_network_that_weights_can_fill(name, tmp_path):
    model, inputs = _made(name)
    small, kept = shrink(model, inputs, keep=0.5)
    expected = jaxkd.from_nnx(small)
    weights.save(expected, tmp_path / "small.npz")
    description = json.loads(json.dumps(kept))
    again, kept_again = shrink(_abstract(name), inputs, keep=description)
    assert kept_again == kept
    filled, report = weights.load(jaxkd.from_nnx(again), tmp_path / "small.npz")
    assert report.complete
    np.testing.assert_array_equal(
        jax.jit(filled)(inputs)["logits"], jax.jit(expected)(inputs)["logits"]
    )


@few("name", ["squeezenet1_1", "shufflenet_v2_cifar"])
def test_whole_networks_shrink_as_shapes_alone(name):
    model = nnx.eval_shape(lambda: models.create(name, num_classes=10, rngs=nnx.Rngs(0)))
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    # In random order, so that channels that are taken for others meet the wrong ones.
    small, kept = shrink(
        model, images, keep=0.5, importance=lambda g: np.random.default_rng(g.size).random(g.size)
    )
    whole, left = jaxkd.from_nnx(model), jaxkd.from_nnx(small)
    assert len(kept) > 15
    assert flops(left, images) < 0.5 * flops(whole, images)


def test_what_is_left_trains_with_the_whole_as_its_teacher():
    model, inputs = _made("cnn")
    small, _ = shrink(model, inputs, keep=0.5)
    teacher, student = jaxkd.from_nnx(model), jaxkd.from_nnx(small)
    objective, optimizer = recipes.kd(alpha=1.0), optax.adam(1e-2)
    step = jaxkd.make_train_step(student, objective, optimizer, teacher=teacher)
    state = step.init()
    values = []
    for _ in range(20):
        state, metrics = step(state, {"inputs": inputs})
        values.append(float(metrics["kd"]))
    assert values[-1] < 0.5 * values[0]


def test_importances_choose():
    model, inputs = _made("mlp")
    first, second = (np.zeros((12, 8), np.float32), np.zeros((8, 6), np.float32))
    first[:2, 0], first[0, 1], second[0, 1], first[0, 2:] = 3.0, 5.0, 1.0, 0.1
    model.layers[0].kernel[...], model.layers[1].kernel[...] = first, second
    params = jaxkd.from_nnx(model).params

    def best(**options):
        return shrink(model, inputs, keep={"layers.0": 1 / 8}, **options)[1]["layers.0"]

    assert best(importance="l1") == [0]  # 6 against 5 + 1, the first of equals
    assert best(importance="l2") == [1]  # √18 against √26
    gradients = {path: jnp.zeros_like(leaf) for path, leaf in params.items()}
    gradients["layers.0.kernel"] = gradients["layers.0.kernel"].at[0, 5].set(1e3)
    assert best(importance="taylor", gradients=gradients) == [5]
    assert best(importance=lambda group: np.arange(group.size) == 6) == [6]
    with pytest.raises(ValueError, match="'batch_norm' does not apply to layers.0"):
        best(importance="batch_norm")


def test_batch_norm_scales_choose_and_protected_groups_stay():
    model, inputs = _made("resnet")
    model.stages[0][0].norm1.scale[...] = jnp.array([0.1, -3.0, 0.2, 2.0])
    _, kept = shrink(
        model, inputs, keep=0.5, importance="batch_norm", protect=["stem", "stages.1.*"]
    )
    assert kept["stages.0.0.conv1"] == [1, 3]
    assert sorted(kept) == ["stages.0.0.conv1", "stages.2.0.conv1", "stages.2.0.conv2"]


def test_shares_by_name_and_multiples():
    model, inputs = models.MLP(12, (16, 24), 3, rngs=nnx.Rngs(0)), jnp.ones((2, 12))
    _, kept = shrink(model, inputs, keep={"layers.1": 0.4, ".*": 0.2}, multiple_of=8)
    assert {name: len(rest) for name, rest in kept.items()} == {"layers.0": 8, "layers.1": 16}
    whole, kept = shrink(model, inputs, keep=1.0)
    assert kept == {} and whole.layers[0].kernel.shape == (12, 16)
