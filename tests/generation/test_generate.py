import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiers import few

import jaxkd
from jaxkd.generation import from_decoder, generate, sample
from jaxkd.models import Decoder

# Fast compilation instead of fast programs.
compiled = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})

VOCABULARY = 12
PROMPTS = jnp.array([[5, 6, 7, 1], [8, 99, 99, 99], [3, 2, 0, 0]])
LENGTHS = jnp.array([4, 1, 2])


def make(dtype=None, valid_classes=None, **options):
    """A decoder whose predictions are neither flat nor certain."""
    options = {"num_kv_heads": 2, "tied": False, **options}
    model = Decoder(VOCABULARY, 16, 1, 4, rngs=nnx.Rngs(1), **options)
    nnx.update(model, jax.tree.map(lambda value: 8 * value, nnx.state(model, nnx.Param)))
    return from_decoder(model, dtype=dtype, valid_classes=valid_classes)


def generated_by(
    decoder, new_tokens=5, prompts=PROMPTS, lengths=LENGTHS, key=None, run=compiled, **options
):
    def run_all(params, prompts, lengths, key):
        return generate(
            decoder,
            params,
            decoder.network.state,
            prompts,
            lengths,
            max_new_tokens=new_tokens,
            key=key,
            **options,
        )

    key = jax.random.key(0) if key is None else key
    return run(run_all)(decoder.network.params, prompts, lengths, key)


def rows_of(text):
    return [
        np.asarray(row[:length]).tolist()
        for row, length in zip(text.tokens, text.lengths, strict=True)
    ]


def test_greedy_text_is_the_loop_over_whole_texts():
    decoder = make()
    run = compiled(lambda tokens: decoder.network(tokens)["logits"].argmax(-1))
    tokens = np.zeros((3, 9), np.int32)
    tokens[:, :4] = PROMPTS * (jnp.arange(4) < LENGTHS[:, None])
    for step in range(5):
        last = np.asarray(LENGTHS) + step
        tokens[range(3), last] = np.asarray(run(tokens))[range(3), last - 1]
    expected = [row[: length + 5].tolist() for row, length in zip(tokens, LENGTHS, strict=True)]
    text = generated_by(decoder, temperature=0.0)
    assert rows_of(text) == expected
    np.testing.assert_array_equal(text.prompt_lengths, LENGTHS)
    # Behind a row are zeros, whatever was behind its prompt.
    assert all(not row[length:].any() for row, length in zip(*text[:2], strict=True))
    # A temperature that is traced decides as well.
    traced = compiled(lambda t: generated_by(decoder, run=jax.jit, temperature=t))(0.0)
    np.testing.assert_array_equal(traced.tokens, text.tokens)


def test_log_probs_are_those_of_the_network_at_the_tokens_places():
    decoder = make()
    text = generated_by(decoder, temperature=0.7, top_k=5)
    logits = compiled(decoder.network)(text.tokens)["logits"]
    expected = jnp.take_along_axis(
        jax.nn.log_softmax(logits[:, :-1]), text.tokens[:, 1:, None], axis=-1
    )[..., 0]
    where = np.asarray(text.where)
    assert where.sum(1).tolist() == [5, 5, 5]
    assert where[0].tolist() == [False] * 4 + [True] * 5
    np.testing.assert_allclose(
        text.log_probs[:, 1:], np.where(where[:, 1:], expected, 0), atol=1e-4, rtol=0
    )
    top, ids = jax.lax.top_k(logits[:, :-1] / 0.7, 5)
    mine = ids == text.tokens[:, 1:, None]
    assert mine.any(-1)[where[:, 1:]].all()
    sampling = jnp.sum(jnp.where(mine, jax.nn.log_softmax(top), 0), axis=-1)
    np.testing.assert_allclose(
        text.sampling_log_probs[:, 1:], np.where(where[:, 1:], sampling, 0), atol=1e-4, rtol=0
    )


