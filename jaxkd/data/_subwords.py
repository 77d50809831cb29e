"""Vocabularies of subwords: training, their canonical form, the bytes of their tokens."""

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Parts of a tokenizer.json that change no token of a text.
_BESIDE = frozenset({"version", "truncation", "padding", "decoder"})
# Settings with three states: null leaves the choice to another setting, false is "never".
_THREE_STATES = frozenset({"strip_accents"})


def canonical(document: Mapping[str, Any]) -> Any:
    """Returns what decides the tokens of a text in a tokenizer.json, in one form.

    Releases of the package `tokenizers` differ in how they write merges, and in whether they write
    settings that are off.

    Args:
      document: content of the file.

    Returns:
      Plain data.
    """
    content = {name: value for name, value in document.items() if name not in _BESIDE}
    model = dict(content["model"])
    if isinstance(model.get("merges"), list):
        # "a b" in older releases, ["a", "b"] in newer ones.
        model["merges"] = [
            merge.split(" ", 1) if isinstance(merge, str) else list(merge)
            for merge in model["merges"]
        ]
    return _without_defaults({**content, "model": model})


def _without_defaults(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            name: _without_defaults(x)
            for name, x in value.items()
            if x is not None and (x is not False or name in _THREE_STATES)
        }
    return [_without_defaults(item) for item in value] if isinstance(value, list) else value


def is_byte_level(document: Mapping[str, Any]) -> bool:
    """Whether each letter of a token's name stands for one byte."""
    kinds = set()
    for name, inner in (("pre_tokenizer", "pretokenizers"), ("decoder", "decoders")):
        part = document.get(name) or {}
        kinds |= {part.get("type"), *(nested["type"] for nested in part.get(inner) or ())}
    return "ByteLevel" in kinds


def pieces(
    document: Mapping[str, Any], vocabulary: Mapping[str, int], vocab_size: int
) -> tuple[bytes | None, ...]:
    """Returns the bytes of each token; None for special ones and for ids that are not used.

    Args:
      document: content of the tokenizer.json.
      vocabulary: name → id, added tokens too.
      vocab_size: number of tokens.
    """
    added = {token["id"]: token for token in document.get("added_tokens") or ()}
    byte_level = is_byte_level(document)
    found: list[bytes | None] = [None] * vocab_size
    for name, index in vocabulary.items():
        if index >= vocab_size:
            continue  # ids with gaps
        if index in added:
            found[index] = None if added[index]["special"] else name.encode()
        elif byte_level:
            found[index] = bytes(_alphabet()[letter] for letter in name)
        elif len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
            found[index] = bytes([int(name[3:5], 16)])
        else:
            found[index] = name.replace("\u2581", " ").encode()  # the space of SentencePiece
    return tuple(found)


def exact_offsets(text: str, tokens: Sequence[bytes | None]) -> npt.NDArray[np.int32] | None:
    r"""Returns where tokens begin and end, by their lengths, if together they are the text.

    Args:
      text: the text that was encoded.
      tokens: the bytes of each token.

    Returns:
      int32 `[tokens, 2]` in bytes, or None.

    Example:
      >>> exact_offsets("né", [b"n\xc3", b"\xa9"]).tolist()
      [[0, 2], [2, 3]]
    """
    known = [token for token in tokens if token is not None]
    if len(known) < len(tokens) or b"".join(known) != text.encode():
        return None
    ends = np.cumsum([0, *map(len, known)], dtype=np.int32)
    return np.stack([ends[:-1], ends[1:]], axis=-1)


def byte_offsets(text: str, spans: np.ndarray, around: np.ndarray) -> npt.NDArray[np.int32]:
    """Converts offsets in characters to offsets in bytes.

    Args:
      text: the text that was encoded.
      spans: integers `[tokens, 2]` in characters.
      around: bool `[tokens]`, the tokens that stand for nothing in the text; they get no width, at
        the end of the token before them.

    Returns:
      int32 `[tokens, 2]`.

    Example:
      >>> byte_offsets("né!", np.array([[0, 2], [2, 3]]), np.array([False, False])).tolist()
      [[0, 3], [3, 4]]
    """
    begins = np.cumsum([0, *(len(letter.encode()) for letter in text)])
    offsets = begins[spans].astype(np.int32)
    reached = np.maximum.accumulate(np.where(around, 0, offsets[:, 1]))
    return np.where(around[:, None], np.stack([reached, reached], axis=-1), offsets)


@functools.cache
def _alphabet() -> dict[str, int]:
    """The letters of byte-level vocabularies: printable bytes by themselves, others from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): byte for byte in printable}
    return letters | {chr(0x100 + index): byte for index, byte in enumerate(others)}


def train(texts: Iterable[str], vocab_size: int, specials: list[str], min_frequency: int) -> Any:
    """Trains a byte-level BPE of the package `tokenizers`."""
    package = library()
    inner = package.Tokenizer(package.models.BPE())
    level = package.pre_tokenizers.ByteLevel
    inner.pre_tokenizer = level(add_prefix_space=False, trim_offsets=False)
    inner.decoder = package.decoders.ByteLevel()
    trainer = package.trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=min_frequency,
        special_tokens=specials,
        initial_alphabet=sorted(level.alphabet()),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    return inner


def library() -> Any:
    """Imports the package `tokenizers`, or raises an ImportError that says how to install it."""
    try:
        import tokenizers
    except ImportError as error:
        raise ImportError(
            "Subwords are made by the package tokenizers, which is not installed: "
            'pip install "jaxkd-distill[text]". Tokenizer.bytes() needs none.'
        ) from error
    return tokenizers
