"""Tokenizers: texts to tokens with the bytes that each one stands for."""

import abc
import functools
import hashlib
import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from jaxkd._files import local_path, parse_json, write_atomically
from jaxkd.data import _subwords, _vocabulary
from jaxkd.data._examples import integers

EOS = "<|end|>"
"""The token that ends a document, in tokenizers that are made here."""


class EncodedText(NamedTuple):
    """One text as tokens.

    Attributes:
      ids: int32 `[tokens]`.
      offsets: int32 `[tokens, 2]`, the first byte of each token in the text's UTF-8 and the one
        after its last.

    Example:
      >>> text = EncodedText(np.array([5, 9], np.int32), np.array([[0, 3], [3, 7]], np.int32))
      >>> [b"the cat"[first:end] for first, end in text.offsets]
      [b'the', b' cat']
    """

    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int32]


class Tokenizer(abc.ABC):
    """Texts to tokens and back; made by `bytes`, `train` or `load`.

    A thin layer on the package `tokenizers`, which adds what caches and losses between two
    vocabularies need: a fingerprint, and offsets in bytes. The tokenizer of bytes needs no package.

    Attributes:
      vocab_size: number of tokens, special ones included; where a vocabulary leaves ids out, one
        more than the largest, which embeddings must have a row for.
      eos: the token that ends a document; None if there is none.

    Example:
      >>> tokenizer = Tokenizer.bytes()
      >>> text = tokenizer.encode(["né"])[0]
      >>> text.ids.tolist(), text.offsets.tolist()
      ([110, 195, 169], [[0, 1], [1, 2], [2, 3]])
      >>> tokenizer.decode(text.ids), tokenizer.vocab_size, tokenizer.eos
      ('né', 257, 256)
    """

    vocab_size: int
    eos: int | None

    @staticmethod
    def bytes(specials: Sequence[str] = (EOS,)) -> "Tokenizer":
        """Makes the tokenizer whose tokens are the 256 bytes, then the special ones.

        Args:
          specials: names of further tokens, which no text is encoded to; the first is `eos`.

        Returns:
          The tokenizer.
        """
        return _Bytes(tuple(specials))

    @staticmethod
    def train(
        texts: Iterable[str],
        vocab_size: int,
        *,
        specials: Sequence[str] = (EOS,),
        min_frequency: int = 2,
    ) -> "Tokenizer":
        """Trains a byte-level BPE, which encodes any text without loss.

        Args:
          texts: texts in which pairs are counted.
          vocab_size: largest number of tokens: the 256 bytes, the special ones and the merges.
          specials: names of special tokens; the first is `eos`.
          min_frequency: number of occurrences from which on a pair is merged.

        Returns:
          The tokenizer.

        Raises:
          ImportError: the package `tokenizers` is not installed.
          ValueError: a vocabulary that does not hold the bytes and the special tokens.

        Example:
          >>> tokenizer = Tokenizer.train(["the cat, the hat, the mat"], vocab_size=270)
          >>> [tokenizer.decode([token]) for token in tokenizer.encode(["the rat"])[0].ids]
          ['the', ' ', 'r', 'at']
        """
        least = 256 + len(specials)
        if vocab_size < least:
            raise ValueError(
                f"vocab_size must be at least {least}, for 256 bytes and {len(specials)} special "
                f"tokens, got {vocab_size}"
            )
        inner = _subwords.train(texts, vocab_size, list(specials), min_frequency)
        return _Library(inner, specials[0] if specials else None)

    @staticmethod
    def load(path: str | os.PathLike[str], *, eos: str | None = None) -> "Tokenizer":
        """Reads a `tokenizer.json`, or what `save` wrote.

        Args:
          path: path of the file.
          eos: name of the token that ends a document, such as `"</s>"`; by default the one that it
            was saved with, which files from elsewhere do not say.

        Returns:
          The tokenizer.

        Raises:
          FileNotFoundError: there is no such file.
          ImportError: the package `tokenizers` is not installed, and the file is not one of bytes.
          ValueError: the file is no tokenizer, or has no such token.
        """
        content = local_path(path).read_bytes()
        try:
            document = parse_json(content)
            saved = document.pop(_SAVED, {})
            if own := "specials" in saved:
                _vocabulary.check_names(saved["specials"])
            else:
                inner = _vocabulary.load(document)
        except ImportError:
            raise
        except Exception as error:  # the package raises plain exceptions
            raise ValueError(f"{os.fspath(path)} is no tokenizer.json: {error}") from error
        if own:
            return _Bytes(tuple(saved["specials"]), eos)
        return _Library(inner, eos or saved.get("eos"))

    @abc.abstractmethod
    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes a file for `load`; that of a BPE is a `tokenizer.json` as other programs read it.

        Args:
          path: path of the file.
        """

    @abc.abstractmethod
    def encode(self, texts: Sequence[str], *, specials: bool = False) -> list[EncodedText]:
        """Encodes texts as tokens.

        Args:
          texts: the texts.
          specials: whether to add what the tokenizer puts around a text (`[CLS]` and `[SEP]` of a
            BERT); such tokens have no width.

        Returns:
          Tokens and offsets of each text. Of a byte-level vocabulary the offsets are exact, also
          where a character is cut; of others those of whole characters.
        """

    @abc.abstractmethod
    def decode(self, ids: npt.ArrayLike) -> str:
        """Decodes tokens to a text, special ones left out; bytes that are no UTF-8 become U+FFFD.

        Args:
          ids: integers `[tokens]`.
        """

    @abc.abstractmethod
    def token(self, name: str) -> int:
        """Returns the id of a token by its name in the vocabulary.

        Args:
          name: name of the token.

        Raises:
          ValueError: there is none.
        """

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """Name of the content, `"sha256:<64 hex digits>"`: everything that decides a text's tokens.

        These are vocabulary, merges, normalizing and splitting, whatever the layout of the file.
        """

    @property
    @abc.abstractmethod
    def pieces(self) -> tuple[Any, ...]:
        """The bytes that each token stands for; None for special ones."""

    def shared(self, other: "Tokenizer") -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
        """Returns the tokens that two vocabularies have in common, for `losses.hybrid_uld`.

        Args:
          other: another tokenizer.

        Returns:
          Ids here and ids there of the same bytes, int32 `[matched]` both.

        Example:
          >>> here, there = Tokenizer.bytes().shared(Tokenizer.bytes(specials=()))
          >>> len(here), bool((here == there).all())
          (256, True)
        """
        theirs: dict[Any, int] = {}
        ours: dict[Any, int] = {}
        for pieces, tokenizer in ((ours, self), (theirs, other)):
            for index, piece in enumerate(tokenizer.pieces):
                if piece:
                    pieces.setdefault(piece, index)
        common = [(index, theirs[piece]) for piece, index in ours.items() if piece in theirs]
        pairs = np.asarray(common, np.int32).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]


# Key under which `save` stores what a tokenizer.json has no field for; the package ignores it.
_SAVED = "jaxkd"


class _Bytes(Tokenizer):
    """The 256 bytes and special tokens."""

    def __init__(self, specials: tuple[str, ...], eos: str | None = None):
        self._specials = specials
        self.vocab_size = 256 + len(specials)
        self.eos = 256 if specials else None
        if eos is not None:
            self.eos = self.token(eos)

    def __repr__(self) -> str:
        return f"Tokenizer.bytes(specials={self._specials})"

    def save(self, path: str | os.PathLike[str]) -> None:
        content = json.dumps({_SAVED: {"specials": self._specials}})
        write_atomically(local_path(path), content)

    def encode(self, texts: Sequence[str], *, specials: bool = False) -> list[EncodedText]:
        del specials
        encoded = []
        for text in texts:
            ids = np.frombuffer(text.encode(), np.uint8).astype(np.int32)
            starts = np.arange(len(ids), dtype=np.int32)
            encoded.append(EncodedText(ids, np.stack([starts, starts + 1], axis=-1)))
        return encoded

    def decode(self, ids: npt.ArrayLike) -> str:
        tokens = _tokens(ids, self.vocab_size)
        return bytes(tokens[tokens < 256].astype(np.uint8)).decode(errors="replace")

    def token(self, name: str) -> int:
        if name in self._specials:
            return 256 + self._specials.index(name)
        if len(name.encode()) == 1:
            return name.encode()[0]
        raise ValueError(f"there is no token {name!r}; the special ones are {self._specials}")

    @property
    def fingerprint(self) -> str:
        return _digest({"model": {"type": "bytes"}, "specials": list(self._specials)})

    @property
    def pieces(self) -> tuple[Any, ...]:
        return (*(bytes([byte]) for byte in range(256)), *(None for _ in self._specials))


class _Library(Tokenizer):
    """A tokenizer of the package `tokenizers`."""

    def __init__(self, inner: Any, eos: str | None):
        inner.no_truncation()
        inner.no_padding()
        self._inner = inner
        self.vocab_size = _vocabulary.size(inner)
        self._eos = eos
        self.eos = None if eos is None else self.token(eos)

    def __repr__(self) -> str:
        return f"Tokenizer({self._document['model']['type']}, {self.vocab_size} tokens)"

    def save(self, path: str | os.PathLike[str]) -> None:
        document = json.loads(self._inner.to_str()) | {_SAVED: {"eos": self._eos}}
        write_atomically(local_path(path), json.dumps(document, ensure_ascii=False))

    def encode(self, texts: Sequence[str], *, specials: bool = False) -> list[EncodedText]:
        found = self._inner.encode_batch(list(texts), add_special_tokens=specials)
        return [self._encoded(text, one) for text, one in zip(texts, found, strict=True)]

    def decode(self, ids: npt.ArrayLike) -> str:
        return self._inner.decode(_tokens(ids, self.vocab_size).tolist())

    def token(self, name: str) -> int:
        index = self._inner.token_to_id(name)
        if index is None:
            raise ValueError(f"there is no token {name!r} among the {self.vocab_size}")
        return index

    @functools.cached_property
    def fingerprint(self) -> str:
        return _digest(_subwords.canonical(self._document))

    @functools.cached_property
    def pieces(self) -> tuple[Any, ...]:
        vocabulary = self._inner.get_vocab(with_added_tokens=True)
        return _subwords.pieces(self._document, vocabulary, self.vocab_size)

    @functools.cached_property
    def _document(self) -> dict[str, Any]:
        return json.loads(self._inner.to_str())

    @functools.cached_property
    def _stands_for(self) -> list[Any] | None:
        """What a token found in a text stands for, a special one too; None if letters differ."""
        if not _subwords.is_byte_level(self._document):
            return None
        found = list(self.pieces)
        for added in self._document.get("added_tokens") or ():
            found[added["id"]] = added["content"].encode()
        return found

    def _encoded(self, text: str, found: Any) -> EncodedText:
        ids = np.asarray(found.ids, np.int32)
        spans = np.asarray(found.offsets, np.int64).reshape(-1, 2)
        # Put around the text, not found in it.
        around = np.asarray(found.special_tokens_mask, bool) & (spans[:, 0] == spans[:, 1])
        if (known := self._stands_for) is not None:
            pairs = zip(found.ids, around.tolist(), strict=True)
            tokens = [b"" if outside else known[index] for index, outside in pairs]
            if (offsets := _subwords.exact_offsets(text, tokens)) is not None:
                return EncodedText(ids, offsets)
        return EncodedText(ids, _subwords.byte_offsets(text, spans, around))


def _tokens(ids: npt.ArrayLike, vocab_size: int) -> np.ndarray:
    tokens = integers(ids, "ids").ravel()
    if tokens.size and not (tokens.min() >= 0 and tokens.max() < vocab_size):
        raise ValueError(f"ids must be in [0, {vocab_size}), got {tokens.min()} to {tokens.max()}")
    return tokens


def _digest(content: Any) -> str:
    canonical = json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return f"sha256:{hashlib.sha256(f'jaxkd.Tokenizer 1 {canonical}'.encode()).hexdigest()}"
