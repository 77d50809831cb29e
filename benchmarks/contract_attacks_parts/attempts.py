"""What an attack is, how it is tried, and what counts as refused."""

import dataclasses
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

REFUSED, ACCEPTED, UNNAMED, NOT_TRIED = "refused", "accepted", "unnamed", "not tried"
# Errors that say nothing to whoever meets them: they count as unnamed whatever their text is.
_BARE = (AssertionError, AttributeError, IndexError, UnboundLocalError, ZeroDivisionError)

Attempt = tuple[str, Callable[[], Any]]
"""An entrance, `"open"` for one, and the call that tries it there."""


class Folder:
    """A directory of caches that are built once, and of the copies that attacks may spoil."""

    def __init__(self, root: pathlib.Path):
        self.root = root
        self._built: dict[str, pathlib.Path] = {}
        self._copies = 0

    def built(self, name: str, build: Callable[[pathlib.Path], Any]) -> pathlib.Path:
        """Returns the path of a cache, which `build(path)` makes at the first call."""
        if name not in self._built:
            path = self.root / f"{len(self._built):03d}"
            build(path)
            self._built[name] = path
        return self._built[name]

    def empty(self) -> pathlib.Path:
        """Returns a path where there is nothing yet."""
        self._copies += 1
        return self.root / f"copy{self._copies:04d}"

    def copy(self, path: pathlib.Path) -> pathlib.Path:
        """Returns the path of a copy."""
        return pathlib.Path(shutil.copytree(path, self.empty()))


@dataclasses.dataclass(frozen=True)
class Attack:
    """One thing that is wrong, or right but looks different, tried through several entrances.

    Attributes:
      kind: kind of fault, a row of the table.
      name: what exactly.
      attempts: the entrances, given a folder; what the calls need is built while they are listed.
      words: an error that has none of these texts does not name the thing; none where whatever is
        tried must be accepted.
    """

    kind: str
    name: str
    attempts: Callable[[Folder], Iterable[Attempt]]
    words: Sequence[str] = ()


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of one attempt."""

    kind: str
    name: str
    entrance: str
    outcome: str
    text: str = ""


def tried(attack: Attack, folder: Folder) -> Iterator[Outcome]:
    """Tries an attack through all its entrances."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            attempts = list(attack.attempts(folder))
        except Exception as error:
            yield Outcome(attack.kind, attack.name, "preparation", NOT_TRIED, said(error))
            return
        for entrance, call in attempts:
            outcome, text = _outcome(call, attack.words)
            yield Outcome(attack.kind, attack.name, entrance, outcome, text)


def _outcome(call: Callable[[], Any], words: Sequence[str]) -> tuple[str, str]:
    try:
        call()
    except _BARE as error:
        return UNNAMED, said(error)
    except Exception as error:
        text = said(error)
        named = not words or any(word.lower() in text.lower() for word in words)
        return (REFUSED if named else UNNAMED), text
    return ACCEPTED, ""


def said(error: BaseException) -> str:
    """Returns type and text of an error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())
