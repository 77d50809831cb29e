"""On-policy distillation: the student learns from text that it generates in the train step."""

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses._arguments import to_rank
from jaxkd.networks import PyTree
from jaxkd.objective import Schedule
from jaxkd.strategies.generate_targets import labels_and_documents
from jaxkd.training import BatchTransform

_WAYS = ("step", "row")
# The fields of a batch that the student's text replaces.
_REPLACED = ("inputs", "labels", "where", "by_student")


class TextGenerator(Protocol):
    """A function that continues prompts, as `jaxkd.generation.generate` of a decoder does.

    Example:
      >>> from types import SimpleNamespace
      >>> def count_up(params, state, prompts, prompt_lengths, *, key):
      ...     tokens = prompts[:, :1] + jnp.arange(4)
      ...     return SimpleNamespace(tokens=tokens, lengths=jnp.full(len(prompts), 4))
      >>> count_up(None, None, jnp.array([[5]]), jnp.array([1]), key=None).tokens.tolist()
      [[5, 6, 7, 8]]
    """

    def __call__(
        self,
        params: PyTree,
        state: PyTree,
        prompts: jax.Array,
        prompt_lengths: jax.Array,
        *,
        key: jax.Array,
    ) -> Any:
        """Returns `tokens` `[batch, length]`, each row its prompt and what follows, and `lengths`.

        Rows are padded behind; a token that ends a row counts in its length.
        """


def on_policy(
    generator: TextGenerator,
    *,
    prompt_length: int,
    share: float | Schedule = 1.0,
    per: str = "step",
    beside: bool = False,
) -> BatchTransform:
    """Makes the student continue the prompts of a batch, and learn from its own text.

    For `make_train_step(…, teacher=…, batch_transform=on_policy(…))`. Before anything else in the
    step the student, as it is, continues the prompts; inputs, labels and `where` then are those of
    its own texts (only tokens that it generated are counted), and the teacher scores them in the
    same program. What is generated depends on the state's key and step alone: an interrupted run
    resumes to the last bit.

    A batch has tokens as `"inputs"`, `[batch, length]` or `[batch, length, 2]` with document
    numbers, and `"labels"` `[batch, length]` of next tokens. The prompts are a row's first tokens:
    as many as the field `"prompt_lengths"` `[batch]` says (0 for a row that is padding), or
    `prompt_length`, of the row's first document. A row counts for nothing where another document
    begins right after the prompt, or, without `"prompt_lengths"`, padding: the text has ended. The
    batch gets the field `"by_student"`, bool `[batch]`.

    Args:
      generator: `functools.partial(jaxkd.generation.generate, decoder, max_new_tokens=…)`, where
        `decoder` is of the same architecture as the student; `prompt_length` and the new tokens
        together make the length of the batch's rows. Losses that are estimates over sampled tokens
        need a temperature of 1, and all tokens.
      prompt_length: length of the longest prompt.
      share: share of the student's texts, from 0 (the data alone, where nothing is generated) to 1;
        the lambda of GKD. A number or an optax schedule.
      per: whether the choice is made for the whole batch of a `"step"`, so that nothing is
        generated where the data are learned, or for each `"row"`.
      beside: whether the data are kept, too: row i of the data and the student's text become rows
        2i and 2i + 1. The share must be 1.

    Returns:
      A function for `make_train_step(…, batch_transform=…)`.

    Raises:
      ValueError: a share outside of [0, 1], another `per`, a prompt_length below 1; while tracing,
        a batch without tokens or labels, texts of another length than the batch's.

    Example:
      >>> from types import SimpleNamespace
      >>> def count_up(params, state, prompts, prompt_lengths, *, key):
      ...     tokens = jnp.arange(4) * jnp.ones_like(prompts[:, :1])
      ...     return SimpleNamespace(tokens=tokens, lengths=jnp.full(len(prompts), 4))
      >>> batch = {
      ...     "inputs": jnp.array([[5, 0, 0, 0]]),
      ...     "labels": jnp.array([[-1, -1, -1, -1]]),
      ... }
      >>> batch_transform = on_policy(count_up, prompt_length=1)
      >>> made = batch_transform(None, None, batch, step=0, key=jax.random.key(0))
      >>> made["inputs"].tolist(), made["labels"].tolist()
      ([[0, 1, 2, 3]], [[1, 2, 3, -1]])

    References:
      Agarwal et al., On-Policy Distillation of Language Models, ICLR 2024 (GKD); Ko et al.,
      DistiLLM-2, ICML 2025 (both texts of every prompt).
    """
    if not callable(share) and not 0 <= share <= 1:
        raise ValueError(f"share must lie in [0, 1], not {share}")
    if per not in _WAYS:
        raise ValueError(f"per must be one of {', '.join(_WAYS)}, not {per!r}")
    if prompt_length < 1:
        raise ValueError(f"prompt_length must be at least 1, not {prompt_length}")
    if beside and (callable(share) or share != 1):
        raise ValueError(
            f"beside=True keeps both texts of every prompt, which leaves no share={share} to "
            "choose: leave share at 1"
        )

    def batch_transform(params, state, batch, *, step, key):
        _check(batch, prompt_length)
        data, others = _split(batch)
        choice, sampling = jax.random.split(key)

        def own() -> dict[str, jax.Array]:
            return _generated(generator, params, state, batch, prompt_length, sampling)

        if beside:
            both = jax.tree.map(_interleaved, data, own())
            return {**jax.tree.map(lambda x: jnp.repeat(x, 2, axis=0), others), **both}
        if not callable(share) and share in (0, 1):
            return {**others, **(own() if share == 1 else data)}
        wanted = share(step) if callable(share) else share
        if per == "step":
            chosen = jax.lax.cond(jax.random.uniform(choice) < wanted, own, lambda: data)
        else:
            rows = jax.random.uniform(choice, batch["inputs"].shape[:1]) < wanted
            chosen = jax.tree.map(lambda a, b: jnp.where(to_rank(rows, a.ndim), a, b), own(), data)
        return {**others, **chosen}

    return batch_transform


