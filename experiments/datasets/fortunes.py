"""Short texts by topic: the fortunes of the program `fortune`, 2.5 megabytes in 40 files.

On Debian they are a package, which `load` reads as it is:

    apt-get install fortunes

They are jokes, quotations, poems and definitions that were collected since the seventies; some are
in bad taste.
"""

import os
import re
from collections.abc import Sequence
from typing import Literal

from jaxkd._files import local_path
from jaxkd.data import Texts

DEBIAN_SOURCE_DIR = "/usr/share/games/fortunes"
"""Where the Debian package `fortunes` puts its files."""

TOPICS = (
    "art",
    "computers",
    "definitions",
    "law",
    "people",
    "politics",
    "science",
    "songs-poems",
    "wisdom",
    "work",
)
"""Ten large topics that are distinct, the classes by default."""

# An id is topic * 100,000 + the number of the text in its file.
_STRIDE = 100_000


def load(
    split: Literal["train", "test"],
    *,
    topics: Sequence[str] = TOPICS,
    source_dir: str | os.PathLike[str] = DEBIAN_SOURCE_DIR,
    test_fraction: float = 0.2,
    seed: int = 0,
) -> Texts:
    """Loads one split of some topics.

    Args:
      split: `"train"` or `"test"`.
      topics: names of files, which are the classes in this order.
      source_dir: where they are.
      test_fraction: part of every topic that is held out.
      seed: of the split.

    Returns:
      The texts; text t of topic k in this choice of topics has the id `100,000 k + t`.

    Raises:
      FileNotFoundError: a topic's file is missing.
      ValueError: an unknown split, no topic or one that is named twice, a fraction outside (0, 1).
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', got {split!r}.")
    topics = tuple(topics)
    if not topics or len(set(topics)) < len(topics):
        raise ValueError(f"topics must be one or more, each named once, got {topics}")
    texts, labels, ids = [], [], []
    for label, topic in enumerate(topics):
        path = local_path(source_dir) / topic
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing. On Debian: apt-get install fortunes; or name the folder of "
                "the topics' files with source_dir."
            )
        # A line of one percent sign parts the texts.
        parts = re.split(r"^%[ \t]*$", path.read_bytes().decode(errors="replace"), flags=re.M)
        for number, text in enumerate(parts):
            if text.strip():
                texts.append(text.strip("\n"))
                labels.append(label)
                ids.append(label * _STRIDE + number)
    everything = Texts.from_texts(
        texts,
        labels,
        name="fortunes",
        split="all",
        ids=ids,
        num_classes=len(topics),
        class_names=topics,
    )
    train, test = everything.held_out(test_fraction, seed)
    return train if split == "train" else test
