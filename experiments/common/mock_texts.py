"""Made-up sentences about made-up topics, for trying out experiments on text."""

import numpy as np

from jaxkd.data import Texts, Tokenizer

TOPICS = 6
_WORDS_OF_A_TOPIC = 15
_COMMON_WORDS = 12
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "ti")


def made_up_texts(count: int, split: str, *, num_classes: int = 0) -> Texts:
    """Sentences of five to twelve words, half of which belong to one topic.

    Args:
      count: how many sentences.
      split: name of the split, whose sentences are others than those of another.
      num_classes: at most `TOPICS`: the topics share so many classes evenly; 0 for no labels.

    Returns:
      The sentences, always the same.

    Raises:
      ValueError: more classes than topics.
    """
    if not 0 <= num_classes <= TOPICS:
        raise ValueError(f"made-up texts have at most {TOPICS} classes, not {num_classes}")
    draws = np.random.default_rng(np.random.PCG64((7, *split.encode())))
    words = ["".join(pair) + end for pair in _pairs() for end in ("n", "s", "")]
    common, words = words[:_COMMON_WORDS], words[_COMMON_WORDS:]
    texts, topics = [], draws.integers(TOPICS, size=count)
    for topic in topics:
        own = words[topic * _WORDS_OF_A_TOPIC : (topic + 1) * _WORDS_OF_A_TOPIC]
        length = draws.integers(5, 13)
        from_topic = draws.random(length) < 0.5
        picks = draws.integers(_COMMON_WORDS * _WORDS_OF_A_TOPIC, size=length)
        chosen = [
            own[pick % len(own)] if topical else common[pick % len(common)]
            for topical, pick in zip(from_topic, picks, strict=True)
        ]
        texts.append(" ".join(chosen))
    return Texts.from_texts(
        texts,
        topics % num_classes if num_classes else None,
        name="made_up",
        split=split,
        num_classes=num_classes,
        class_names=tuple(f"class {number}" for number in range(num_classes)),
    )


def made_up_tokenizer() -> Tokenizer:
    """Subwords of the made-up sentences."""
    return Tokenizer.train(made_up_texts(500, "tokenizer").texts, 400)


def _pairs() -> list[tuple[str, str]]:
    return [(first, second) for first in _SYLLABLES for second in _SYLLABLES]
