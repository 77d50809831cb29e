"""What a teacher writes, made once and replayable: the data of sequence-level distillation."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from jaxkd.data._examples import integers, refuse
from jaxkd.networks import Network


@dataclasses.dataclass(frozen=True, eq=False)
class Written:
    """Texts behind prompts, as data: rows of tokens, with labels for what was written alone.

    Attributes:
      ids: int32 `[n]`, of the prompts.
      tokens: int32 `[n, length]`, each row's prompt and what follows, zeros behind.
      lengths: int32 `[n]`, of the rows without the zeros.
      prompt_lengths: int32 `[n]`.
    """

    ids: npt.NDArray[np.int32]
    tokens: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int32]
    prompt_lengths: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def documents(self) -> npt.NDArray[np.int32]:
        """int32 `[n, length]`: 1 for the text, 0 for padding."""
        places = np.arange(self.tokens.shape[1])
        return (places < self.lengths[:, None]).astype(np.int32)

    @property
    def labels(self) -> npt.NDArray[np.int32]:
        """int32 `[n, length]`: the next token where it was written, -1 elsewhere."""
        with jax.ensure_compile_time_eval():
            labels, _, _ = next_tokens(*map(jnp.asarray, self._row_fields))
        return np.asarray(labels)

    def batch(self, rows: npt.ArrayLike) -> dict[str, np.ndarray]:
        """Some rows as a batch of the train step.

        Args:
          rows: integers `[batch]`.

        Returns:
          `id`, `inputs` `[batch, length, 2]` of tokens and documents, `labels`, `where` and
          `prompt_lengths`.
        """
        rows = np.asarray(rows)
        part = Written(*(array[rows] for array in (self.ids, *self._row_fields)))
        labels = part.labels
        return {
            "id": part.ids,
            "inputs": np.stack([part.tokens, part.documents], axis=-1),
            "labels": labels,
            "where": labels >= 0,
            "prompt_lengths": part.prompt_lengths,
        }

    @property
    def _row_fields(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self.tokens, self.lengths, self.prompt_lengths


def written(
    generator: Any,
    teacher: Network,
    prompts: npt.ArrayLike,
    prompt_lengths: npt.ArrayLike,
    *,
    ids: npt.ArrayLike | None = None,
    seed: int = 0,
    batch_size: int = 32,
) -> Written:
    """Lets a teacher write on from prompts, once: sequence-level distillation learns from the text.

    The student's loss is `recipes.labels()`: cross entropy with what the teacher wrote. Each row
    has its own key, made of the seed and the prompt's id, so that the same id gives the same text
    whatever else is in the batch, up to the rounding of the logits.

    Args:
      generator: `functools.partial(jaxkd.generation.generate, decoder, max_new_tokens=…)`, or what
        takes the same arguments with a key for each row.
      teacher: the network that writes, `decoder.network` with its trained variables.
      prompts: integers `[n, prompt_length]`, padded behind.
      prompt_lengths: integers `[n]`, at least 1 each.
      ids: unique integers `[n]`; None for 0, 1, ….
      seed: another one gives other texts.
      batch_size: how many are written at a time.

    Returns:
      A `Written` of n rows.

    Raises:
      ValueError: no prompts, shapes or lengths that do not fit, ids that are not unique, a
        batch_size below 1; before anything is written.

    References:
      Kim and Rush, Sequence-Level Knowledge Distillation, EMNLP 2016 (with beam search; here the
      texts are drawn, or the likeliest token is taken at temperature 0).
    """
    prompts, lengths = integers(prompts, "prompts"), integers(prompt_lengths, "prompt_lengths")
    count = len(prompts)
    named = np.arange(count) if ids is None else integers(ids, "ids")
    _check(prompts, lengths, named, batch_size)

    @jax.jit
    def write(params, state, prompts, lengths, ids):
        keys = jax.vmap(lambda one: jax.random.fold_in(jax.random.key(seed), one))(ids)
        text = generator(params, state, prompts, lengths, key=keys)
        return text.tokens, text.lengths

    texts = []
    for start in range(0, count, batch_size):
        # The last batch is filled up, so that nothing is compiled anew.
        rows = np.minimum(np.arange(start, start + batch_size), count - 1)
        part = (array[rows].astype(np.int32) for array in (prompts, lengths, named))
        text = jax.device_get(write(teacher.params, teacher.state, *part))
        texts.append([array[: count - start] for array in text])
    tokens, ends = (np.concatenate(parts).astype(np.int32) for parts in zip(*texts, strict=True))
    return Written(named.astype(np.int32), tokens, ends, lengths.astype(np.int32))


def next_tokens(
    tokens: jax.Array, lengths: jax.Array, prompt_lengths: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Labels of what was written behind prompts.

    Args:
      tokens: `[batch, length]`.
      lengths: `[batch]`, of prompt and writing together.
      prompt_lengths: `[batch]`.

    Returns:
      The next token where it was written, -1 elsewhere; where that is, a mask; and 1 for each token
      of the text, 0 behind it. All `[batch, length]`.
    """
    places = jnp.arange(tokens.shape[1])
    where = (places + 1 >= prompt_lengths[:, None]) & (places + 1 < lengths[:, None])
    following = jnp.pad(tokens[:, 1:], ((0, 0), (0, 1)))
    documents = (places < lengths[:, None]).astype(jnp.int32)
    return jnp.where(where, following, -1), where, documents


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
