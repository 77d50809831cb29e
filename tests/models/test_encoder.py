import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd.models import Encoder, StaticEmbedder

# Fast compilation instead of fast programs.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
TOKENS = jnp.asarray(np.random.default_rng(0).integers(1, 30, (2, 7)))


def encoder(**options):
    model = Encoder(30, 16, 2, 4, rngs=nnx.Rngs(0, dropout=1), **options)
    # So large that attention is neither flat nor certain.
    scaled = jax.tree.map(lambda v: 8 * v if v.ndim > 1 else v, nnx.state(model, nnx.Param))
    nnx.update(model, scaled)
    return jaxkd.from_nnx(model)


def test_padding_changes_nothing_and_embeddings_have_length_one():
    run = compiled(encoder())
    plain = run(TOKENS)
    padded = run(jnp.pad(TOKENS, ((0, 0), (0, 3))))
    np.testing.assert_allclose(padded["logits"], plain["logits"], atol=1e-5)
    np.testing.assert_allclose(padded["hidden"][:, :7], plain["hidden"], atol=1e-4)
    np.testing.assert_allclose(jnp.linalg.norm(plain["logits"], axis=-1), 1, atol=1e-5)
    mean = plain["hidden"].mean(1)
    cosine = jnp.sum(plain["logits"] * mean, -1) / jnp.linalg.norm(mean, axis=-1)
    np.testing.assert_allclose(cosine, 1, atol=1e-5)
    # Tokens see those behind them as well.
    changed = run(TOKENS.at[:, -1].set(TOKENS[:, -1] % 29 + 1))
    assert np.abs(changed["layer1"] - plain["layer1"]).max((0, 2)).min() > 1e-4


def test_padding_beyond_the_last_position_changes_nothing():
    network = encoder(max_length=8)
    rows = jnp.stack([TOKENS, jnp.ones_like(TOKENS)], axis=-1)
    padded = compiled(network)(jnp.pad(rows, ((0, 0), (0, 20), (0, 0))))
    np.testing.assert_allclose(padded["logits"], compiled(network)(rows)["logits"], atol=1e-5)


def test_packed_documents_do_not_see_each_other():
    run = compiled(encoder())
    documents = jnp.broadcast_to(jnp.array([1, 1, 1, 2, 2, 2, 0]), (2, 7))
    packed = run(jnp.stack([TOKENS, documents], axis=-1))["hidden"]
    np.testing.assert_allclose(packed[:, :3], run(TOKENS[:, :3])["hidden"], atol=1e-4)
    np.testing.assert_allclose(packed[:, 3:6], run(TOKENS[:, 3:6])["hidden"], atol=1e-4)


def test_features_are_what_the_last_attention_mixes():
    network = encoder()
    outputs = compiled(network)(TOKENS)
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (2, 16),
        "embedding": (2, 16),
        "embeddings": (2, 7, 16),
        "hidden": (2, 7, 16),
        **{f"layer{number}": (2, 7, 16) for number in (1, 2)},
        **{f"attention{number}": (2, 4, 7, 7) for number in (1, 2)},
        **dict.fromkeys(("queries", "keys", "values"), (2, 4, 7, 4)),
    }
    np.testing.assert_array_equal(outputs["hidden"], outputs["layer2"])
    scores = outputs["queries"] @ outputs["keys"].mT / 2
    np.testing.assert_allclose(outputs["attention2"], scores, atol=1e-4)
    queries = outputs["layer1"] @ network.params["layers.1.attention.query.kernel"]
    queries = queries.reshape(2, 7, 4, 4).swapaxes(1, 2)
    np.testing.assert_allclose(outputs["queries"], queries, atol=1e-4)


def test_classifiers_see_the_pooled_embedding():
    for options in ({"pooling": "cls", "pooler": True}, {}):
        network = encoder(num_classes=3, **options)
        outputs = compiled(network)(TOKENS)
        pooled = outputs["hidden"].mean(1)
        if options:
            kernel = network.params["pooler.kernel"]
            pooled = jnp.tanh(outputs["hidden"][:, 0] @ kernel + network.params["pooler.bias"])
        np.testing.assert_allclose(outputs["embedding"], pooled, atol=1e-4)
        kernel, bias = jaxkd.networks.head_weights(network.params)
        np.testing.assert_allclose(outputs["logits"], pooled @ kernel + bias, atol=1e-3)


def test_dropout_is_active_in_training_alone():
    network = encoder(dropout_rate=0.5)
    plain = compiled(encoder())(TOKENS)["logits"]
    np.testing.assert_allclose(compiled(network)(TOKENS)["logits"], plain, atol=1e-5)

    @compiled
    def train(key):
        return network.apply(network.params, network.state, TOKENS, train=True, key=key)[0]

    first, again, other = (train(jax.random.key(seed))["logits"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1e-2


def test_gradients_are_finite_where_a_row_is_padding_alone():
    network = encoder()
    static = jaxkd.from_nnx(StaticEmbedder(30, 16, table_width=8, rngs=nnx.Rngs(0)))
    tokens = TOKENS.at[0].set(0)
    for made in (network, static):

        @compiled
        def gradients(params, made=made):
            def loss(params):
                outputs = made.apply(params, made.state, tokens, train=True)[0]
                return jnp.sum(outputs["logits"][:, 0])

            return jax.value_and_grad(loss)(params)

        value, found = gradients(made.params)
        assert np.isfinite(value)
        assert all(np.isfinite(value).all() for value in found.values())
        assert max(np.abs(value).max() for value in found.values()) > 1e-3


def test_static_embeddings_are_the_normalized_mean_of_their_tokens():
    network = jaxkd.from_nnx(StaticEmbedder(30, 16, table_width=8, rngs=nnx.Rngs(0)))
    outputs = network(jnp.pad(TOKENS, ((0, 0), (0, 2))))
    mean = network.params["embeddings.embedding"][TOKENS].mean(1)
    expected = mean @ network.params["projection.kernel"] + network.params["projection.bias"]
    expected /= jnp.linalg.norm(expected, axis=-1, keepdims=True)
    np.testing.assert_allclose(outputs["logits"], expected, atol=1e-5)
    # Neither order nor packing counts.
    turned = jnp.stack([TOKENS[:, ::-1], jnp.ones_like(TOKENS)], axis=-1)
    np.testing.assert_allclose(network(turned)["embedding"], expected, atol=1e-5)
    plain = jaxkd.from_nnx(StaticEmbedder(30, 16, normalize=False, rngs=nnx.Rngs(0)))
    mean = plain.params["embeddings.embedding"][TOKENS].mean(1)
    np.testing.assert_allclose(plain(TOKENS)["logits"], mean, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Encoder(9, 10, 1, 4, rngs=nnx.Rngs(0)), "multiple of the 4 heads, not 10"),
        (lambda: Encoder(9, 8, 0, 4, rngs=nnx.Rngs(0)), "num_layers must be at least 1, not 0"),
        (lambda: encoder(pooling="max"), r"one of \['mean', 'cls'\], not 'max'"),
        (lambda: encoder(pooler=True), "first token, and pooling='mean'"),
        (lambda: encoder(max_length=6)(TOKENS), "positions for 6 tokens, not for 7: cut"),
        (lambda: encoder()(jnp.ones((2,), int)), r"\[batch, length, 2\].*not \(2,\)"),
    ],
)
def test_encoders_refuse_what_does_not_fit(make, message):
    with pytest.raises(ValueError, match=message):
        make()