def test_first_tokens_have_the_probabilities_of_the_network():
    """20 000 rows of one prompt: total variation from the exact probabilities."""
    decoder = make()
    count = 20_000
    text = generated_by(decoder, 1, jnp.tile(PROMPTS[:1], (count, 1)), jnp.full((count,), 4))
    exact = jax.nn.softmax(compiled(decoder.network)(PROMPTS[:1])["logits"][0, -1])
    found = np.bincount(text.tokens[:, 4], minlength=VOCABULARY) / count
    assert np.abs(found - exact).sum() / 2 < 0.015
    assert np.sort(exact)[-2] > 0.05 and exact.max() < 0.9


def test_the_padding_of_a_vocabulary_is_never_generated():
    text = generated_by(make(valid_classes=7), 8, temperature=2.0)
    assert np.asarray(text.tokens)[text.where].max() < 7
    # The probabilities are of the seven alone, though the whole network would generate others too.
    whole = compiled(make().network)(text.tokens)["logits"][:, :-1]
    assert jax.nn.softmax(whole / 2)[..., 7:].sum(-1)[text.where[:, 1:]].mean() > 0.2
    expected = jnp.take_along_axis(
        jax.nn.log_softmax(whole[..., :7]), text.tokens[:, 1:, None], axis=-1
    )[..., 0]
    np.testing.assert_allclose(
        text.log_probs[:, 1:], np.where(text.where[:, 1:], expected, 0), atol=1e-4
    )


@pytest.mark.parametrize(
    ("count", "message"), [(13, "13 valid classes, the logits of Decoder"), (0, "at least 1")]
)
def test_more_tokens_than_logits_are_refused(count, message):
    with pytest.raises(ValueError, match=message):
        decoder = make(valid_classes=count)
        variables = decoder.network.params, decoder.network.state
        jax.eval_shape(decoder.decode, *variables, PROMPTS, decoder.init_cache(3, 5), LENGTHS)


def test_stop_tokens_end_their_rows_alone():
    decoder = make()
    free = rows_of(generated_by(decoder, 8, temperature=0.0))
    # Of the first row's own third token.
    stop = free[0][6]
    text = generated_by(decoder, 8, temperature=0.0, stop_tokens=(stop, 11))
    for row, whole, length in zip(rows_of(text), free, LENGTHS, strict=True):
        ends = [i for i, token in enumerate(whole) if i >= length and token in (stop, 11)]
        assert row == whole[: ends[0] + 1 if ends else None]
    assert text.lengths[0] < 12
    assert not text.tokens[0, text.lengths[0] :].any()
    assert not text.log_probs[0, text.lengths[0] :].any()
    np.testing.assert_array_equal(text.where.sum(1), text.lengths - LENGTHS)


def test_rows_with_keys_of_their_own_do_not_depend_on_each_other():
    decoder = make()
    keys = jax.random.split(jax.random.key(7), 3)

    def generated(rows):
        rows = jnp.asarray(rows)
        return rows_of(
            generated_by(decoder, 5, PROMPTS[rows], LENGTHS[rows], key=keys[rows], top_p=0.95)
        )

    all_rows = generated([0, 1, 2])
    assert generated([2, 0]) == [all_rows[2], all_rows[0]]
    assert len({tuple(row[-5:]) for row in all_rows}) == 3


