"""Text that a teacher generates once: the data of sequence-level distillation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxkd.data import Sequences
from jaxkd.data._examples import integers, refuse
from jaxkd.networks import Network


@dataclasses.dataclass(frozen=True, eq=False)
class GeneratedDataset:
    """Texts that continue prompts.

    Attributes:
      ids: int32 `[n]`, ids of the prompts.
      tokens: int32 `[n, length]`, each row's prompt and its continuation, then zeros.
      lengths: int32 `[n]`, lengths of the rows without the zeros.
      prompt_lengths: int32 `[n]`, lengths of the prompts.

    Example:
      >>> fields = ([7], [[5, 6, 9, 0]], [3], [2])  # ids, tokens, lengths, lengths of the prompts
      >>> texts = GeneratedDataset(*(np.array(field, np.int32) for field in fields))
      >>> rows = texts.sequences(name="taught", split="train", vocab_size=16, tokenizer="own")
      >>> rows.labels.tolist()  # 9 was generated
      [[-1, 9, -1, -1]]
    """

    ids: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    prompt_lengths: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    def sequences(self, **named: Any) -> Sequences:
        """Returns the texts as rows to learn from, under the ids of their prompts.

        Where prompts of several lengths are continued once more (`on_policy`), batches also need
        the field `"prompt_lengths"`.

        Args:
          **named: `name`, `split`, `vocab_size` and `tokenizer`, and what else
            `Sequences.from_arrays` takes.

        Returns:
          The rows; their labels are the next tokens where they were generated, -1 elsewhere.

        Raises:
          ValueError: as `Sequences.from_arrays`, tokens outside of the vocabulary for instance.
        """
        with jax.ensure_compile_time_eval():
            fields = map(jnp.asarray, (self.tokens, self.lengths, self.prompt_lengths))
            labels, documents = map(np.asarray, labels_and_documents(*fields))
        return Sequences.from_arrays(self.tokens, documents, labels, ids=self.ids, **named)


def generate_targets(
    generator: Any,
    teacher: Network,
    prompts: npt.ArrayLike,
    prompt_lengths: npt.ArrayLike,
    *,
    ids: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> GeneratedDataset:
    """Generates a teacher's continuations of prompts, once, for sequence-level distillation.

    The student's loss is `recipes.labels()`: cross entropy with the teacher's text. Each row
    has its own key, made of the seed and the prompt's id, so that the same id gives the same text
    whatever else is in the batch, up to the rounding of the logits.

    Args:
      generator: `functools.partial(jaxkd.generation.generate, decoder, max_new_tokens=…)`, or a
        function of the same arguments with a key for each row.
      teacher: the generating network, `decoder.network` with its trained variables.
      prompts: integers `[n, prompt_length]`, padded behind.
      prompt_lengths: integers `[n]`, at least 1 each.
      ids: unique integers `[n]`; None for 0, 1, ….
      seed: seed of the texts.
      batch_size: number of texts that are generated at a time.

    Returns:
      The n texts.

    Raises:
      ValueError: no prompts, shapes or lengths that do not fit, ids that are not unique, a
        batch_size below 1; before anything is generated.

    Example:
      >>> import jax.numpy as jnp
      >>> from types import SimpleNamespace
      >>> import jaxkd
      >>> def count_up(params, state, prompts, prompt_lengths, *, key):
      ...     tokens = prompts[:, :1] + jnp.arange(4)
      ...     return SimpleNamespace(tokens=tokens, lengths=jnp.full(len(prompts), 4))
      >>> teacher = jaxkd.from_function(lambda params, tokens: params[tokens], jnp.eye(16))
      >>> generate_targets(count_up, teacher, [[5], [8]], [1, 1]).tokens.tolist()
      [[5, 6, 7, 8], [8, 9, 10, 11]]

    References:
      Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016 (with beam search; here the
      texts are sampled, or the most probable token is taken at temperature 0).
    """
    prompts, lengths = integers(prompts, "prompts"), integers(prompt_lengths, "prompt_lengths")
    count = len(prompts)
    named = np.arange(count) if ids is None else integers(ids, "ids")
    _check(prompts, lengths, named, batch_size)

    @jax.jit
    def generate(params, state, prompts, lengths, ids):
        keys = jax.vmap(lambda one: jax.random.fold_in(jax.random.key(seed), one))(ids)
        text = generator(params, state, prompts, lengths, key=keys)
        return text.tokens, text.lengths

    texts = []
    for start in range(0, count, batch_size):
        # The last batch is filled up, so that nothing is compiled anew.
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        part = (array[rows].astype(np.int32) for array in (prompts, lengths, named))
        text = jax.device_get(generate(teacher.params, teacher.state, *part))
        texts.append([array[: count - start] for array in text])
    tokens, ends = (np.concatenate(parts).astype(np.int32) for parts in zip(*texts, strict=True))
    return GeneratedDataset(named.astype(np.int32), tokens, ends, lengths.astype(np.int32))


def labels_and_documents(
    tokens: jax.Array, lengths: jax.Array, prompt_lengths: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Returns the labels of texts that continue prompts, and where the texts are.

    Args:
      tokens: `[batch, length]`.
      lengths: `[batch]`, lengths of prompt and continuation together.
      prompt_lengths: `[batch]`, lengths of the prompts.

    Returns:
      The next token where it was generated, -1 elsewhere; and 1 for each token of the text, 0 after
      it. Both `[batch, length]`.
    """
    places = jnp.arange(tokens.shape[1])
    learned = (places + 1 >= prompt_lengths[:, None]) & (places + 1 < lengths[:, None])
    following = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
    documents = (places < lengths[:, None]).astype(jnp.int32)
    return jnp.where(learned, following, -1), documents


def _check(prompts: np.ndarray, lengths: np.ndarray, ids: np.ndarray, batch_size: int) -> None:
    if prompts.ndim != 2 or not len(prompts) or lengths.shape != prompts.shape[:1]:
        raise ValueError(
            f"prompts must be [n, prompt_length] and prompt_lengths [n], n at least 1, got "
            f"{prompts.shape} and {lengths.shape}"
        )
    if lengths.min() < 1 or lengths.max() > prompts.shape[1]:
        raise ValueError(
            f"prompt_lengths must lie in [1, {prompts.shape[1]}], got {lengths.min()} to "
            f"{lengths.max()}"
        )
    if ids.shape != lengths.shape:
        raise ValueError(f"ids must be one for each of {len(prompts)} prompts, got {ids.shape}")
    values, counts = np.unique(ids, return_counts=True)
    refuse(counts > 1, "id", values, "must be unique")
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, not {batch_size}")
