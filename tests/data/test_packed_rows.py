"""Documents as rows: every token once, labels within a document, offsets beside them."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from jaxkd.data import pack, pad

DOCUMENTS = st.lists(st.lists(st.integers(1, 99), max_size=12), min_size=1, max_size=8).filter(any)


def rebuilt(rows):
    """The documents of packed rows, by what continues from one row to the next."""
    found, open_ = [], False
    for tokens, numbers, labels in zip(rows.tokens, rows.documents, rows.labels, strict=True):
        for place, (token, number) in enumerate(zip(tokens, numbers, strict=True)):
            if not number:
                continue
            begins = not open_ if place == 0 else number != numbers[place - 1]
            if begins:
                found.append([])
            found[-1].append(int(token))
            open_ = labels[place] >= 0
    return found


@given(DOCUMENTS, st.integers(1, 9), st.sampled_from([None, 100]))
def test_packing_keeps_every_token_once_and_every_label(documents, length, eos):
    rows = pack(documents, length, eos=eos)
    ended = [d + ([] if eos is None else [eos]) for d in documents]
    ended = [d for d in ended if d]
    assert rebuilt(rows) == ended
    assert rows.tokens.shape == rows.documents.shape == rows.labels.shape
    total = sum(map(len, ended))
    assert np.count_nonzero(rows.documents) == total and len(rows.tokens) == -(-total // length)
    assert rows.padding == pytest.approx(1 - total / rows.tokens.size)
    # In order, the label is the next token wherever the next token is of the same document.
    wanted = [label for d in ended for label in (*d[1:], -1)]
    assert rows.labels[rows.documents > 0].tolist() == wanted
    assert (rows.labels[rows.documents == 0] == -1).all()
    # Numbers begin with 1 in each row and rise by steps of one.
    for numbers in rows.documents:
        held = numbers[numbers > 0]
        assert held[0] == 1 and set(np.diff(held).tolist()) <= {0, 1}
        assert (numbers[len(held) :] == 0).all()


@given(DOCUMENTS, DOCUMENTS, st.integers(1, 6))
def test_documents_that_are_added_leave_full_rows_as_they_are(first, more, length):
    before, after = pack(first, length, eos=0), pack(first + more, length, eos=0)
    full = len(before.tokens) - 1
    np.testing.assert_array_equal(after.tokens[:full], before.tokens[:full])
    np.testing.assert_array_equal(after.labels[:full], before.labels[:full])
    np.testing.assert_array_equal(after.documents[:full], before.documents[:full])


def test_offsets_follow_their_tokens_and_the_end_has_no_width():
    documents = [[5, 6], [], [7]]
    offsets = [[[0, 3], [3, 4]], [], [[0, 2]]]
    rows = pack(documents, 4, eos=1, offsets=offsets)
    assert rows.tokens.tolist() == [[5, 6, 1, 1], [7, 1, 0, 0]]
    assert rows.documents.tolist() == [[1, 1, 1, 2], [1, 1, 0, 0]]
    assert rows.offsets.tolist() == [
        [[0, 3], [3, 4], [4, 4], [0, 0]],
        [[0, 2], [2, 2], [0, 0], [0, 0]],
    ]
    assert pack(documents, 4).offsets is None


@given(DOCUMENTS, st.integers(1, 9))
def test_padding_gives_each_document_its_row(documents, length):
    rows = pad(documents, length, eos=0)
    assert len(rows.tokens) == len(documents)
    for row, document in enumerate(documents):
        ended = [*document, 0]
        used = min(length, len(ended))
        assert rows.tokens[row, :used].tolist() == ended[:used]
        assert rows.documents[row].tolist() == [1] * used + [0] * (length - used)
        # The label of the last place is known even where its token was cut off.
        assert rows.labels[row].tolist() == (ended[1:] + [-1] * length)[:length]
    assert rows.dropped == sum(max(0, len(d) + 1 - length) for d in documents)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([[1]], 0), ValueError, "length must be at least 1, got 0"),
        (([], 4), ValueError, "there is no token in 0 documents"),
        (([[], []], 4), ValueError, "there is no token in 2 documents"),
        (([[1], [0.5]], 4), TypeError, "tokens of document 1 must be integers"),
        (([[[1, 2]]], 4), ValueError, r"document 0 must be \[tokens\], got the shape \(1, 2\)"),
    ],
)
@pytest.mark.parametrize("function", [pack, pad])
def test_what_is_no_document_is_refused(function, arguments, error, message):
    with pytest.raises(error, match=message):
        function(*arguments)


def test_offsets_of_something_else_are_refused():
    with pytest.raises(ValueError, match=r"document 0 has 2 tokens.*\(2, 2\), not \(1, 2\)"):
        pack([[1, 2]], 4, offsets=[[[0, 1]]])
    with pytest.raises(ValueError, match="1 documents with the offsets of 0"):
        pad([[1]], 4, offsets=[])
