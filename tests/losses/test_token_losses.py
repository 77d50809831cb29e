"""Losses on tokens: masks, padding, parts of a batch, what they equal, what they refuse."""

import functools

import chex
import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from contract import ON_TOKENS
from contract_calls import QUICK
from hypothesis import strategies as st

from jaxkd import losses

BATCH, TOKENS, CLASSES, HEADS, WIDTH = 4, 5, 6, 2, 4
LENGTHS = np.array([5, 3, 1, 4])
WHERE = np.arange(TOKENS) < LENGTHS[:, None]

# What a loss takes: logits, hidden states, scores or vectors of heads, beside labels or nothing.
LOGITS, STATES, SCORES, VECTORS = "logits", "states", "scores", "vectors"
SAMPLED = functools.partial(losses.minillm_long, whitened=False)
LOSSES = {
    "kl_divergence": (losses.kl_divergence, LOGITS),
    "reverse_kl_divergence": (losses.reverse_kl_divergence, LOGITS),
    "symmetric_kl_divergence": (losses.symmetric_kl_divergence, LOGITS),
    "js_divergence": (losses.js_divergence, LOGITS),
    "total_variation": (losses.total_variation, LOGITS),
    "skew_kl_divergence": (losses.skew_kl_divergence, LOGITS),
    "skew_reverse_kl_divergence": (losses.skew_reverse_kl_divergence, LOGITS),
    "adaptive_kl": (losses.adaptive_kl, LOGITS),
    "kd": (losses.kd, LOGITS),
    "uld": (losses.uld, LOGITS),
    "hidden_mse": (losses.hidden_mse, STATES),
    "hidden_cosine": (losses.hidden_cosine, STATES),
    "attention_mse": (losses.attention_mse, SCORES),
    "attention_kl": (losses.attention_kl, SCORES),
    "relation_kl": (functools.partial(losses.relation_kl, relation_heads=4), VECTORS),
    "sampled_reverse_kl": (losses.sampled_reverse_kl, "labeled"),
    "minillm_long": (losses.minillm_long, "labeled"),
    "minillm_long, not whitened": (SAMPLED, "labeled"),
}
COUPLED = {"minillm_long"}
every_loss = pytest.mark.parametrize("name", LOSSES)


def test_every_token_loss_is_here():
    assert set(ON_TOKENS) <= set(LOSSES)


def arguments(kind, seed=0, tokens=TOKENS, batch=BATCH):
    """Student, teacher and further arguments."""
    generator = np.random.default_rng(seed)
    shape = {
        STATES: (batch, tokens, WIDTH),
        SCORES: (batch, HEADS, tokens, tokens),
        VECTORS: (batch, HEADS, tokens, WIDTH),
    }.get(kind, (batch, tokens, CLASSES))
    student, teacher = generator.normal(size=(2, *shape)).astype(np.float32)
    labels = generator.integers(0, CLASSES, (batch, tokens)).astype(np.int32)
    return student, teacher, ((labels,) if kind == "labeled" else ())


def token_axes(kind):
    return {SCORES: (2, 3), VECTORS: (2,)}.get(kind, (1,))


def padded(array, axes, more, filler):
    """The array with more tokens of one value behind."""
    padding = [(0, more if axis in axes else 0) for axis in range(array.ndim)]
    return np.pad(array, padding, constant_values=np.asarray(filler, array.dtype))


@functools.cache
def evaluator(name):
    """Values, the sum over tokens, and its gradient to both sides; compiled."""
    loss, _ = LOSSES[name]

    def total(student, teacher, others, where):
        values = loss(student, teacher, *others, where=where)
        return losses.masked_sum_and_count(values, where)[0], values

    return jax.jit(jax.value_and_grad(total, (0, 1), has_aux=True), compiler_options=QUICK)


