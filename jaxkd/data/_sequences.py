"""Rows of tokens, with the documents that they are made of."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt

from jaxkd.data._digests import hash_arrays, row_digests
from jaxkd.data._examples import Examples, integer, integers, refuse
from jaxkd.data._fields import map_arrays, read_only, take
from jaxkd.data._labels import (
    check_fields,
    classes_of,
    describe_labels,
    has_token_labels,
)
from jaxkd.data._packing import PackedRows, next_tokens, padding_share


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sequences(Examples):
    """Rows of tokens of one length in memory, each named by a stable integer `example_id`.

    Everything that takes a `Dataset` takes `Sequences` as well: loaders, evaluation, caches. An
    example is int32 `[length, 2]`, a token and the number of its document in each position: 1, 2,
    ... count the documents of a row, 0 is padding. Networks keep attention within a document and
    count positions anew in each.

    Labels are the next tokens, `[n, length]`, or those of whole rows, of every kind that a
    `Dataset` has. With the former a batch carries `"where"` `[batch, length]`, False where there is
    no next token, so that padding never enters a mean; what a cache stores there is zero where the
    row holds nothing.

    Build them with `Sequences.from_arrays`, `Sequences.from_packed`, or from `Texts`.

    Attributes:
      name: name of the data set.
      version: its version.
      split: name of the split.
      ids: int32 `[n]`, unique, ascending.
      tokens: int32 `[n, length]` in `[0, vocab_size)`.
      documents: int32 `[n, length]`; 0 is padding, at the end of a row.
      labels: int32, the next token `[n, length]`, -1 where there is none, or labels of whole rows.
      num_classes: size of the vocabulary, or number of classes as of a `Dataset`.
      vocab_size: size of the vocabulary, without the padding of any network's.
      tokenizer: fingerprint of what made the tokens.
      offsets: int32 `[n, length, 2]`, the first byte of each token in its document's text and the
        one after its last; None if they are not known.
      class_names: one name a class, or empty.

    Example:
      >>> import jaxkd
      >>> from jaxkd.data import Sequences, pack
      >>> rows = Sequences.from_packed(
      ...     pack([[5, 6, 7], [8, 9]], 4), name="two", split="train", vocab_size=10,
      ...     tokenizer="by hand")
      >>> rows
      Sequences('two' 1, split 'train': 2 rows of 4 tokens of 10, 3 next tokens, 37.5% padding)
      >>> rows.read([0])[0].tolist(), rows.labels[0].tolist()
      ([[5, 1], [6, 1], [7, 1], [8, 2]], [6, 7, -1, 9])
      >>> jaxkd.data.Loader(rows, jaxkd.Views(), 2)[0]["where"].sum()
      np.int64(3)
    """

    name: str
    version: str
    split: str
    ids: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int32]
    documents: npt.NDArray[np.int32]
    labels: Any
    num_classes: Any
    vocab_size: int
    tokenizer: str
    offsets: npt.NDArray[np.int32] | None = None
    class_names: Any = ()
    _by_example: ClassVar[tuple[str, ...]] = ("ids", "tokens", "documents", "labels", "offsets")
    # Not an argument, as in `Dataset`.
    _source_fingerprint: str | None = dataclasses.field(default=None, init=False)

    def __post_init__(self) -> None:
        for field in self._by_example:
            array = getattr(self, field)
            if array is None:
                continue
            if field == "labels":
                object.__setattr__(self, field, map_arrays(read_only, array))
                continue
            if len(array) != len(self.ids) or array.dtype != np.int32:
                raise ValueError(
                    f"{field} must be int32 and one for each of {len(self.ids)} ids, got "
                    f"{array.dtype}{list(array.shape)}: build with Sequences.from_arrays"
                )
            object.__setattr__(self, field, read_only(array))

    @classmethod
    def from_arrays(
        cls,
        tokens: npt.ArrayLike,
        documents: npt.ArrayLike | None = None,
        labels: Any = None,
        *,
        name: str,
        version: str = "1",
        split: str,
        vocab_size: int,
        tokenizer: str,
        num_classes: int | Mapping[str, int | None] | None = None,
        offsets: npt.ArrayLike | None = None,
        ids: npt.ArrayLike | None = None,
        class_names: tuple[str, ...] | Mapping[str, tuple[str, ...]] = (),
    ) -> Self:
        """Checks arrays and sorts them by id.

        Args:
          tokens: integers `[n, length]` in `[0, vocab_size)`.
          documents: integers `[n, length]`: the number of each token's document in its row, from 1
            in ascending order; 0 is padding, at the end of a row. None: each row is one document.
          labels: integers, the next tokens `[n, length]`, -1 where there is none, or labels of
            rows as of `Dataset.from_arrays`: classes, 0 or 1 for each, values, or sets by name.
            None: the next token of the same document in the same row. All -1, without
            `num_classes`: rows without labels.
          name: name of the data set.
          version: its version.
          split: name of the split.
          vocab_size: number of tokens in the vocabulary.
          tokenizer: fingerprint of the tokenizer, `Tokenizer.fingerprint` or any text that names
            it: a cache refuses another.
          num_classes: number of classes of whole rows; None where labels are tokens or values.
          offsets: integers `[n, length, 2]`, first byte and the one after the last of each token in
            the text of its document.
          ids: unique integers `[n]` in `[0, 2**31)`. None: `0..n-1`.
          class_names: one name a class, or empty; by name where labels are.

        Returns:
          The rows, in ascending order of ids.

        Raises:
          TypeError: arrays that are not integers.
          ValueError: shapes that do not fit, tokens, labels or ids out of range, documents that are
            not in order, an empty tokenizer fingerprint.
        """
        tokens = integers(tokens, "tokens")
        if tokens.ndim != 2 or not tokens.shape[1]:
            raise ValueError(f"tokens must be [n, length], got the shape {tokens.shape}")
        integer(vocab_size, "vocab_size")
        if not tokenizer:
            raise ValueError(
                "tokenizer is empty: give the fingerprint of what made the tokens, by which a "
                "cache of another vocabulary is refused"
            )
        documents = (
            np.ones(tokens.shape) if documents is None else integers(documents, "documents")
        ).astype(np.int32)
        _check_shape("documents", documents.shape, tokens.shape)
        # The first token is document 1, each one after it of the same, the next, or of none.
        steps = np.diff(documents, axis=1, prepend=1)
        in_order = (steps == 0) & (documents > 0) | (steps == 1) | (documents == 0)
        after_padding = (documents[:, 1:] > 0) & (documents[:, :-1] == 0)
        if (documents < 0).any() or (documents[:, 0] > 1).any() or not in_order.all():
            raise ValueError(
                "the documents of a row must be numbered 1, 2, ... in order, with 0 for padding"
            )
        if after_padding.any():
            row = int(np.argmax(after_padding.any(axis=1)))
            raise ValueError(f"padding must be at the end of a row, row {row} goes on after it")
        refuse(
            (tokens < 0) | (tokens >= vocab_size), "token", tokens, f"must be in [0, {vocab_size})"
        )
        if labels is None:
            labels = next_tokens(tokens, documents)
        labels = labels if isinstance(labels, Mapping) else np.asarray(labels)
        of_tokens = _are_tokens(labels, tokens.shape, num_classes, vocab_size)
        if of_tokens:
            if num_classes not in (None, vocab_size):
                raise ValueError(
                    f"labels of every token are tokens, {vocab_size} of them, not of {num_classes} "
                    "classes: leave num_classes out, or give one label a row"
                )
            labels = integers(labels, "labels")
            _check_shape("labels", labels.shape, tokens.shape)
            bad = (labels < -1) | (labels >= vocab_size)
            refuse(bad, "label", labels, f"must be a token in [0, {vocab_size}), or -1")
            refuse((labels >= 0) & (documents == 0), "label", labels, "of padding must be -1")
            num_classes = vocab_size
        checked: Any = labels
        if of_tokens or (num_classes is None and _are_unknown(labels, len(tokens))):
            checked = None
        elif num_classes is None and getattr(labels, "dtype", np.dtype(float)).kind in "iu":
            raise ValueError("labels of whole rows need num_classes, the number of classes")
        ids, checked = check_fields(len(tokens), ids, checked, num_classes, class_names)
        if offsets is not None:
            offsets = integers(offsets, "offsets").astype(np.int32)
            _check_shape("offsets", offsets.shape, (*tokens.shape, 2))
            refuse(
                offsets[..., 0] > offsets[..., 1], "offset", offsets, "must begin before it ends"
            )
        order: Any = np.argsort(ids, kind="stable")
        refuse(np.append(False, np.diff(ids[order]) == 0), "id", ids[order], "must be unique")
        if (order == np.arange(len(ids))).all():
            order = np.s_[:]  # copies nothing
        return cls(
            name=name,
            version=version,
            split=split,
            ids=ids[order].astype(np.int32, copy=False),
            tokens=tokens[order].astype(np.int32, copy=False),
            documents=documents[order],
            labels=take(labels.astype(np.int32) if of_tokens else checked, order),
            vocab_size=vocab_size,
            tokenizer=tokenizer,
            offsets=None if offsets is None else offsets[order],
            **classes_of(labels, num_classes, class_names),
        )

    @classmethod
    def from_packed(
        cls, rows: PackedRows, labels: npt.ArrayLike | None = None, **named: Any
    ) -> Self:
        """Makes rows of what `pack` or `pad` returned.

        Args:
          rows: tokens, documents, next tokens and offsets.
          labels: classes of whole rows instead of the next tokens.
          **named: further arguments of `from_arrays`.

        Returns:
          The rows.

        Raises:
          TypeError: as `from_arrays`.
          ValueError: as `from_arrays`.
        """
        labels = rows.labels if labels is None else labels
        return cls.from_arrays(rows.tokens, rows.documents, labels, offsets=rows.offsets, **named)

    def __repr__(self) -> str:
        what = describe_labels(self.labels, self.num_classes)
        if self.of_tokens:
            what = f"{np.count_nonzero(self.labels >= 0)} next tokens"
        return (
            f"Sequences({self.name!r} {self.version}, split {self.split!r}: {len(self)} rows of "
            f"{self.tokens.shape[1]} tokens of {self.vocab_size}, "
            f"{what}, {self.padding:.1%} padding)"
        )

    @property
    def of_tokens(self) -> bool:
        """Whether the labels are next tokens, rather than those of rows."""
        return has_token_labels(self)

    @property
    def padding(self) -> float:
        """The share of the positions that hold no token."""
        return padding_share(self.documents)

    @functools.cached_property
    def fingerprint(self) -> str:
        """Name of the content, `"sha256:<64 hex digits>"`: ids, tokens, documents and offsets.

        Labels and names leave it as it is, and a selection has that of its source, as with a
        `Dataset`.
        """
        if self._source_fingerprint is not None:
            return self._source_fingerprint
        arrays = [self.ids, self.tokens, self.documents]
        arrays += [] if self.offsets is None else [self.offsets]
        return hash_arrays(f"jaxkd.Sequences 1 {self.tokens.shape} {len(arrays)}", *arrays)

    def example_digests(self, ids: npt.ArrayLike) -> npt.NDArray[np.uint64]:
        """Returns a digest of each of some rows: its tokens, documents and offsets.

        Args:
          ids: example ids `[n]`.

        Returns:
          uint64 `[n]`.

        Raises:
          KeyError: if an id is not among the rows.
        """
        rows = self.rows(ids)
        arrays = [self.tokens[rows], self.documents[rows]]
        arrays += [] if self.offsets is None else [self.offsets[rows]]
        return row_digests("jaxkd.Sequences 1", *arrays)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one example, `(length, 2)`."""
        return (self.tokens.shape[1], 2)

    def read(self, ids: npt.ArrayLike, view: npt.ArrayLike = 0) -> np.ndarray:
        """Returns tokens and documents of some rows, the same in every view.

        Args:
          ids: example ids `[batch]`, in any order, repeats allowed.
          view: makes no difference.

        Returns:
          int32 `[batch, length, 2]`.

        Raises:
          KeyError: if an id is not among the rows.
        """
        del view
        rows = self.rows(ids)
        return np.stack([self.tokens[rows], self.documents[rows]], axis=-1)

    def token_mask(self, ids: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Returns where some rows hold tokens, bool `[batch, length]`.

        Args:
          ids: example ids `[batch]`.
        """
        return self.documents[self.rows(ids)] > 0

    def contract_fields(self) -> dict[str, Any]:
        """Returns fields of a contract: the tokenizer, and whether offsets in bytes are known."""
        return {
            "tokenizer": self.tokenizer,
            "vocabulary": self.vocab_size,
            "offsets": self.offsets is not None,
        }

    def with_labels(self, ids: npt.ArrayLike) -> Self:
        """Keeps the labels of these rows only, where they are classes; see `Examples.with_labels`.

        Args:
          ids: example ids `[m]`.

        Returns:
          The sequences with labels of these rows only.

        Raises:
          KeyError: if an id is not among the rows.
          ValueError: the labels are next tokens, which follow from the tokens themselves.
        """
        if self.of_tokens:
            raise ValueError(
                f"the labels of {self.name} are its own next tokens, which cannot be taken from a "
                "row: train on fewer rows with select"
            )
        return super().with_labels(ids)

    def _of_same_source(self, **changes: Any) -> Self:
        part = dataclasses.replace(self, **changes)
        object.__setattr__(part, "_source_fingerprint", self.fingerprint)
        return part


def _are_unknown(labels: Any, n: int) -> bool:
    single = not isinstance(labels, Mapping) and labels.shape == (n,) and labels.dtype.kind == "i"
    return single and bool(np.all(labels == -1))


def _are_tokens(labels: Any, shape: tuple[int, ...], num_classes: Any, vocab_size: int) -> bool:
    if isinstance(labels, Mapping) or labels.ndim != 2:
        return False
    if labels.shape == shape or labels.dtype.kind not in "iu":
        return bool(labels.shape == shape)
    return num_classes in (None, vocab_size) or labels.shape[1] != num_classes


def _check_shape(what: str, shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    if shape != wanted:
        raise ValueError(f"{what} must have the shape {wanted} of the tokens, got {shape}")
