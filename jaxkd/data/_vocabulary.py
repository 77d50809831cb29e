"""Ids of a tokenizer.json: what no network could have embeddings for is refused before it is read.

The package `tokenizers` allocates a row for every id up to the largest, lets two tokens share one,
and numbers added tokens anew without a word where theirs leave a gap.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from jaxkd.data._subwords import library

# More than the largest vocabularies have, few enough to allocate.
_MOST_IDS = 1 << 22


def load(document: Mapping[str, Any]) -> Any:
    """Makes a tokenizer of the package `tokenizers`, of ids that are checked.

    Args:
      document: content of a tokenizer.json.

    Returns:
      The tokenizer.

    Raises:
      ValueError: an id is no integer, negative, too large, that of two tokens, or not the one that
        the package would give; names the token.
    """
    vocabulary = document.get("model", {}).get("vocab")
    named = dict(vocabulary) if isinstance(vocabulary, Mapping) else {}
    _check_unique([*named.items()])
    added = [(token["content"], token["id"]) for token in document.get("added_tokens") or ()]
    _check_unique(added)
    around = list(_pairs(document.get("post_processor")))
    for name, number in around:
        _check_id(name, number)
    inner = library().Tokenizer.from_str(json.dumps(document))
    for name, number in added:
        if (given := inner.token_to_id(name)) != number:
            raise ValueError(
                f"the added token {name!r} has the id {number}, and is numbered {given} by the "
                "package tokenizers: give added tokens the ids that follow the vocabulary's, "
                "without a gap"
            )
    for name, number in around:
        if number >= size(inner):
            raise ValueError(
                f"the post_processor puts {name!r} around a text as id {number}, and the largest "
                f"id is {size(inner) - 1}"
            )
    return inner


def size(inner: Any) -> int:
    """Returns one more than the largest id of a tokenizer of the package `tokenizers`."""
    return max(inner.get_vocab(with_added_tokens=True).values(), default=-1) + 1


def check_names(specials: Any) -> None:
    """Refuses names of special tokens that are no list of different texts."""
    if not isinstance(specials, list) or not all(isinstance(name, str) for name in specials):
        raise ValueError(f"specials must be a list of names, not {specials!r}")
    if len(set(specials)) < len(specials):
        raise ValueError(f"specials must name each token once, not {specials}")


def _check_unique(tokens: list[tuple[str, Any]]) -> None:
    names: dict[int, str] = {}
    for name, number in tokens:
        _check_id(name, number)
        if (other := names.setdefault(number, name)) != name:
            raise ValueError(f"the id {number} is that of {other!r} and of {name!r}")


def _check_id(name: str, number: Any) -> None:
    if type(number) is not int or not 0 <= number < _MOST_IDS:
        raise ValueError(
            f"the token {name!r} has the id {number!r}; ids are integers in [0, {_MOST_IDS:,})"
        )


def _pairs(part: Any) -> Iterator[tuple[str, Any]]:
    """Yields the tokens, with their ids, that a post-processor puts around a text."""
    if not isinstance(part, Mapping):
        return
    for inner in part.get("processors") or ():
        yield from _pairs(inner)
    for name in ("sep", "cls"):
        if name in part:
            yield tuple(part[name])
    for special in (part.get("special_tokens") or {}).values():
        yield from zip(special["tokens"], special["ids"], strict=True)
