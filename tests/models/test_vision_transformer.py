import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd.compression import count_parameters
from jaxkd.models import VisionTransformer
from jaxkd.models._registry import Registry
from jaxkd.models.vision_transformer import ENTRIES

REGISTRY = Registry(ENTRIES)
IMAGES = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 12, 2))[:, :, :8], jnp.float32)


def small(depth=4, **options):
    options = {"image_size": 8, "rngs": nnx.Rngs(0, dropout=1), **options}
    return VisionTransformer(4, 8, depth, 2, 2, 5, **options)


@few(
    "entry",
    sorted(ENTRIES, key=lambda entry: "tiny" not in entry.name),
    keep=2,
    ids=lambda entry: entry.name,
)
def test_parameters_and_stages_are_the_published_ones(entry):
    model = nnx.eval_shape(lambda: REGISTRY.create(entry.name, rngs=nnx.Rngs(0)))
    network = jaxkd.from_nnx(model, dtype=jnp.bfloat16)
    assert count_parameters(network.params) == entry.parameters
    images = jax.ShapeDtypeStruct((2, 224, 224, 3), jnp.float32)
    outputs, _ = jax.eval_shape(network.apply, network.params, network.state, images)
    width = network.params["head.kernel"].shape[0]
    heads = 2 if "deit" in entry.name else 1
    for number in range(1, 13):
        assert outputs[f"block{number}"].shape == (2, 196 + heads, width)
    for name in ("stem", "stage1", "stage2", "stage3", "stage4"):
        assert outputs[name].shape == (2, 14, 14, width)
    assert outputs["embedding"].shape == (2, width)
    names = {"logits", *(("class_logits", "distillation_logits") if heads == 2 else ())}
    assert {name for name in outputs if name.endswith("logits")} == names
    assert {outputs[name].shape for name in names} == {(2, 1000)}
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {value.dtype for value in network.params.values()} == {jnp.dtype(jnp.float32)}


def test_other_sizes_classes_and_channels_can_be_made():
    options = {"image_size": 32, "num_classes": 7, "in_channels": 1}
    model = nnx.eval_shape(lambda: REGISTRY.create("vit_tiny_patch16", rngs=nnx.Rngs(0), **options))
    network = jaxkd.from_nnx(model)
    assert network.params["pos_embed"].shape == (1, 5, 192)
    images = jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32)
    outputs, _ = jax.eval_shape(network.apply, network.params, network.state, images)
    assert outputs["logits"].shape == (2, 7)


def test_stages_are_the_patches_of_blocks_row_by_row():
    run = jax.jit(jaxkd.from_nnx(small(6, distillation_token=True)))
    outputs = run(IMAGES)
    for number, block in enumerate([2, 3, 5, 6], 1):
        stage, tokens = outputs[f"stage{number}"], outputs[f"block{block}"]
        for row in range(2):
            for column in range(2):
                np.testing.assert_array_equal(
                    stage[:, row, column], tokens[:, 2 + 2 * row + column]
                )
    # The upper right patch lies in the first row and the second column.
    changed = run(IMAGES.at[:, :4, 4:].set(0.0))["stem"]
    moved = np.any(np.asarray(changed != outputs["stem"]), axis=(0, 3))
    np.testing.assert_array_equal(moved, [[False, True], [False, False]])


def test_deit_predicts_the_mean_of_its_heads():
    network = jaxkd.from_nnx(small(distillation_token=True))
    outputs = jax.jit(network)(IMAGES)
    np.testing.assert_allclose(
        outputs["logits"], (outputs["class_logits"] + outputs["distillation_logits"]) / 2, rtol=1e-6
    )
    for logits, embedding, head in (
        ("class_logits", "embedding", "head"),
        ("distillation_logits", "distillation_embedding", "head_dist"),
    ):
        kernel, bias = jaxkd.networks.head_weights(network.params, head)
        np.testing.assert_allclose(outputs[logits], outputs[embedding] @ kernel + bias, atol=1e-5)
    assert np.abs(outputs["class_logits"] - outputs["distillation_logits"]).max() > 1e-3


def test_learns_in_bfloat16_without_a_key():
    network = jaxkd.from_nnx(small(distillation_token=True), dtype=jnp.bfloat16)

    @jax.jit
    def gradients(params):
        def loss(params):
            outputs, _ = network.apply(params, network.state, IMAGES, train=True)
            logits = outputs["logits"].astype(jnp.float32)
            return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(3), jnp.arange(3)])

        return jax.grad(loss)(params)

    found = gradients(network.params)
    assert all(np.isfinite(value).all() for value in found.values())
    assert all(np.abs(value).max() > 0 for value in found.values())
    assert not network.state


def test_dropout_and_stochastic_depth_are_active_in_training_alone():
    plain = jax.jit(jaxkd.from_nnx(small()))(IMAGES)["block4"]
    for options in ({"dropout_rate": 0.5}, {"stochastic_depth_rate": 0.9}):
        network = jaxkd.from_nnx(small(**options))
        np.testing.assert_allclose(jax.jit(network)(IMAGES)["block4"], plain, atol=1e-6)

        @jax.jit
        def train(key, network=network):
            return network.apply(network.params, network.state, IMAGES, train=True, key=key)[0]

        first, again, other = (train(jax.random.key(seed))["block4"] for seed in (0, 0, 1))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-4
        with pytest.raises(ValueError, match="pass key="):
            network.apply(network.params, network.state, IMAGES, train=True)


def test_stochastic_depth_skips_whole_examples_of_late_blocks():
    network = jaxkd.from_nnx(small(stochastic_depth_rate=0.9))
    images = jnp.broadcast_to(IMAGES[:1], (64, 8, 8, 2))
    outputs = jax.jit(
        lambda key: network.apply(network.params, network.state, images, train=True, key=key)[0]
    )(jax.random.key(0))
    np.testing.assert_array_equal(outputs["block1"], outputs["block1"][:1].repeat(64, axis=0))
    skipped = np.all(np.asarray(outputs["block4"] == outputs["block3"]), axis=(1, 2))
    assert 40 < skipped.sum() < 62  # of 64, a probability of 0.81


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(image_size=10), "multiple of the patch, 4, not 10"),
        (lambda: small(image_size=0), "multiple of the patch, 4, not 0"),
        (lambda: small(depth=3), "at least 4, .* not 3"),
        (lambda: VisionTransformer(4, 8, 4, 3, 2, 5, rngs=nnx.Rngs(0)), "of the 3 heads, not 8"),
        (lambda: small()(jnp.ones((2, 12, 12, 2))), r"\[batch, 8, 8, 2\], not \(2, 12, 12, 2\)"),
        (lambda: small()(jnp.ones((2, 8, 8, 3))), r"\[batch, 8, 8, 2\], not \(2, 8, 8, 3\)"),
        (
            lambda: REGISTRY.create("vit_tiny_patch16", norm="batch", rngs=nnx.Rngs(0)),
            r"can have the norms \['layer'\], not 'batch'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        nnx.eval_shape(make)