@pytest.mark.exhaustive
def test_a_student_generates_inside_its_own_train_step():
    """No gradient comes through the text, and the same program serves other parameters."""
    decoder = make()
    network = decoder.network

    def loss(params, text):
        logits = network.apply(params, network.state, text.tokens, train=True)[0]["logits"]
        log_probs = jnp.take_along_axis(
            jax.nn.log_softmax(logits[:, :-1]), text.tokens[:, 1:, None], axis=-1
        )[..., 0]
        return -jnp.sum(log_probs * text.where[:, 1:])

    traces = []

    @compiled
    def step(params, key):
        traces.append(key)

        def own(params):
            text = generate(
                decoder, params, network.state, PROMPTS, LENGTHS, max_new_tokens=4, key=key
            )
            return loss(params, text), text

        return jax.value_and_grad(own, has_aux=True)(params)

    (value, text), gradients = step(network.params, jax.random.key(0))
    np.testing.assert_allclose(value, -text.log_probs.sum(), rtol=1e-4)
    for path, expected in compiled(jax.grad(loss))(network.params, text).items():
        np.testing.assert_allclose(gradients[path], expected, rtol=1e-3, atol=1e-4, err_msg=path)
    halved = jax.tree.map(lambda value: value / 2, network.params)
    (_, other), _ = step(halved, jax.random.key(0))
    assert len(traces) == 1
    assert np.abs(other.log_probs - text.log_probs).max() > 1e-2


@pytest.mark.exhaustive
def test_bfloat16_decoders_keep_their_cache_in_it():
    decoder = make(jnp.bfloat16)
    assert decoder.init_cache(2, 5).keys[0].dtype == jnp.bfloat16
    text = generated_by(decoder, top_p=0.9)
    assert text.log_probs.dtype == jnp.float32
    logits = compiled(decoder.network)(text.tokens)["logits"].astype(jnp.float32)
    expected = jnp.take_along_axis(
        jax.nn.log_softmax(logits[:, :-1]), text.tokens[:, 1:, None], axis=-1
    )[..., 0]
    # bfloat16 has three digits.
    np.testing.assert_allclose(text.log_probs[:, 1:], expected * text.where[:, 1:], atol=0.15)


@pytest.mark.exhaustive
@few("kind", ["explicit", "auto"])
def test_rows_are_generated_alike_on_several_devices(kind):
    decoder = make()
    all_prompts, all_lengths = PROMPTS[jnp.arange(8) % 3], LENGTHS[jnp.arange(8) % 3]
    expected = generated_by(decoder, 3, all_prompts, all_lengths)
    axis = getattr(jax.sharding.AxisType, kind.title())
    mesh = jax.make_mesh((8,), ("data",), axis_types=(axis,))
    with jax.set_mesh(mesh):
        rows = jax.NamedSharding(mesh, jax.P("data"))
        prompts = jax.device_put(np.asarray(all_prompts), rows)
        lengths = jax.device_put(np.asarray(all_lengths), rows)
        params = jax.device_put(decoder.network.params, jax.NamedSharding(mesh, jax.P()))

        def run_all(params, prompts, lengths):
            return generate(
                decoder,
                params,
                decoder.network.state,
                prompts,
                lengths,
                max_new_tokens=3,
                key=jax.random.key(0),
            )

        if kind == "explicit":
            # Networks are implemented without regard to sharded types, as in the train step.
            run_all = jax.sharding.auto_axes(run_all, out_sharding=jax.P("data"))
        text = compiled(run_all)(params, prompts, lengths)
    np.testing.assert_array_equal(text.tokens, expected.tokens)
    np.testing.assert_allclose(text.log_probs, expected.log_probs, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompts": jnp.ones((3,), int)}, r"\[batch, prompt_length\], not int32 of shape \(3,\)"),
        ({"prompts": jnp.ones((3, 4))}, "integers .* not float32"),
        ({"lengths": jnp.array([1, 2])}, r"integers \[3\], one a prompt, not int32 of shape \(2,"),
        ({"lengths": jnp.array([1, 5, 2])}, "between 1 and 4, .* not 5"),
        ({"lengths": jnp.array([1, 0, 2])}, "between 1 and 4, .* not 0"),
        ({"new_tokens": 0}, "max_new_tokens must be at least 1, not 0"),
        ({"temperature": -1.0}, "temperature must be finite and not negative, not -1.0"),
        ({"top_k": 0}, "top_k must be at least 1, not 0"),
        ({"top_p": 1.5}, r"top_p must lie in \(0, 1\], not 1.5"),
    ],
)
def test_generation_refuses_what_does_not_fit(options, message):
    with pytest.raises(ValueError, match=message):
        generated_by(make(), run=lambda function: function, **options)