def _generated(
    generator: TextGenerator,
    params: PyTree,
    state: PyTree,
    batch: Any,
    prompt_length: int,
    key: Any,
) -> dict[str, jax.Array]:
    """Returns the student's text as the fields of a batch."""
    inputs = batch["inputs"]
    tokens = inputs if inputs.ndim == 2 else inputs[..., 0]
    given = jnp.full(inputs.shape[:1], prompt_length)
    if inputs.ndim == 3:
        given = jnp.sum(inputs[:, :prompt_length, 1] == 1, axis=1)
    if "prompt_lengths" in batch:
        given = jnp.minimum(given, batch["prompt_lengths"])
    if inputs.ndim == 3:
        # After the end of a text there is nothing to learn; a prompt alone has not ended.
        behind = jnp.take_along_axis(inputs[..., 1], given[:, None], axis=1)[:, 0]
        ended = behind > 1 if "prompt_lengths" in batch else behind != 1
        given = jnp.where(ended, 0, given)
    prompts, lengths = tokens[:, :prompt_length], jnp.maximum(given, 1)
    text = generator(params, state, prompts, lengths, key=key)
    if text.tokens.shape != tokens.shape:
        raise ValueError(
            f"the student generates texts of shape {text.tokens.shape}, the batch's have shape "
            f"{tokens.shape}: prompt_length={prompt_length} and the generator's max_new_tokens "
            "together must make their length"
        )
    generated = text.tokens.astype(inputs.dtype)
    labels, documents = labels_and_documents(generated, text.lengths, lengths)
    real = given > 0
    if batch.get("where") is not None and batch["where"].ndim == 1:
        real &= batch["where"]
    if inputs.ndim == 3:
        documents = jnp.where(real[:, None], documents, 0)  # a row that counts for nothing is empty
        generated = jnp.stack([generated, documents.astype(inputs.dtype)], axis=-1)
    labels = jnp.where(real[:, None], labels, -1)
    return {
        "inputs": generated,
        "labels": labels.astype(batch["labels"].dtype),
        "where": labels >= 0,
        "by_student": jnp.ones(given.shape, bool),
    }


def _split(batch: Any) -> tuple[dict[str, jax.Array], dict[str, Any]]:
    """Returns the fields that the student's text replaces, as the data have them, and the rest."""
    labels, where = batch["labels"], batch.get("where")
    where = labels >= 0 if where is None else to_rank(where, labels.ndim)
    data = {
        "inputs": batch["inputs"],
        "labels": labels,
        "where": jnp.broadcast_to(where, labels.shape),
        "by_student": jnp.zeros(labels.shape[:1], bool),
    }
    return data, {name: value for name, value in batch.items() if name not in _REPLACED}


def _check(batch: Any, prompt_length: int) -> None:
    if missing := [name for name in ("inputs", "labels") if name not in batch]:
        raise ValueError(
            f"on-policy training needs the fields {missing}; the batch has {sorted(batch)}"
        )
    inputs, labels = (jnp.shape(batch[name]) for name in ("inputs", "labels"))
    prompts = jnp.shape(batch.get("prompt_lengths", np.zeros(labels[:1])))
    if inputs not in (labels, (*labels, 2)) or len(labels) != 2 or prompts != labels[:1]:
        raise ValueError(
            "a batch for on-policy training has inputs [batch, length] or [batch, length, 2], "
            f"labels [batch, length], and perhaps prompt_lengths [batch], not {inputs}, {labels} "
            f"and {prompts}"
        )
    if prompt_length >= labels[1]:
        raise ValueError(
            f"prompt_length={prompt_length} leaves nothing to generate in rows of {labels[1]} "
            "tokens"
        )


def _interleaved(first: jax.Array, second: jax.Array) -> jax.Array:
    """Returns interleaved rows, so that each device of a mesh keeps its own."""
    return jnp.stack([first, second], axis=1).reshape(-1, *first.shape[1:])
