import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd.models import Decoder, RopeScaling

# Fast compilation instead of fast programs.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

GEMMA2 = {
    "activation": "gelu",
    "norm_offset": 1.0,
    "scale_embeddings": True,
    "post_norms": True,
    "attention_scale": 0.4,
    "attention_soft_cap": 3.0,
    "logit_soft_cap": 2.0,
    "windows": (3, None),
}
KINDS = {
    "gemma2": {"num_kv_heads": 2, **GEMMA2},
    "qwen": {"num_kv_heads": 1, "qk_norm": True, "head_dim": 8, "qkv_bias": True},
    "llama": {"tied": False, "rope_scaling": RopeScaling(8.0, 1.0, 4.0, 16)},
}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(1, 50, (3, 9)))


def lively(model, scale=8.0):
    """The module with weights so large that every part of it counts."""
    params = nnx.state(model, nnx.Param)
    noise = iter(range(1000))

    def change(value):
        sampled = jax.random.normal(jax.random.key(next(noise)), value.shape)
        return scale * value if value.ndim > 1 else value + 0.2 * sampled

    nnx.update(model, jax.tree.map(change, params))
    return model


def decoder(**options):
    return lively(Decoder(50, 16, 2, 4, **{"rngs": nnx.Rngs(0), **options}))


def pairs(tokens, documents):
    return jnp.stack([tokens, jnp.broadcast_to(jnp.asarray(documents), tokens.shape)], axis=-1)


@few("kind", KINDS)
def test_logits_depend_on_the_past_alone(kind):
    run = compiled(jaxkd.from_nnx(decoder(**KINDS[kind])))
    logits = run(TOKENS)["logits"]
    changed = run(TOKENS.at[:, 5].set(TOKENS[:, 5] % 49 + 1))["logits"]
    moved = np.abs(logits - changed).max((0, 2))
    assert moved[:5].max() == 0
    assert moved[5:].min() > 1e-3


def test_attention_looks_no_farther_than_its_window():
    model = decoder(windows=(3, None))
    changed = TOKENS.at[:, 2].set(TOKENS[:, 2] % 49 + 1)
    features, others = (compiled(jaxkd.from_nnx(model))(tokens) for tokens in (TOKENS, changed))
    first = np.abs(features["layer1"] - others["layer1"]).max((0, 2))
    assert first[2:5].min() > 1e-3
    assert first[5:].max() == 0
    assert np.abs(features["layer2"] - others["layer2"]).max((0, 2))[5:].min() > 1e-3


@few("kind", ["gemma2", "llama"])
def test_packed_documents_are_as_if_each_had_its_row(kind):
    run = compiled(jaxkd.from_nnx(decoder(**KINDS[kind])))
    packed = run(pairs(TOKENS, [1, 1, 1, 1, 2, 2, 2, 0, 0]))["logits"]
    first, second = run(TOKENS[:, :4])["logits"], run(TOKENS[:, 4:7])["logits"]
    np.testing.assert_allclose(packed[:, :4], first, atol=2e-5)
    np.testing.assert_allclose(packed[:, 4:7], second, atol=2e-5)
    assert np.isfinite(packed).all()
    one = run(pairs(TOKENS, 1))["logits"]
    np.testing.assert_allclose(one, run(TOKENS)["logits"], atol=2e-5)


def test_padding_in_front_changes_nothing():
    run = compiled(jaxkd.from_nnx(decoder()))
    padded = jnp.concatenate([jnp.zeros((3, 2), TOKENS.dtype), TOKENS], axis=1)
    logits = run(pairs(padded, [0, 0, *([1] * 9)]))["logits"]
    np.testing.assert_allclose(logits[:, 2:], run(TOKENS)["logits"], atol=2e-5)


@few("kind", KINDS, keep=2)
def test_cached_logits_are_those_of_whole_texts(kind):
    """Prompts of several lengths at once, then one token at a time, then two."""
    model = decoder(**KINDS[kind])
    full = compiled(jaxkd.from_nnx(model))(TOKENS)["logits"]
    decode = compiled(model.decode)
    rows, lengths = jnp.arange(3), jnp.array([5, 2, 1])
    # What lies behind a prompt does not matter.
    logits, cache = decode(TOKENS[:, :5], model.init_cache(3, 9), lengths)
    for counts in ([1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1], [0, 2, 2], [0, 2, 2]):
        np.testing.assert_allclose(logits, full[rows, cache.lengths - 1], atol=1e-4, rtol=0)
        counts = jnp.asarray(counts)
        width = int(counts.max())
        places = jnp.minimum(cache.lengths[:, None] + jnp.arange(width), 8)
        before = logits
        logits, cache = decode(jnp.take_along_axis(TOKENS, places, 1), cache, counts)
        logits = jnp.where(counts[:, None] > 0, logits, before)
    np.testing.assert_array_equal(cache.lengths, [9, 9, 8])
    np.testing.assert_allclose(logits, full[rows, cache.lengths - 1], atol=1e-4, rtol=0)


