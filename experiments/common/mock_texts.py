"""Mock sentences about invented topics, for trying out experiments on text."""

import numpy as np

from jaxkd.data import Texts, Tokenizer

TOPICS = 6
_TOPIC_WORDS = 15
_COMMON_WORDS = 12
_SYLLABLES = ("ba", "de", "fi", "go", "ku", "la", "me", "ni", "po", "ru", "sa", "ti")


def mock_texts(count: int, split: str, *, num_classes: int = 0) -> Texts:
    """Makes sentences of five to twelve words, half of which belong to one topic.

    Args:
      count: number of sentences.
      split: name of the split; every split has sentences of its own.
      num_classes: number of classes, at most `TOPICS`, over which the topics are spread evenly; 0
        for no labels.

    Returns:
      The sentences, the same in every call.

    Raises:
      ValueError: more classes than topics.
    """
    if not 0 <= num_classes <= TOPICS:
        raise ValueError(f"mock texts have at most {TOPICS} classes, not {num_classes}")
    generator = np.random.default_rng(np.random.PCG64((7, *split.encode())))
    words = ["".join(pair) + end for pair in _pairs() for end in ("n", "s", "")]
    common, words = words[:_COMMON_WORDS], words[_COMMON_WORDS:]
    texts, topics = [], generator.integers(TOPICS, size=count)
    for topic in topics:
        topic_words = words[topic * _TOPIC_WORDS : (topic + 1) * _TOPIC_WORDS]
        length = generator.integers(5, 13)
        topical = generator.random(length) < 0.5
        picks = generator.integers(_COMMON_WORDS * _TOPIC_WORDS, size=length)
        chosen = [
            topic_words[pick % len(topic_words)] if is_topical else common[pick % len(common)]
            for is_topical, pick in zip(topical, picks, strict=True)
        ]
        texts.append(" ".join(chosen))
    return Texts.from_texts(
        texts,
        topics % num_classes if num_classes else None,
        name="mock",
        split=split,
        num_classes=num_classes,
        class_names=tuple(f"class {number}" for number in range(num_classes)),
    )


def mock_tokenizer() -> Tokenizer:
    """Trains a tokenizer on mock sentences of a split of their own."""
    return Tokenizer.train(mock_texts(500, "tokenizer").texts, 400)


def _pairs() -> list[tuple[str, str]]:
    return [(first, second) for first in _SYLLABLES for second in _SYLLABLES]
