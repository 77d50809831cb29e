"""Texts as tokens and as embeddings of a published sentence encoder, computed once."""

import dataclasses

import jax
import numpy as np

from experiments.common.sentence_encoders import Teacher, rows_of
from jaxkd.data import Texts

_BATCH, _MULTIPLE = 64, 8
PADDING, UNKNOWN = 0, 1


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """The tokens that occur in training texts, numbered from 2; 0 is padding, 1 is any other.

    Attributes:
      tokens: the encoder's numbers of these tokens, ascending.
    """

    tokens: np.ndarray

    @classmethod
    def of(cls, rows: "EncodedTexts") -> "Vocabulary":
        """Collects the tokens of texts."""
        return cls(np.unique(rows.tokens[rows.tokens >= 0]))

    def __len__(self) -> int:
        return len(self.tokens) + 2

    def number(self, rows: "EncodedTexts") -> np.ndarray:
        """Returns the new numbers of the tokens of texts, int32 `[texts, length]`."""
        place = np.minimum(np.searchsorted(self.tokens, rows.tokens), len(self.tokens) - 1)
        known = self.tokens[place] == rows.tokens
        numbers = np.where(known, place + 2, UNKNOWN)
        return np.where(rows.tokens < 0, PADDING, numbers).astype(np.int32)


@dataclasses.dataclass(frozen=True)
class EncodedTexts:
    """Texts as the encoder sees and embeds them.

    Attributes:
      ids: example ids, int32 `[texts]`.
      tokens: the encoder's tokens, -1 where there is none, int32 `[texts, length]`.
      embeddings: the encoder's embeddings, of length 1, float32 `[texts, width]`.
    """

    ids: np.ndarray
    tokens: np.ndarray
    embeddings: np.ndarray

    @classmethod
    def of(cls, texts: Texts, encoder: Teacher, length: int) -> "EncodedTexts":
        """Tokenizes and embeds texts.

        Args:
          texts: the texts.
          encoder: the sentence encoder.
          length: number of tokens of a text; longer ones are cut.

        Returns:
          The texts in the order of their ids.
        """
        rows = rows_of(texts, encoder, length, labels=None)
        tokens = np.where(rows.documents > 0, rows.tokens, -1).astype(np.int32)
        return cls(rows.ids, tokens, _embed(rows.tokens, rows.documents, encoder))


def _embed(tokens: np.ndarray, documents: np.ndarray, encoder: Teacher) -> np.ndarray:
    """Computes embeddings, short texts with short ones, so that little padding is computed."""
    network = encoder.network
    embed = jax.jit(lambda params, batch: network.apply(params, network.state, batch)[0]["logits"])
    lengths = (documents > 0).sum(axis=1)
    order = np.argsort(lengths, kind="stable")
    embeddings = np.zeros((len(tokens), encoder.width), np.float32)
    for start in range(0, len(order), _BATCH):
        rows = order[start : start + _BATCH]
        full = np.concatenate([rows, np.full(_BATCH - len(rows), rows[0])])
        length = min(tokens.shape[1], -(-lengths[rows].max() // _MULTIPLE) * _MULTIPLE)
        batch = np.stack([tokens[full, :length], documents[full, :length]], axis=-1)
        embeddings[rows] = np.asarray(embed(network.params, batch))[: len(rows)]
    return embeddings
