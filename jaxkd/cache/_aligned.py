"""A teacher of another tokenizer: its cached outputs, aligned with a student's tokens."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._cache import Cache
from jaxkd.cache._contract import CacheError
from jaxkd.cache._examples import FINGERPRINT, same_examples
from jaxkd.data import Examples, Sequences, align
from jaxkd.targets import EncodedOutputs
from jaxkd.views import Views


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AlignedOutputs:
    """Encoded outputs of a teacher, with the chunks of its labels and the student's; a pytree.

    Attributes:
      outputs: what the cache stores.
      alignment: `"labels"`, `"chunks"`, `"student_labels"` and `"student_chunks"`, each
        `[batch, length]`.

    Example:
      >>> import tempfile, jax.numpy as jnp, jaxkd
      >>> from jaxkd.data import Texts, Tokenizer
      >>> texts = Texts.from_texts(["the cat sat"], name="one", split="train")
      >>> ours, theirs = Tokenizer.bytes(), Tokenizer.train(texts.texts, 264)
      >>> student, teacher = texts.padded(ours, 12), texts.padded(theirs, 8)
      >>> table = jnp.zeros((theirs.vocab_size, theirs.vocab_size))
      >>> bigrams = jaxkd.from_function(lambda params, x: params[x[..., 0]], table)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), bigrams, teacher, progress=False)
      >>> read = jaxkd.cache.AlignedCache(cache, student, teacher).read(student.ids, 0)
      >>> decoded = read.decode()
      >>> decoded["logits"].shape[:2], decoded["chunks"].shape, decoded["student_chunks"].shape
      ((1, 8), (1, 8), (1, 12))
    """

    outputs: EncodedOutputs
    alignment: dict[str, jax.Array | np.ndarray]

    def decode(self) -> dict[str, Any]:
        """Returns the teacher's outputs and the alignment by name."""
        return {**self.outputs.decode(), **self.alignment}


class AlignedCache:
    """Reads a cache of a teacher of another tokenizer, for a student's rows of the same texts.

    A batch's teacher then has, beside what is cached, `"labels"` and `"chunks"` of its own rows and
    `"student_labels"` and `"student_chunks"` of the student's: what `losses.chunk_log_probs` takes.
    For a `jaxkd.data.Loader` of the student's rows.

    Args:
      cache: opened cache of the teacher's rows.
      student: rows with next tokens and offsets, one text a row.
      teacher: rows of the same texts and ids by the teacher's tokenizer.

    Raises:
      CacheError: the cache is not one of the teacher's rows.
      KeyError: an id of the student's that the teacher does not have.
      ValueError: rows that cannot be aligned; see `jaxkd.data.align`.

    Attributes:
      dataset: the student's rows.
      views: how they are rendered, as the cache was opened.
      num_views: number of views of the cache.
      in_memory: whether the cache is read into memory.

    Example:
      >>> import tempfile, jax, jax.numpy as jnp, jaxkd
      >>> from jaxkd import losses
      >>> from jaxkd.data import Texts, Tokenizer
      >>> texts = Texts.from_texts(["the cat sat", "the mat"], name="two", split="train")
      >>> ours, theirs = Tokenizer.bytes(), Tokenizer.train(texts.texts, 264)
      >>> student, teacher = texts.padded(ours, 12), texts.padded(theirs, 8)
      >>> table = jax.random.normal(jax.random.key(0), (theirs.vocab_size, theirs.vocab_size))
      >>> bigrams = jaxkd.from_function(lambda params, x: params[x[..., 0]], table)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), bigrams, teacher, progress=False)
      >>> aligned = AlignedCache(cache, student, teacher)
      >>> batch = jaxkd.data.Loader(student, jaxkd.Views(), 2, cache=aligned)[0]
      >>> outputs = batch["teacher"].decode()
      >>> log_probs, present = losses.chunk_log_probs(
      ...     outputs["logits"], outputs["labels"], outputs["chunks"], num_chunks=8)
      >>> log_probs.shape, present.sum(axis=1).tolist()
      ((2, 8, 260), [4, 7])
    """

    def __init__(self, cache: Cache, student: Sequences, teacher: Sequences):
        cache.check(dataset=teacher)
        self._cache, self._student, self._teacher = cache, student, teacher
        self._chunks = align(student, teacher)
        self.dataset, self.views = student, cache.views
        self.num_views, self.in_memory = cache.num_views, cache.in_memory

    def check(self, *, dataset: Examples, views: Views, num_views: int | None = None) -> None:
        """Refuses other rows than those that were aligned, and what the cache refuses.

        Args:
          dataset: the student's rows.
          views: how they are rendered.
          num_views: number of views that will be read.

        Raises:
          CacheError: each field that differs.
        """
        own, wanted = (_contract.of_dataset(rows) for rows in (self._student, dataset))
        remedy = "Align the rows that are trained on."
        common = np.intersect1d(dataset.ids, self._student.ids)
        if same_examples(self._student, dataset, common):
            del wanted[FINGERPRINT]
        _contract.check(self._cache.path, own, wanted, remedy=remedy)
        if (absent := np.setdiff1d(dataset.ids, self._student.ids)).size:
            raise CacheError(
                f"{absent.size} rows have not been aligned, ids {absent[:5].tolist()} first"
            )
        teacher = self._teacher.select(dataset.ids)
        self._cache.check(dataset=teacher, views=views, num_views=num_views)

    def read(self, ids: np.ndarray, view: int) -> AlignedOutputs:
        """Reads the outputs for some rows, and their alignment; see `Cache.read`.

        Args:
          ids: ids of the student's rows `[batch]`.
          view: number of the view.

        Returns:
          Encoded outputs and the alignment.

        Raises:
          CacheError: an id or view that is not there.
          KeyError: an id that was not aligned.
        """
        ours, theirs = self._student.rows(ids), self._teacher.rows(ids)
        alignment: dict[str, jax.Array | np.ndarray] = {
            "labels": self._teacher.labels[theirs],
            "chunks": self._chunks.teacher[ours],
            "student_labels": self._student.labels[ours],
            "student_chunks": self._chunks.student[ours],
        }
        return AlignedOutputs(self._cache.read(ids, view), alignment)