@every_loss
def test_one_number_a_token_and_none_where_there_is_no_token(name):
    student, teacher, others = arguments(LOSSES[name][1])
    (_, values), (gradient, to_teacher) = evaluator(name)(student, teacher, others, WHERE)
    chex.assert_shape(values, (BATCH, TOKENS))
    chex.assert_type([values, gradient], jnp.float32)
    np.testing.assert_array_equal(values[~WHERE], 0)
    np.testing.assert_array_equal(to_teacher, 0)
    assert np.max(np.abs(gradient)) > 1e-4


@every_loss
@hypothesis.given(filler=st.sampled_from([0.0, np.nan, np.inf, -np.inf]))
@hypothesis.settings(max_examples=4, deadline=None)
def test_padding_changes_nothing(name, filler):
    more = 3
    kind = LOSSES[name][1]
    student, teacher, others = arguments(kind)
    short = evaluator(name)(student, teacher, others, WHERE)
    axes = token_axes(kind)
    long = evaluator(name)(
        padded(student, axes, more, filler),
        padded(teacher, axes, more, filler),
        tuple(padded(array, (1,), more, 0) for array in others),
        padded(WHERE, (1,), more, False),
    )

    def cut(array):
        index = tuple(slice(0, TOKENS if axis in axes else None) for axis in range(np.ndim(array)))
        return array[index]

    (total, values), (gradient, _) = short
    (long_total, long_values), (long_gradient, _) = long
    np.testing.assert_allclose(long_total, total, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(long_values[:, :TOKENS], values, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(cut(long_gradient), gradient, rtol=1e-5, atol=1e-6)
    assert np.all(np.isfinite(long_gradient))
    np.testing.assert_array_equal(long_values[:, TOKENS:], 0)
    assert np.sum(np.abs(long_gradient)) == pytest.approx(np.sum(np.abs(gradient)), rel=1e-5)


@pytest.mark.parametrize("name", [name for name in LOSSES if name not in COUPLED])
def test_parts_of_a_batch_add_up(name):
    student, teacher, others = arguments(LOSSES[name][1])
    (total, values), (gradient, _) = evaluator(name)(student, teacher, others, WHERE)
    parts = [
        evaluator(name)(*jax.tree.map(lambda x, p=part: x[p], (student, teacher, others, WHERE)))
        for part in (slice(0, 2), slice(2, 4))
    ]
    np.testing.assert_allclose(sum(part[0][0] for part in parts), total, rtol=1e-5, atol=1e-6)
    both = np.concatenate([part[1][0] for part in parts])
    np.testing.assert_allclose(both, gradient, rtol=1e-5, atol=1e-6)


@every_loss
def test_nothing_is_learned_from_oneself(name):
    student, _, others = arguments(LOSSES[name][1])
    (_, values), (gradient, _) = evaluator(name)(student, student, others, WHERE)
    np.testing.assert_allclose(values, 0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


@pytest.mark.parametrize("name", ["attention_kl", "attention_mse", "relation_kl"])
def test_no_gradient_reaches_the_teacher(name):
    loss, kind = LOSSES[name]
    student, teacher, others = arguments(kind)

    def total(teacher):
        return jnp.sum(loss(student, teacher, *others))

    np.testing.assert_array_equal(jax.jit(jax.grad(total), compiler_options=QUICK)(teacher), 0)


def softmax(scores):
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("relation_heads", [None, 1, 4, 8])
def test_relations_are_those_of_the_paper(relation_heads):
    """One row and head at a time, without any mask: the rows are cut to their tokens."""
    generator = np.random.default_rng(3)
    teacher_heads = HEADS if relation_heads is None else 4
    student = generator.normal(size=(BATCH, HEADS, TOKENS, 4))
    teacher = generator.normal(size=(BATCH, teacher_heads, TOKENS, 6))
    cut = {} if relation_heads is None else {"relation_heads": relation_heads}
    loss = functools.partial(losses.relation_kl, **cut)
    with jax.enable_x64(True):
        actual = jax.jit(loss, compiler_options=QUICK)(student, teacher, where=WHERE)
        assert actual.dtype == jnp.float64
    expected = np.zeros((BATCH, TOKENS))
    for row, length in enumerate(LENGTHS):
        relations = []
        for side in (student, teacher):
            tokens = np.einsum("htd->thd", side[row, :, :length])
            tokens = tokens.reshape(length, relation_heads or side.shape[1], -1)
            scores = np.einsum("qhd,khd->hqk", tokens, tokens) / np.sqrt(tokens.shape[-1])
            relations.append(softmax(scores))
        q, p = relations
        expected[row, :length] = np.sum(p * np.log(p / q), axis=-1).mean(axis=0)
    np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-12)


def test_attention_losses_are_those_of_the_papers():
    student, teacher, _ = arguments(SCORES, seed=4)
    squares, divergence = np.zeros((2, BATCH, TOKENS))
    for row, length in enumerate(LENGTHS):
        q, p = (side[row, :, :length, :length].astype(np.float64) for side in (student, teacher))
        squares[row, :length] = np.square(q - p).mean(axis=(0, 2))
        q, p = softmax(q), softmax(p)
        divergence[row, :length] = np.sum(p * np.log(p / q), axis=-1).mean(axis=0)
    actual = jax.jit(losses.attention_mse)(student, teacher, where=WHERE)
    np.testing.assert_allclose(actual, squares, rtol=1e-5, atol=1e-6)
    actual = jax.jit(losses.attention_kl)(student, teacher, where=WHERE)
    np.testing.assert_allclose(actual, divergence, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("masked", [-np.inf, np.finfo(np.float32).min, -10_000.0])
@pytest.mark.parametrize("loss", [losses.attention_mse, losses.attention_kl])
def test_scores_that_a_network_has_masked_take_no_part(loss, masked):
    student, teacher, _ = arguments(SCORES)
    pairs = np.tril(np.ones((TOKENS, TOKENS), bool))
    causal = np.broadcast_to(pairs, (BATCH, TOKENS, TOKENS))
    expected = jax.jit(loss, compiler_options=QUICK)(student, teacher, where=causal)
    hidden = [np.where(pairs, side, masked).astype(np.float32) for side in (student, teacher)]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def call(student, teacher):
        values, back = jax.vjp(lambda q: loss(q, teacher), student)
        return values, back(jnp.ones_like(values))[0]

    values, gradient = call(*hidden)
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    assert np.all(np.isfinite(gradient))
    np.testing.assert_array_equal(gradient[:, :, ~pairs], 0)


def test_documents_in_one_row_do_not_see_each_other():
    """A row of two documents is two rows of one."""
    student, teacher, _ = arguments(VECTORS, batch=1)
    documents = np.array([[1, 1, 1, 2, 2]])
    pairs = documents[:, :, None] == documents[:, None, :]
    loss = jax.jit(losses.relation_kl, compiler_options=QUICK)
    together = loss(student, teacher, where=pairs)
    parts = [loss(student[:, :, s], teacher[:, :, s]) for s in (slice(0, 3), slice(3, 5))]
    np.testing.assert_allclose(together, np.concatenate(parts, axis=1), rtol=1e-5, atol=1e-6)


def test_a_sampled_token_gives_the_divergence_in_the_mean():
    student, teacher, _ = arguments(LOGITS, batch=1, tokens=3)
    every = np.stack(np.meshgrid(*[np.arange(CLASSES)] * 3, indexing="ij"), -1).reshape(-1, 1, 3)
    log_q = jax.nn.log_softmax(student)[0]
    chances = np.exp(sum(np.asarray(log_q)[t, every[:, 0, t]] for t in range(3)))

    def expected(student):
        each = jax.vmap(lambda y: losses.sampled_reverse_kl(student, teacher, y)[0])(every)
        return jnp.sum(chances[:, None] * each, axis=0)

    def exact(student):
        return losses.reverse_kl_divergence(student, teacher)[0]

    @functools.partial(jax.jit, compiler_options=QUICK)
    def both(student):
        return [(f(student), jax.jacobian(f)(student)) for f in (expected, exact)]

    chex.assert_trees_all_close(*both(student), rtol=1e-4, atol=1e-5)


def test_both_parts_of_minillm_are_the_gradient_of_the_whole_response():
    """Single step and long part, undiscounted and summed, over all responses of a Markov chain."""
    classes, tokens = 3, 3
    generator = np.random.default_rng(5)
    student, teacher = generator.normal(size=(2, tokens, classes, classes)).astype(np.float32)
    every = np.stack(np.meshgrid(*[np.arange(classes)] * tokens, indexing="ij"), -1)
    every = every.reshape(-1, tokens)
    before = np.pad(every, ((0, 0), (1, 0)))[:, :-1]

    def of_responses(parameters):
        """Logits `[responses, tokens, classes]`, each given the token before."""
        return parameters[np.arange(tokens), before]

    def log_probs(parameters):
        logits = jax.nn.log_softmax(of_responses(parameters))
        return jnp.take_along_axis(logits, every[..., None], -1)[..., 0]

    def whole(parameters):
        log_q, log_p = log_probs(parameters).sum(-1), log_probs(teacher).sum(-1)
        return jnp.sum(jnp.exp(log_q) * (log_q - log_p))

    # The long part divides a return by the number of tokens that it spans.
    spans = np.array([tokens - 1 - t if t < tokens - 1 else 1 for t in range(tokens)])

    def parts(parameters):
        q, p = of_responses(parameters), of_responses(jnp.asarray(teacher))
        chances = jax.lax.stop_gradient(jnp.exp(log_probs(parameters).sum(-1)))
        single = losses.reverse_kl_divergence(q, p)
        long = losses.minillm_long(q, p, every, discount=1.0, whitened=False)
        return jnp.sum(chances[:, None] * (single + spans * long))

    gradients = [jax.jit(jax.grad(f), compiler_options=QUICK)(student) for f in (parts, whole)]
    np.testing.assert_allclose(*gradients, atol=1e-5)


def test_what_does_not_fit_is_refused():
    states, scores, vectors = (arguments(kind)[0] for kind in (STATES, SCORES, VECTORS))
    logits, _, (labels,) = arguments("labeled")
    with pytest.raises(ValueError, match=r"\(4, 5, 4\) and teacher \(4, 5, 3\): put a connector"):
        losses.hidden_mse(states, states[..., :3])
    with pytest.raises(ValueError, match=r"\(4, 2, 5, 5\) and teacher \(4, 1, 5, 5\)"):
        losses.attention_kl(scores, scores[:, :1])
    with pytest.raises(ValueError, match=r"\[batch, heads, tokens, tokens\]"):
        losses.attention_mse(vectors, vectors)
    with pytest.raises(ValueError, match="2 and 1 heads.*relation_heads, a divisor"):
        losses.relation_kl(vectors, vectors[:, :1])
    with pytest.raises(ValueError, match="student's 2 heads of 4 are 8 wide, which relation_heads"):
        losses.relation_kl(vectors, vectors, relation_heads=3)
    with pytest.raises(ValueError, match="same tokens"):
        losses.relation_kl(vectors, vectors[:, :, :2])
    with pytest.raises(ValueError, match=r"\(4, 3\) does not broadcast to the tokens.*\(4, 5\)"):
        losses.relation_kl(vectors, vectors, where=WHERE[:, :3])
    with pytest.raises(ValueError, match="pairs of tokens"):
        losses.attention_kl(scores, scores, where=np.ones((BATCH, TOKENS, 3), bool))
    with pytest.raises(ValueError, match="boolean"):
        losses.attention_kl(scores, scores, where=WHERE.astype(np.float32))
    with pytest.raises(ValueError, match="of one shape, got student"):
        losses.sampled_reverse_kl(logits, logits[..., :3], labels)
