"""Two tokenizers of the same texts: the labels of both that cover the same bytes."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from jaxkd.data._sequences import Sequences
from jaxkd.losses import align_by_bytes


class TokenAlignment(NamedTuple):
    """The chunk of each label, for `losses.chunk_log_probs`.

    The logits at a position predict the label there, so `chunks` and `labels` belong together:
    `chunk_log_probs(logits, labels, chunks, num_chunks=...)`.

    Attributes:
      student: int32 `[n, student_length]`, chunks of a row from 0 on; -1 for labels in none.
      teacher: int32 `[n, teacher_length]`.

    Example:
      >>> from jaxkd.data import Texts, Tokenizer
      >>> texts = Texts.from_texts(["the cat"], name="one", split="train")
      >>> small = texts.padded(Tokenizer.bytes(), 8)
      >>> aligned = align(small, small)  # of equal tokens each label is a chunk of its own
      >>> aligned.student.tolist() == aligned.teacher.tolist()
      True
    """

    student: npt.NDArray[np.int32]
    teacher: npt.NDArray[np.int32]


def align(student: Sequences, teacher: Sequences) -> TokenAlignment:
    """Groups the labels of two tokenizers into the shortest chunks of the same bytes.

    The k-th document of a row must be the same text on both sides, as `Texts.padded` lays them out;
    where one side cut a text off, the remaining text is in no chunk. The first token of a document
    is predicted by nothing, so the chunk that it is in is left out on both sides.

    Args:
      student: rows with next tokens and offsets.
      teacher: rows with the same ids, or more of them.

    Returns:
      Chunks of the student's rows, in their order.

    Raises:
      KeyError: an id of a student's row that the teacher's rows do not have.
      ValueError: rows without offsets, or of other documents.

    Example:
      >>> from jaxkd.data import Texts, Tokenizer
      >>> texts = Texts.from_texts(["the cat sat on the mat, the cat"], name="one", split="train")
      >>> small, large = Tokenizer.bytes(), Tokenizer.train(texts.texts, 270)
      >>> rows = texts.padded(large, 6), texts.padded(small, 16)
      >>> [large.decode([token]) for token in rows[0].tokens[0]]
      ['the', ' cat', ' ', 's', 'at', ' ']
      >>> aligned = align(*rows)
      >>> aligned.student.tolist(), aligned.teacher.tolist()
      ([[0, 1, 2, 3, 4, -1]],
       [[-1, -1, 0, 0, 0, 0, 1, 2, 3, 3, 4, -1, -1, -1, -1, -1]])
    """
    sides = student, teacher
    for name, rows in zip(("student", "teacher"), sides, strict=True):
        if rows.offsets is None or not rows.of_tokens:
            raise ValueError(
                f"the {name}'s rows ({rows}) need offsets and next tokens to be aligned: make them "
                "by Texts.padded, or give Sequences.from_arrays both"
            )
    matched = np.arange(len(student)), teacher.rows(student.ids)
    documents = [rows.documents[at] for rows, at in zip(sides, matched, strict=True)]
    offsets = [
        rows.offsets[at]
        for rows, at in zip(sides, matched, strict=True)
        if rows.offsets is not None
    ]
    _check_documents(student, *documents)
    chunks_of_tokens = [np.full(held.shape, -1, np.int32) for held in documents]
    reached = np.zeros(len(student), np.int32)  # chunks of each row so far
    for number in range(
        1, max((int(held.max()) for held in documents if held.size), default=0) + 1
    ):
        masks = [held == number for held in documents]
        _check_begins(student, number, offsets, masks)
        last = _last_common(offsets, masks)
        inside = [m & (o[..., 1] <= last[:, None]) for m, o in zip(masks, offsets, strict=True)]
        chunks = align_by_bytes(*offsets, student_where=inside[0], teacher_where=inside[1])
        for side, own in enumerate(chunks):
            chunks_of_tokens[side] = np.where(
                own >= 0, own + reached[:, None], chunks_of_tokens[side]
            )
        # Chunks of the next document are numbered on from the largest of both sides.
        largest = [c.max(axis=1, initial=-1) for c in chunks_of_tokens]
        reached = np.maximum.reduce(largest).astype(np.int32) + 1
    return TokenAlignment(*_of_labels(chunks_of_tokens, documents))


def _of_labels(chunks_of_tokens: list[np.ndarray], documents: list[np.ndarray]) -> list[np.ndarray]:
    """Chunks of tokens as chunks of labels, without those with a token that nothing predicts."""
    shifted = []
    predicted = []
    for chunks, held in zip(chunks_of_tokens, documents, strict=True):
        same = np.zeros(held.shape, bool)
        same[:, 1:] = held[:, 1:] == held[:, :-1]
        predicted.append(same)
        labels = np.full(chunks.shape, -1, np.int32)
        labels[:, :-1] = np.where(same[:, 1:], chunks[:, 1:], -1)
        shifted.append(labels)
    for row in range(len(chunks_of_tokens[0])):
        unpredicted = [
            chunks[row][~known[row] & (chunks[row] >= 0)]
            for chunks, known in zip(chunks_of_tokens, predicted, strict=True)
        ]
        kept = np.setdiff1d(shifted[0][row], np.concatenate([[-1], *unpredicted]))
        for labels in shifted:
            # Numbered anew without gaps, and the same on both sides.
            is_kept = np.isin(labels[row], kept)
            labels[row] = np.where(is_kept, np.searchsorted(kept, labels[row]), -1)
    return shifted


def _last_common(offsets: list[np.ndarray], masks: list[np.ndarray]) -> np.ndarray:
    """The last byte of each row at which both sides end a token; -1 where there is none."""
    last = np.full(len(masks[0]), -1, np.int64)
    for row in range(len(last)):
        ends = [o[row, m[row], 1] for o, m in zip(offsets, masks, strict=True)]
        last[row] = max(np.intersect1d(*ends), default=-1)
    return last


def _check_documents(student: Sequences, ours: np.ndarray, theirs: np.ndarray) -> None:
    counts = [held.max(axis=1, initial=0) for held in (ours, theirs)]
    if (other := np.flatnonzero(counts[0] != counts[1])).size:
        raise ValueError(
            f"{other.size} rows hold other documents on the two sides, the row of id "
            f"{student.ids[other[0]]} has {counts[0][other[0]]} of the student's and "
            f"{counts[1][other[0]]} of the teacher's: lay out both by Texts.padded"
        )


def _check_begins(
    student: Sequences, number: int, offsets: list[np.ndarray], masks: list[np.ndarray]
) -> None:
    held = masks[0].any(axis=1)
    begins = [
        np.where(held, o[np.arange(len(o)), m.argmax(axis=1), 0], 0)
        for o, m in zip(offsets, masks, strict=True)
    ]
    if (other := np.flatnonzero(begins[0] != begins[1])).size:
        row = other[0]
        raise ValueError(
            f"document {number} of the row of id {student.ids[row]} begins at byte "
            f"{begins[0][row]} for the student and at byte {begins[1][row]} for the teacher: rows "
            "that were packed by two tokenizers do not correspond, lay out both by Texts.padded"
        )
