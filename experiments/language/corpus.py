"""Texts, tokenizer and rows of tokens of the language experiment."""

import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np

from experiments import datasets
from experiments.language.config import Config
from jaxkd.data import Sequences, Texts, Tokenizer, plain
from jaxkd.training import is_main_process, sync_processes

# Texts of the user are cut into blocks of this number of characters; every tenth is held out.
_BLOCK = 10_000
_HELD_OUT = 10
# Number of beginnings of test rows that all networks continue.
_PROMPTS = 32


@dataclasses.dataclass(frozen=True)
class Corpus:
    """The texts of teacher and students, as rows of tokens.

    Attributes:
      tokenizer: tokenizer of all networks.
      train: rows of the training texts.
      test: rows of the held-out texts, on which networks are measured.
      test_tokens: number of tokens that are predicted in them.
      test_bytes: number of bytes that these tokens stand for.
      prompts: int32 `[n, prompt_length]`, beginnings of test rows.
      train_bytes: number of bytes of the training texts.
    """

    tokenizer: Tokenizer
    train: Sequences
    test: Sequences
    test_tokens: int
    test_bytes: int
    prompts: np.ndarray
    train_bytes: int

    def bits_per_byte(self, nats: float) -> float:
        """Converts the mean cross entropy of the test rows' tokens to bits per byte."""
        return nats * self.test_tokens / self.test_bytes / np.log(2)


def load_texts(config: Config) -> tuple[Texts, Texts]:
    """Loads training and held-out texts, as the configuration names them."""
    if config.mock:
        return split_blocks([mock_text(config.mock)], "mock")
    if config.text:
        texts = plain.load(config.text, split="all")
        return split_blocks(texts.texts, texts.name)
    return (
        datasets.load_texts(config.dataset, "train", data_dir=config.data_dir),
        datasets.load_texts(config.dataset, "test", data_dir=config.data_dir),
    )


def split_blocks(texts: Iterable[str], name: str, block: int = _BLOCK) -> tuple[Texts, Texts]:
    """Cuts texts into blocks at the ends of lines and holds out every tenth one.

    Args:
      texts: texts, each of which begins a new block.
      name: name of the data set.
      block: number of characters after which a block ends at the next line.

    Returns:
      The training blocks and the held-out ones.

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


def mock_text(characters: int, seed: int = 0) -> str:
    """Makes mock prose, the same in every call: a Markov chain of invented words."""
    # NumPy keeps the raw stream of a bit generator in all its versions, but not its samplers.
    bits = iter((np.random.PCG64(seed).random_raw(2 * characters + 1000) >> np.uint64(33)).tolist())
    syllables = ["ba", "do", "ki", "lu", "me", "no", "ra", "shi", "to", "vel"]
    lexicon = ["".join(syllables[next(bits) % 10] for _ in range(1 + k % 3)) for k in range(60)]
    followers = [[next(bits) % 60 for _ in range(4)] for _ in lexicon]
    words: list[str] = []
    word, length = 0, 0
    while length < characters:
        # The first follower is the likeliest, the last the rarest.
        rank = min(next(bits) % 4, next(bits) % 4)
        word = followers[word][rank]
        words.append(lexicon[word] + (".\n" if next(bits) % 9 == 0 else " "))
        length += len(words[-1])
    return "".join(words)[:characters]


def read_corpus(config: Config, workdir: pathlib.Path) -> Corpus:
    """Reads texts as rows of tokens; writes nothing.

    A tokenizer that an earlier run saved in the work directory is used again, so that another
    version of the library that trains tokenizers makes no difference.

    Returns:
      The corpus.

    Raises:
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
    continued = chosen[_has_prompt(full, config.prompt_length)[chosen]]
    if not len(continued) or not _has_prompt(train, config.prompt_length).any():
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
        prompts=full.tokens[continued[:_PROMPTS], : config.prompt_length],
        train_bytes=sum(len(text.encode()) for text in train_texts.texts),
    )


def save_tokenizer(tokenizer: Tokenizer, workdir: pathlib.Path) -> None:
    """Writes the tokenizer into the work directory unless there is one."""
    file = workdir / "tokenizer.json"
    if is_main_process() and not file.exists():
        temporary = file.with_suffix(".tmp")
        tokenizer.save(temporary)
        temporary.replace(file)
    sync_processes(str(file))


def prompts_of(rows: Sequences, prompt_length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the beginnings of a number of rows, evenly spread, and the ids of these rows.

    Returns:
      The beginnings, int32 `[count, prompt_length]`, and the ids `[count]`.

    Raises:
      ValueError: fewer rows begin with a prompt of one document.
    """
    candidates = np.flatnonzero(_has_prompt(rows, prompt_length))
    if count > len(candidates):
        raise ValueError(
            f"generated_rows={count} is more than the {len(candidates)} rows that begin with "
            f"{prompt_length} tokens of one document"
        )
    chosen = candidates[np.linspace(0, len(candidates) - 1, count).round().astype(int)]
    return rows.tokens[chosen, :prompt_length], rows.ids[chosen]


def _has_prompt(rows: Sequences, prompt_length: int) -> np.ndarray:
    """Returns which rows begin with a prompt of one document that continues behind it."""
    return rows.documents[:, prompt_length] == 1


def _tokenizer(config: Config, texts: Texts, file: pathlib.Path) -> Tokenizer:
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
    """Returns the number of bytes from each token's end to that of the next one, `[n, length]`.

    Over a document their sum is the size of its text without the first token, which is not
    predicted.
    """
    assert rows.offsets is not None
    ends = rows.offsets[..., 1].ravel()
    widths = np.append(ends[1:] - ends[:-1], 0).reshape(rows.labels.shape)
    return np.where(rows.labels >= 0, widths, 0)
