r"""Six novels by Jane Austen, four megabytes of plain English in the public domain.

A package of R, `janeaustenr`, carries them, and Debian has it as `r-cran-janeaustenr`. R is not
needed: `prepare` reads its files and writes a plain text for each novel, which `load` reads. The
package would install R with it; to take the files alone:

    apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen
    python -m experiments.datasets.austen prepare \
        --source_dir austen/usr/lib/R/site-library/janeaustenr/data

A text is a chapter, named by its novel and its number; every tenth chapter of each novel is held
out. `sentences` gives the sentences of the same chapters.

References:
  J. Silge, janeaustenr: Jane Austen's Complete Novels, 2022, after Project Gutenberg.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.datasets._prepare import command_line
from experiments.datasets._rdata import read_strings
from experiments.datasets._sentences import split_sentences
from jaxkd._files import local_path
from jaxkd.data import Texts

DEBIAN_SOURCE_DIR = "/usr/lib/R/site-library/janeaustenr/data"
"""Where the Debian package `r-cran-janeaustenr` puts the novels."""

DATA_DIR = "~/jaxkd_data"
"""Where `prepare` writes and `load` reads by default."""

NOVELS = (
    "sensesensibility",
    "prideprejudice",
    "mansfieldpark",
    "emma",
    "northangerabbey",
    "persuasion",
)
"""The novels in the order in which they were published."""

# Of the lines of each, joined by newlines.
_SHA256 = {
    "sensesensibility": "105e1651fe93bed7130078578efd31e0c557d68667ba672ddc876f735b30fe09",
    "prideprejudice": "dfc684d4f857fa938268f9ab9c5567b64bd0691251eca959644adeabe6287a4d",
    "mansfieldpark": "98bc90519cdf4ef663ad7de2734bb529435ef24f7abbde6bb1a50898871dafe9",
    "emma": "7c67b5985c6d0de1efaeb5d342d52cb82c38083c40e2295129e30e87ee690ebe",
    "northangerabbey": "51f91bbe0517db8e65cff009b097ce0a1836124c4e0532ac19e6c0cad982abed",
    "persuasion": "8061549557aebd2fd6e353d18d9197cb707029112bd52d4d8b174583a925848a",
}
_CHAPTER = re.compile(r"^[ \t]*chapter[ \t]+(?:[0-9]+|[ivxlc]+)\.?[ \t]*$", re.I | re.M)
_VOLUME = re.compile(r"^[ \t]*volume[ \t]+[ivx]+[ \t]*$", re.I | re.M)
# An id is novel * 1000 + chapter, of a sentence that * 1000 + its number.
_STRIDE = 1000
_HELD_OUT = 10  # every tenth chapter


def load(
    split: Literal["train", "test"],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    novels: tuple[str, ...] = NOVELS,
) -> Texts:
    """Loads the chapters of one split.

    Args:
      split: `"train"`, or `"test"`: every tenth chapter of each novel.
      data_dir: where `prepare` wrote them. None: `DATA_DIR`.
      novels: which of `NOVELS`; to hold out whole novels, load both splits of these and of others.

    Returns:
      One text a chapter, without its heading; chapter c of novel k has the id `1000 * k + c`.

    Raises:
      FileNotFoundError: nothing is prepared there.
      ValueError: an unknown split or novel, or a file that is not what was published.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
    if unknown := [novel for novel in novels if novel not in NOVELS]:
        raise ValueError(f"there is no novel {unknown[0]!r}; there are {NOVELS}")
    texts, ids = [], []
    for novel in novels:
        for number, chapter in enumerate(_chapters(_read(novel, _folder(data_dir))), start=1):
            texts.append(chapter)
            ids.append(NOVELS.index(novel) * _STRIDE + number)
    chapters = Texts.from_texts(texts, name="austen", version="1", split="all", ids=ids)
    held_out = chapters.ids % _STRIDE % _HELD_OUT == 0
    return chapters.where(held_out if split == "test" else ~held_out, split)


