import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from jaxkd import losses

LENGTHS = st.lists(st.integers(1, 3), min_size=1, max_size=8)


def spans(lengths):
    ends = np.cumsum(lengths)
    return np.stack([ends - lengths, ends], axis=1)[None]


@hypothesis.given(LENGTHS, LENGTHS)
def test_chunks_end_where_both_sides_do(student, teacher):
    sides = spans(student), spans(teacher)
    chunks = losses.align_by_bytes(*sides)
    common = np.intersect1d(sides[0][0, :, 1], sides[1][0, :, 1])
    for side, numbers in zip(sides, chunks, strict=True):
        last = max(chunk[0].max() for chunk in chunks)
        ends = [side[0][numbers[0] == chunk].max() for chunk in range(last + 1)]
        np.testing.assert_array_equal(ends[: len(common)], common)
        # Tokens after the last common end are one more chunk if both sides have some.
        remainder = all(s[0, -1, 1] > max([0, *common]) for s in sides)
        assert last + 1 == len(common) + remainder
        assert np.all(np.diff(numbers[0][numbers[0] >= 0]) <= 1)


def test_tokens_outside_the_text_are_in_no_chunk():
    student = np.array([[[0, 0], [0, 2], [2, 3], [3, 3]]])
    teacher = np.array([[[9, 9], [0, 0], [0, 1], [1, 3]]])
    chunks = losses.align_by_bytes(
        student,
        teacher,
        student_where=np.array([[False, True, True, True]]),
        teacher_where=np.array([[False, False, True, True]]),
    )
    # The student's last token, of no width, stands alone at the end.
    np.testing.assert_array_equal(chunks[0], [[-1, 0, 0, -1]])
    np.testing.assert_array_equal(chunks[1], [[-1, -1, 0, 0]])


def test_positions_count_from_the_first_selected_token():
    student = np.array([[0, 0, 1, 1, 1], [1, 0, 1, 1, 1], [0, 0, 0, 0, 0]], bool)
    teacher = np.array([[1, 1, 0, 1], [0, 1, 1, 1], [1, 1, 1, 1]], bool)
    chunks = losses.align_by_position(student, teacher)
    np.testing.assert_array_equal(
        chunks[0], [[-1, -1, 0, 1, -1], [0, -1, 2, -1, -1], [-1, -1, -1, -1, -1]]
    )
    np.testing.assert_array_equal(chunks[1], [[0, 1, -1, -1], [-1, 0, -1, 2], [-1, -1, -1, -1]])


@pytest.fixture
def tokens():
    """Logits, ids and chunks of a row: one token alone, a chunk of three, one in none."""
    logits = np.random.default_rng(0).normal(size=(1, 5, 4)).astype(np.float32)
    return logits, np.array([[3, 1, 0, 2, 1]]), np.array([[0, 1, 1, 1, -1]])


@pytest.mark.parametrize(("keep", "place"), [("first", 1), ("last", 3)])
def test_a_chunk_is_one_distribution_times_the_other_tokens(tokens, keep, place):
    logits, ids, chunks = tokens
    log_probs, present = losses.chunk_log_probs(
        logits, ids, chunks, num_chunks=3, keep=keep, temperature=2.0
    )
    probs = np.exp(logits[0] / 2) / np.exp(logits[0] / 2).sum(-1, keepdims=True)
    others = np.prod([probs[t, ids[0, t]] for t in (1, 2, 3) if t != place])
    np.testing.assert_array_equal(present, [[True, True, False]])
    np.testing.assert_allclose(np.exp(log_probs[0, 0]), probs[0], rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs[0, 1]), probs[place] * others, rtol=1e-5)
    np.testing.assert_allclose(np.exp(log_probs[0, 2]), 0.25, rtol=1e-5)


def test_the_last_position_has_the_probability_of_the_chunk(tokens):
    logits, ids, chunks = tokens
    log_probs, _ = losses.chunk_log_probs(logits, ids, chunks, num_chunks=2)
    each = -losses.cross_entropy(logits, ids)
    np.testing.assert_allclose(log_probs[0, 1, ids[0, 3]], jnp.sum(each[0, 1:4]), rtol=1e-5)


def test_a_bad_prediction_counts_with_the_floor():
    logits = jnp.array([[[0.0, -jnp.inf], [0.0, 0.0], [jnp.nan, jnp.nan]]])
    ids, chunks = np.array([[1, 0, 7]]), np.array([[0, 0, -1]])

    def chunk(logits, floor=1e-8):
        return losses.chunk_log_probs(logits, ids, chunks, num_chunks=1, floor=floor)[0]

    np.testing.assert_allclose(np.exp(chunk(logits)), np.full((1, 1, 2), 0.5e-8), rtol=1e-5)
    np.testing.assert_array_equal(chunk(logits, floor=0.0), np.full((1, 1, 2), -np.inf))
    gradient = jax.grad(lambda x: jnp.sum(chunk(x)[..., 0]))(logits)
    assert np.all(np.isfinite(gradient))


def test_refuses_what_does_not_fit(tokens):
    logits, ids, chunks = tokens
    with pytest.raises(ValueError, match="must not decrease"):
        losses.align_by_bytes(np.array([[[0, 3], [0, 2]]]), np.array([[[0, 3]]]))
    with pytest.raises(ValueError, match="one batch size"):
        losses.align_by_bytes(np.zeros((1, 2, 2), int), np.zeros((2, 2, 2), int))
    with pytest.raises(ValueError, match="mask"):
        losses.align_by_bytes(*[np.zeros((1, 2, 2), int)] * 2, student_where=np.ones((1, 3), bool))
    with pytest.raises(ValueError, match="keep"):
        losses.chunk_log_probs(logits, ids, chunks, num_chunks=2, keep="best")
    with pytest.raises(ValueError, match="num_chunks"):
        losses.chunk_log_probs(logits, ids, chunks, num_chunks=0)
    with pytest.raises(ValueError, match="floor"):
        losses.chunk_log_probs(logits, ids, chunks, num_chunks=2, floor=-1.0)
    with pytest.raises(ValueError, match="must be integers"):
        losses.chunk_log_probs(logits, ids, chunks * 1.0, num_chunks=2)
    with pytest.raises(ValueError, match=r"\(1, 4\)"):
        losses.chunk_log_probs(logits, ids[:, 1:], chunks, num_chunks=2)