def test_modules_without_a_cache_are_refused():
    with pytest.raises(TypeError, match="MLP cannot be called token by token: it has no method"):
        from_decoder(jaxkd.models.MLP(4, (8,), 3, rngs=nnx.Rngs(0)))


# One token's logits, with a gap at each place where a filter may cut.
LOGITS = jnp.array([0.3, 2.0, -1.0, 1.4, 0.9, -2.0, 1.1, -0.2])


def exact(temperature=1.0, top_k=None, top_p=None):
    """The probabilities to sample from, one token after the other."""
    logits = np.asarray(LOGITS, np.float64) / temperature
    order = np.argsort(-logits)[:top_k]
    shares = np.exp(logits[order]) / np.exp(logits[order]).sum()
    if top_p is not None:
        top = 1 + np.searchsorted(np.cumsum(shares), top_p)
        order, shares = order[:top], shares[:top] / shares[:top].sum()
    result = np.zeros(len(logits))
    result[order] = shares
    return result


@pytest.mark.parametrize(
    ("options", "top"),
    [
        ({}, 8),
        ({"temperature": 0.5}, 8),
        ({"top_k": 3}, 3),
        ({"top_k": 100}, 8),
        ({"top_p": 0.8}, 4),
        ({"top_p": 1e-6}, 1),
        ({"top_p": 1.0}, 8),
        ({"temperature": 2.0, "top_k": 5, "top_p": 0.6}, 3),
    ],
)
def test_sampled_tokens_have_the_exact_renormalized_probabilities(options, top):
    count = 40_000
    logits = jnp.broadcast_to(LOGITS, (count, 8))
    run = jax.jit(functools.partial(sample, **options))
    tokens, log_probs = run(logits, key=jax.random.key(3))
    expected = exact(**options)
    assert (expected > 0).sum() == top
    found = np.bincount(tokens, minlength=8)
    assert not found[expected == 0].any()
    # Chi-square with up to 7 degrees of freedom: above 26 once in 2000 keys, and the key is fixed.
    inside = expected > 0
    statistic = np.sum((found - count * expected)[inside] ** 2 / (count * expected[inside]))
    assert statistic < 26
    np.testing.assert_allclose(log_probs, np.log(expected[tokens]), atol=1e-5)


def test_temperature_zero_takes_the_largest_and_is_certain():
    logits = jnp.stack([LOGITS, LOGITS[::-1], jnp.zeros(8)])
    for options in ({}, {"top_k": 4}, {"top_p": 0.5}):
        tokens, log_probs = sample(logits, temperature=0.0, key=jax.random.key(0), **options)
        np.testing.assert_array_equal(tokens, [1, 6, 0])
        np.testing.assert_array_equal(log_probs, 0)


def test_tokens_ruled_out_are_never_sampled():
    logits = jnp.broadcast_to(jnp.where(jnp.arange(8) < 2, LOGITS, -jnp.inf), (1000, 8))
    for options in ({}, {"top_k": 5}, {"top_p": 1.0}):
        tokens, log_probs = sample(logits, key=jax.random.key(0), **options)
        assert tokens.max() == 1
        assert np.isfinite(log_probs).all()


def test_samples_refuse_what_does_not_fit():
    with pytest.raises(ValueError, match=r"\[batch, vocab_size\], not \(8,\)"):
        sample(LOGITS, key=jax.random.key(0))
    with pytest.raises(ValueError, match=r"one for each of 2 rows, not \(3,\)"):
        sample(jnp.zeros((2, 8)), key=jax.random.split(jax.random.key(0), 3))
    with pytest.raises(ValueError, match=r"top_p must be a scalar, not of shape \(2,\)"):
        sample(jnp.zeros((2, 8)), top_p=jnp.ones(2), key=jax.random.key(0))