def sentences(
    split: Literal["train", "test"],
    *,
    data_dir: str | os.PathLike[str] | None = None,
    novels: tuple[str, ...] = NOVELS,
    min_characters: int = 20,
) -> Texts:
    """Loads the sentences of the chapters of one split.

    Args:
      split: as of `load`.
      data_dir: as of `load`.
      novels: as of `load`.
      min_characters: shorter sentences are left out.

    Returns:
      One text a sentence, in one line; sentence s of chapter c of novel k has the id
      `1000 * (1000 * k + c) + s`, whatever is left out.

    Raises:
      FileNotFoundError: as of `load`.
      ValueError: as of `load`.
    """
    chapters = load(split, data_dir=data_dir, novels=novels)
    texts, ids = [], []
    for chapter, text in zip(chapters.ids.tolist(), chapters.texts, strict=True):
        for number, sentence in enumerate(split_sentences(text)):
            if len(sentence) >= min_characters:
                texts.append(sentence)
                ids.append(chapter * _STRIDE + number)
    return Texts.from_texts(texts, name="austen_sentences", split=split, ids=np.asarray(ids, int))


def prepare(
    source_dir: str | os.PathLike[str] = DEBIAN_SOURCE_DIR,
    data_dir: str | os.PathLike[str] | None = None,
) -> Path:
    """Writes each novel as a plain text, checked against what was published.

    Args:
      source_dir: folder of `Rdata.rdb` and `Rdata.rdx`.
      data_dir: where to write, in a folder `austen`. None: `DATA_DIR`.

    Returns:
      The folder.

    Raises:
      FileNotFoundError: the package's files are not there.
      ValueError: they cannot be read, or are another edition.
    """
    source, folder = local_path(source_dir), _folder(data_dir)
    if not (source / "Rdata.rdx").is_file():
        raise FileNotFoundError(
            f"{source / 'Rdata.rdx'} is missing. The Debian package r-cran-janeaustenr puts it "
            f"into {DEBIAN_SOURCE_DIR}; name another folder with source_dir."
        )
    novels = {novel: "\n".join(read_strings(source / "Rdata", novel)) + "\n" for novel in NOVELS}
    for novel, text in novels.items():
        _check(novel, text, source)
    folder.mkdir(parents=True, exist_ok=True)
    for novel, text in novels.items():
        (folder / f"{novel}.txt").write_text(text, encoding="utf-8", newline="\n")
    return folder


def _folder(data_dir: str | os.PathLike[str] | None) -> Path:
    return local_path(DATA_DIR if data_dir is None else data_dir) / "austen"


def _read(novel: str, folder: Path) -> str:
    path = folder / f"{novel}.txt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: the novels are not prepared there. On Debian:\n"
            "  apt-get download r-cran-janeaustenr && dpkg -x r-cran-janeaustenr_*.deb austen\n"
            "  python -m experiments.datasets.austen prepare --source_dir "
            f"austen{DEBIAN_SOURCE_DIR} --data_dir {folder.parent}"
        )
    text = path.read_bytes().decode()
    _check(novel, text, path)
    return text


def _check(novel: str, text: str, where: Path) -> None:
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != _SHA256[novel]:
        raise ValueError(
            f"{novel} in {where} is not the text of janeaustenr 1.0.0: it has sha256 {found}, that "
            f"one {_SHA256[novel]}."
        )


def _chapters(text: str) -> list[str]:
    """Returns the text between headings; what stands before the first one is left out."""
    parts = _CHAPTER.split(_VOLUME.sub("", text))[1:]
    return [re.sub(r"\n{3,}", "\n\n", part).strip() for part in parts]


def _main() -> None:
    command_line(
        "austen",
        "Six novels by Jane Austen",
        "write plain texts from the files of the R package janeaustenr",
        source=(
            "--source_dir",
            "folder of Rdata.rdb and Rdata.rdx (default: %(default)s, of Debian's package)",
        ),
        default=DEBIAN_SOURCE_DIR,
        data_dir=f"where to write, in a folder austen (default: {DATA_DIR})",
        prepare=prepare,
        load=load,
        done="The novels are in {path}; read back, they are what was published:",
    )


if __name__ == "__main__":
    _main()
