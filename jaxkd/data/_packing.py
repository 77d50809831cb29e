"""Documents of tokens as rows of one length: packed without waste, or one document a row."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import integers


class PackedRows(NamedTuple):
    """Rows of tokens, as `Sequences.from_arrays` takes them.

    Attributes:
      tokens: int32 `[n, length]`; 0 where there is padding.
      documents: int32 `[n, length]`: 1, 2, ... number the documents of a row, 0 is padding.
      labels: int32 `[n, length]`, the next token of the same document; -1 where there is none.
      offsets: int32 `[n, length, 2]`, where each token begins and ends in its document's text; None
        if none were given.
      dropped: number of tokens for which there was no position.

    Example:
      >>> rows = pack([[5, 6, 7], [8, 9]], 4, eos=1)
      >>> rows.tokens.shape, rows.dropped, rows.padding
      ((2, 4), 0, 0.125)
    """

    tokens: npt.NDArray[np.int32]
    documents: npt.NDArray[np.int32]
    labels: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32] | None
    dropped: int

    @property
    def padding(self) -> float:
        """The share of the positions that hold no token."""
        return padding_share(self.documents)


def padding_share(documents: np.ndarray) -> float:
    """Returns the share of the positions that hold no token, which no document has a number for."""
    return float(np.mean(documents == 0)) if documents.size else 0.0


def next_tokens(tokens: np.ndarray, documents: np.ndarray) -> npt.NDArray[np.int32]:
    """Returns the next token of the same document and row.

    Args:
      tokens: integers `[n, length]`.
      documents: integers `[n, length]`, 0 for padding.

    Returns:
      int32 `[n, length]`, -1 where there is none.
    """
    labels = np.full(tokens.shape, -1, np.int32)
    same = (documents[:, 1:] == documents[:, :-1]) & (documents[:, 1:] > 0)
    labels[:, :-1] = np.where(same, tokens[:, 1:], -1)
    return labels


def pack(
    documents: Sequence[npt.ArrayLike],
    length: int,
    *,
    eos: int | None = None,
    offsets: Sequence[npt.ArrayLike] | None = None,
) -> PackedRows:
    """Lays documents one after the other into rows, for language models.

    All in order: a row that is full is followed by the next one, which goes on with the same
    document. Only the end of the last row is padding, row k depends on the first
    `(k + 1) * length` tokens and the one after them, and documents that are added at the end leave
    all full rows as they are. The last token of a row has the first of the next as its label where
    the document goes on. A document that continues in another row is read there without its
    beginning: choose rows longer than most documents where that matters.

    Args:
      documents: integers `[tokens]` each.
      length: length of a row.
      eos: token appended to every document, with no width in the text.
      offsets: integers `[tokens, 2]` for each document.

    Returns:
      The rows; `dropped` is 0.

    Raises:
      TypeError: tokens or offsets that are not integers.
      ValueError: a length below 1, no token at all, a document that is not one array of tokens,
        offsets that do not fit.

    Example:
      >>> rows = pack([[5, 6, 7], [8, 9]], 4, eos=1)
      >>> rows.tokens.tolist()
      [[5, 6, 7, 1], [8, 9, 1, 0]]
      >>> rows.labels.tolist(), rows.documents.tolist(), rows.padding
      ([[6, 7, 1, -1], [9, 1, -1, -1]], [[1, 1, 1, 1], [1, 1, 1, 0]], 0.125)
    """
    tokens, spans = _checked(documents, length, eos, offsets)
    stream = np.concatenate(tokens)
    owner = np.repeat(np.arange(len(tokens)), [len(t) for t in tokens])
    following = np.append(stream[1:], -1)
    labels = np.where(owner == np.append(owner[1:], -1), following, -1)
    empty = -len(stream) % length

    def rows(values: np.ndarray, fill: int) -> np.ndarray:
        padded = np.pad(values, [(0, empty), *[(0, 0)] * (values.ndim - 1)], constant_values=fill)
        return padded.reshape(-1, length, *values.shape[1:])

    owners = rows(owner, -1)
    begins = owners[:, 1:] != owners[:, :-1]
    numbers = 1 + np.pad(np.cumsum(begins, axis=1), [(0, 0), (1, 0)])
    return PackedRows(
        rows(stream, 0),
        np.where(owners < 0, 0, numbers).astype(np.int32),
        rows(labels, -1).astype(np.int32),
        None if spans is None else rows(np.concatenate(spans), 0),
        0,
    )


def pad(
    documents: Sequence[npt.ArrayLike],
    length: int,
    *,
    eos: int | None = None,
    offsets: Sequence[npt.ArrayLike] | None = None,
) -> PackedRows:
    """Gives every document a row of its own, cut off or filled up: for whole texts.

    For classes and embeddings of texts, and for two tokenizers of the same texts, whose rows then
    correspond.

    Args:
      documents: integers `[tokens]` each.
      length: length of a row; what does not fit is dropped.
      eos: token appended to every document, unless the document is cut off.
      offsets: integers `[tokens, 2]` for each document.

    Returns:
      The rows, one for each document, an empty one too.

    Raises:
      TypeError: tokens or offsets that are not integers.
      ValueError: as of `pack`.

    Example:
      >>> rows = pad([[5, 6, 7], [8]], 2, eos=1)
      >>> rows.tokens.tolist(), rows.labels.tolist(), rows.dropped
      ([[5, 6], [8, 1]], [[6, 7], [1, -1]], 2)
    """
    tokens, spans = _checked(documents, length, eos, offsets)
    rows = PackedRows(
        np.zeros((len(tokens), length), np.int32),
        np.zeros((len(tokens), length), np.int32),
        np.full((len(tokens), length), -1, np.int32),
        None if spans is None else np.zeros((len(tokens), length, 2), np.int32),
        sum(max(0, len(t) - length) for t in tokens),
    )
    for row, document in enumerate(tokens):
        kept, known = document[:length], document[1 : length + 1]
        rows.tokens[row, : len(kept)] = kept
        rows.documents[row, : len(kept)] = 1
        rows.labels[row, : len(known)] = known
        if spans is not None and rows.offsets is not None:
            rows.offsets[row, : len(kept)] = spans[row][:length]
    return rows


def _checked(
    documents: Sequence[npt.ArrayLike],
    length: int,
    eos: int | None,
    offsets: Sequence[npt.ArrayLike] | None,
) -> tuple[list[np.ndarray], list[np.ndarray] | None]:
    """Documents and offsets as int32 arrays, the end of each appended."""
    if length < 1:
        raise ValueError(f"length must be at least 1, got {length}")
    if offsets is not None and len(offsets) != len(documents):
        raise ValueError(f"{len(documents)} documents with the offsets of {len(offsets)}")
    tokens: list[np.ndarray] = []
    checked_spans: list[np.ndarray] = []
    for index, document in enumerate(documents):
        ids = integers(document, f"the tokens of document {index}").astype(np.int32)
        if ids.ndim != 1:
            raise ValueError(f"document {index} must be [tokens], got the shape {ids.shape}")
        if offsets is not None:
            spans = integers(offsets[index], f"the offsets of document {index}").astype(np.int32)
            spans = spans.reshape(0, 2) if not spans.size else spans
            if spans.shape != (len(ids), 2):
                raise ValueError(
                    f"document {index} has {len(ids)} tokens, its offsets must be "
                    f"{(len(ids), 2)}, not {spans.shape}"
                )
            if eos is not None:
                end = spans[-1, 1] if len(spans) else 0
                spans = np.concatenate([spans, np.full((1, 2), end, np.int32)])
            checked_spans.append(spans)
        tokens.append(ids if eos is None else np.append(ids, np.int32(eos)))
    if not any(len(ids) for ids in tokens):
        raise ValueError(f"there is no token in {len(tokens)} documents")
    return tokens, None if offsets is None else checked_spans
