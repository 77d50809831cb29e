"""Texts, tokenizer and rows of tokens of the language experiment."""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from experiments.datasets import austen
from jaxkd.data import Sequences, Texts, Tokenizer, plain
from jaxkd.training import is_first, wait_for_all

# Of one's own texts: blocks of so many characters, each tenth of which is held out.
_BLOCK = 10_000
_HELD_OUT = 10
# Prompts of the test rows that all networks continue.
_PROMPTS = 32


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What teacher and students read.

    Attributes:
      tokenizer: of all networks.
      train: rows of the training texts.
      test: rows of the held-out texts that are judged by.
      test_tokens: tokens that are predicted in them.
      test_bytes: bytes that these tokens stand for.
      prompts: int32 `[n, prompt_length]`, beginnings of test rows.
      train_bytes: of the training texts.
    """

    tokenizer: Tokenizer
    train: Sequences
    test: Sequences
    test_tokens: int
    test_bytes: int
    prompts: np.ndarray
    train_bytes: int

    def bits_per_byte(self, nats: float) -> float:
        """Of the test rows, from the mean cross entropy of their tokens."""
        return nats * self.test_tokens / self.test_bytes / np.log(2)


def load_texts(config: Any) -> tuple[Texts, Texts]:
    """Training and held-out texts, as the configuration names them.

    Raises:
      FileNotFoundError: texts that are not there; says how to get them.
      ValueError: too little text to hold any out.
    """
    data_dir = config.data_dir or None
    if config.mock:
        return in_blocks([made_up(config.mock)], "mock")
    if config.text:
        texts = plain.load(config.text, split="all")
        return in_blocks(texts.texts, texts.name)
    if config.dataset == "austen":
        return austen.load("train", data_dir=data_dir), austen.load("test", data_dir=data_dir)
    train = plain.from_tfds(config.dataset, "train", data_dir=data_dir)
    return train, plain.from_tfds(config.dataset, "test", data_dir=data_dir)


def in_blocks(texts: Any, name: str, block: int = _BLOCK) -> tuple[Texts, Texts]:
    """Cuts texts into blocks at the ends of lines and holds out every tenth one.

    Args:
      texts: strings.
      name: of the data set.
      block: characters after which a block ends at the next line.

    Returns:
      The blocks of training and those held out.

    Raises:
      ValueError: fewer than ten blocks.
    """
    blocks, size = [""], 0
    for text in texts:
        for line in text.splitlines(keepends=True):
            blocks[-1] += line
            if len(blocks[-1]) >= block:
                blocks.append("")
        size += len(text)
        if blocks[-1]:
            blocks.append("")
    all_blocks = Texts.from_texts([b for b in blocks if b.strip()], name=name, split="all")
    if len(all_blocks) < _HELD_OUT:
        raise ValueError(
            f"{name} has {size:,} characters in {len(all_blocks)} blocks; to hold out every tenth "
            f"block of {block:,} it takes ten at least: give more text"
        )
    held_out = all_blocks.ids % _HELD_OUT == _HELD_OUT - 1
    return all_blocks.where(~held_out, "train"), all_blocks.where(held_out, "test")


def made_up(characters: int, seed: int = 0) -> str:
    """So many characters of made-up prose, the same each time: words that follow one another."""
    # NumPy promises the raw stream of a bit generator for good, not what its samplers make of it.
    draws = iter(
        (np.random.PCG64(seed).random_raw(2 * characters + 1000) >> np.uint64(33)).tolist()
    )
    sounds = ["ba", "do", "ki", "lu", "me", "no", "ra", "shi", "to", "vel"]
    lexicon = ["".join(sounds[next(draws) % 10] for _ in range(1 + k % 3)) for k in range(60)]
    followers = [[next(draws) % 60 for _ in range(4)] for _ in lexicon]
    words: list[str] = []
    word, written = 0, 0
    while written < characters:
        # The first follower is the likeliest, the last the rarest.
        rank = min(next(draws) % 4, next(draws) % 4)
        word = followers[word][rank]
        words.append(lexicon[word] + (".\n" if next(draws) % 9 == 0 else " "))
        written += len(words[-1])
    return "".join(words)[:characters]


def read(config: Any, workdir: pathlib.Path) -> Corpus:
    """Texts as rows of tokens; writes nothing.

    A tokenizer that an earlier run left in the work directory is used again, so that another
    version of the library that trains them makes no difference.

    Raises:
      FileNotFoundError: as of `load_texts`.
      ValueError: texts that are too short for the configuration.
    """
    train_texts, test_texts = load_texts(config)
    tokenizer = _tokenizer(config, train_texts, workdir / "tokenizer.json")
    train = train_texts.packed(tokenizer, config.length)
    full = test_texts.packed(tokenizer, config.length)
    if tokenizer.vocab_size < config.k:
        raise ValueError(f"k={config.k} is more than the {tokenizer.vocab_size} tokens there are")
    if config.batch_size > len(train):
        raise ValueError(
            f"batch_size={config.batch_size} is more than the {len(train)} rows of "
            f"{config.length} tokens that {train_texts} make"
        )
    chosen = np.linspace(0, len(full) - 1, min(config.test_rows, len(full))).round().astype(int)
    test = full.select(full.ids[chosen])
    whole = chosen[_begins(full, config.prompt_length)[chosen]]
    if not len(whole) or not _begins(train, config.prompt_length).any():
        raise ValueError(
            f"no row begins with {config.prompt_length} tokens of one document: choose a smaller "
            "prompt_length"
        )
    return Corpus(
        tokenizer,
        train,
        test,
        test_tokens=int((test.labels >= 0).sum()),
        test_bytes=int(_bytes_of_labels(full)[chosen].sum()),
        prompts=full.tokens[whole[:_PROMPTS], : config.prompt_length],
        train_bytes=sum(len(text.encode()) for text in train_texts.texts),
    )


def keep(tokenizer: Tokenizer, workdir: pathlib.Path) -> None:
    """Writes the tokenizer into the work directory unless it is there."""
    file = workdir / "tokenizer.json"
    if is_first() and not file.exists():
        temporary = file.with_suffix(".tmp")
        tokenizer.save(temporary)
        temporary.replace(file)
    wait_for_all(str(file))


def prompts_of(rows: Sequences, prompt_length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Beginnings of so many rows, evenly spread, and the rows' ids."""
    begin = np.flatnonzero(_begins(rows, prompt_length))
    if count > len(begin):
        raise ValueError(
            f"written={count} is more than the {len(begin)} rows that begin with {prompt_length} "
            "tokens of one document"
        )
    chosen = begin[np.linspace(0, len(begin) - 1, count).round().astype(int)]
    return rows.tokens[chosen, :prompt_length], rows.ids[chosen]


def _begins(rows: Sequences, prompt_length: int) -> np.ndarray:
    """Which rows begin with a prompt of one document that goes on behind it."""
    return rows.documents[:, prompt_length] == 1


def _tokenizer(config: Any, texts: Texts, file: pathlib.Path) -> Tokenizer:
    if file.exists():
        return Tokenizer.load(file)
    if config.teacher_weights:
        return Tokenizer.load(
            pathlib.Path(config.teacher_weights) / "tokenizer.json", eos=config.eos or None
        )
    if not config.vocabulary:
        return Tokenizer.bytes()
    return Tokenizer.train(texts.texts, config.vocabulary)


def _bytes_of_labels(rows: Sequences) -> np.ndarray:
    """The bytes from the end of each token to the end of the next one, `[n, length]`.

    Over a document they add up to its text but for the first token, which nothing predicts.
    """
    assert rows.offsets is not None
    ends = rows.offsets[..., 1].ravel()
    widths = np.append(ends[1:] - ends[:-1], 0).reshape(rows.labels.shape)
    return np.where(rows.labels >= 0, widths, 0)