def test_features_lead_to_the_logits():
    model = decoder(num_kv_heads=2)
    outputs = compiled(jaxkd.from_nnx(model))(TOKENS)
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (3, 9, 50),
        "embeddings": (3, 9, 16),
        "layer1": (3, 9, 16),
        "layer2": (3, 9, 16),
        "hidden": (3, 9, 16),
        "head": (16, 50),
        "queries": (3, 4, 9, 4),
        "keys": (3, 2, 9, 4),
        "values": (3, 2, 9, 4),
    }
    np.testing.assert_allclose(
        outputs["hidden"] @ outputs["head"], outputs["logits"], rtol=1e-5, atol=1e-5
    )
    # Queries, keys and values are what the attention of the last layer mixes.
    queries, keys, values = (outputs[name] for name in ("queries", "keys", "values"))
    keys, values = keys.repeat(2, axis=1), values.repeat(2, axis=1)
    scores = jnp.where(np.tri(9, dtype=bool), queries @ keys.mT / 2, -jnp.inf)
    mixed = (jax.nn.softmax(scores) @ values).swapaxes(1, 2).reshape(3, 9, 16)
    layer = model.layers[1]
    hidden = outputs["layer1"] + layer.attention.out(mixed)
    hidden = hidden + layer.mlp(layer.norm2(hidden))
    np.testing.assert_allclose(hidden, outputs["layer2"], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tied", [True, False])
def test_gradient_flows_to_the_head_feature(tied):
    network = jaxkd.from_nnx(decoder(tied=tied))

    def loss(params):
        outputs = network.apply(params, network.state, TOKENS, train=True)[0]
        return jnp.sum(jax.lax.stop_gradient(outputs["hidden"]) @ outputs["head"])

    gradients = compiled(jax.grad(loss))(network.params)
    moved = {path for path, value in gradients.items() if np.abs(value).max() > 0}
    assert moved == {"embeddings.embedding" if tied else "head.kernel"}


@few("kind", ["gemma2", "qwen"])
def test_layers_computed_again_give_the_same_gradients(kind):
    def gradients(remat):
        network = jaxkd.from_nnx(decoder(**KINDS[kind], remat=remat))

        def loss(params):
            logits = network.apply(params, network.state, TOKENS, train=True)[0]["logits"]
            return -jnp.mean(jax.nn.log_softmax(logits)[..., 0])

        return compiled(jax.grad(loss))(network.params)

    plain, again = gradients(False), gradients(True)
    assert all(np.isfinite(value).all() and np.abs(value).max() > 0 for value in plain.values())
    for path, value in plain.items():
        np.testing.assert_allclose(again[path], value, rtol=1e-4, atol=1e-6, err_msg=path)


def test_bfloat16_computes_in_it_and_keeps_master_weights():
    network = jaxkd.from_nnx(decoder(), dtype=jnp.bfloat16)
    outputs = compiled(network)(TOKENS)
    assert {value.dtype for value in outputs.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {value.dtype for value in network.params.values()} == {jnp.dtype(jnp.float32)}
    full = compiled(jaxkd.from_nnx(decoder()))(TOKENS)["logits"]
    assert np.abs(outputs["logits"].astype(jnp.float32) - full).max() < 0.1 * np.abs(full).max()


def test_soft_cap_bounds_the_logits():
    capped = compiled(jaxkd.from_nnx(decoder(logit_soft_cap=0.5)))(TOKENS)
    raw = capped["hidden"] @ capped["head"]
    assert np.abs(raw).max() > 1
    np.testing.assert_allclose(capped["logits"], 0.5 * np.tanh(raw / 0.5), atol=1e-5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: decoder(num_kv_heads=3), "must divide the 4 heads, .* not be 3"),
        (lambda: Decoder(9, 10, 1, 4, rngs=nnx.Rngs(0)), "multiple of the 4 heads, not 10"),
        (lambda: decoder(head_dim=3), "head_dim must be even, .* not 3"),
        (lambda: decoder(activation="relu"), r"one of \['silu', 'gelu'\], not 'relu'"),
        (lambda: decoder(windows=(3,)), "windows has 1 numbers for 2 layers"),
        (lambda: Decoder(9, 8, 0, 4, rngs=nnx.Rngs(0)), "num_layers must be at least 1, not 0"),
        (lambda: decoder()(jnp.ones((2, 3, 3), int)), r"\[batch, length, 2\].*not \(2, 3, 3\)"),
        (lambda: decoder()(jnp.ones((2, 3))), "tokens as integers, not as float32"),
    ],
)
def test_decoders_refuse_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()
