"""Alignment of the tokens of two tokenizers, for losses between their models.

Tokens are aligned once, on the host, where the text is tokenized: every token gets the number of
its chunk, a piece of text with the same bounds for both tokenizers. Inside the compiled step
`chunk_log_probs` then computes one distribution per chunk for each model.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature, concrete_value
from jaxkd.losses._logit_pairs import dense, mask_logits
from jaxkd.losses._numerics import compute_dtype, temper


def align_by_position(
    student_where: np.ndarray, teacher_where: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs the k-th token of the student's response with the k-th token of the teacher's.

    A response begins with the first selected token. A pair counts if both its tokens are selected.

    Args:
      student_where: boolean `[batch, student_tokens]`, the tokens of the student's response.
      teacher_where: boolean `[batch, teacher_tokens]`, the tokens of the teacher's response.

    Returns:
      `(student_chunks, teacher_chunks)`, int32, of the shapes of the masks: k for the tokens of the
      k-th pair, -1 for tokens without a pair.

    Raises:
      ValueError: masks that are not of rank 2 or have different batch sizes.

    Example:
      >>> import numpy as np
      >>> from jaxkd import losses
      >>> student = np.array([[False, True, True, True]])
      >>> teacher = np.array([[False, False, True, True]])
      >>> losses.align_by_position(student, teacher)
      (array([[-1,  0,  1, -1]], dtype=int32), array([[-1, -1,  0,  1]], dtype=int32))

    References:
      Boizard et al., Toward Cross-Tokenizer Distillation: the Universal Logit Distillation Loss for
      LLMs, TMLR 2025.
    """
    student, teacher = np.asarray(student_where, bool), np.asarray(teacher_where, bool)
    _check_batches("masks", student, teacher, rank=2)
    student_chunks, teacher_chunks = _in_no_chunk(student), _in_no_chunk(teacher)
    # A row without any token starts anywhere: nothing in it is selected.
    starts = zip(student.argmax(axis=1), teacher.argmax(axis=1), strict=True)
    for row, (s, t) in enumerate(starts):
        length = min(student.shape[1] - s, teacher.shape[1] - t)
        both = student[row, s : s + length] & teacher[row, t : t + length]
        numbers = np.where(both, np.arange(length), -1)
        student_chunks[row, s : s + length] = numbers
        teacher_chunks[row, t : t + length] = numbers
    return student_chunks, teacher_chunks


def align_by_bytes(
    student_offsets: np.ndarray,
    teacher_offsets: np.ndarray,
    *,
    student_where: np.ndarray | None = None,
    teacher_where: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Groups tokens into the shortest chunks at whose ends both tokenizers end a token.

    Both sides must count bytes (or characters) of the same text from the same origin. The tokens
    after the last common end are one more chunk if both sides have some; otherwise they are in no
    chunk, as a token of no width at the end of one side (end of sequence).

    Args:
      student_offsets: integers `[batch, student_tokens, 2]`, the begin and end of each token in the
        text; the ends do not decrease along the selected tokens.
      teacher_offsets: integers `[batch, teacher_tokens, 2]`, the same for the teacher's tokens.
      student_where: boolean `[batch, student_tokens]`, the tokens of the text; None for all.
      teacher_where: boolean `[batch, teacher_tokens]`; None for all.

    Returns:
      `(student_chunks, teacher_chunks)`, int32 `[batch, student_tokens]` and
      `[batch, teacher_tokens]`: the number of each token's chunk, from 0 in every row; -1 for
      tokens in no chunk.

    Raises:
      ValueError: offsets or masks of other shapes, ends that decrease.

    Example:
      The text is cut as ab|c|de by one tokenizer, as a|b|cde by the other.

      >>> import numpy as np
      >>> from jaxkd import losses
      >>> student = np.array([[[0, 2], [2, 3], [3, 5]]])
      >>> teacher = np.array([[[0, 1], [1, 2], [2, 5]]])
      >>> losses.align_by_bytes(student, teacher)
      (array([[0, 1, 1]], dtype=int32), array([[0, 0, 1]], dtype=int32))

    References:
      Patino et al., Unlocking On-Policy Distillation for Any Model Family (GOLD), 2025.
    """
    student, teacher = np.asarray(student_offsets), np.asarray(teacher_offsets)
    _check_batches("offsets", student, teacher, rank=3)
    of_student = _token_mask("student", student, student_where)
    of_teacher = _token_mask("teacher", teacher, teacher_where)
    student_chunks, teacher_chunks = _in_no_chunk(of_student), _in_no_chunk(of_teacher)
    for row in range(len(student)):
        (
            student_chunks[row, of_student[row]],
            teacher_chunks[row, of_teacher[row]],
        ) = _chunk_row(
            _ends("student", student[row, of_student[row], 1], row),
            _ends("teacher", teacher[row, of_teacher[row], 1], row),
        )
    return student_chunks, teacher_chunks


def chunk_log_probs(
    logits: ArrayLike,
    token_ids: ArrayLike,
    chunks: ArrayLike,
    *,
    num_chunks: int,
    keep: str = "last",
    temperature: ArrayLike = 1.0,
    floor: float = 1e-8,
) -> tuple[jax.Array, jax.Array]:
    """Computes one distribution per chunk, that of one token times the others' probabilities.

    The distribution of a chunk of one token is that of the token. By the chain rule, the
    probability of a longer chunk is the product of its tokens'; here the whole distribution at one
    position is multiplied by the probabilities of the actual tokens at the other positions. The
    result is not normalized.

    Pass logits such that those at a token predict this token: of a causal model, shifted by one.
    (The strategy "observed" of TRL's trainer keeps the first and does not shift; "bayesian" keeps
    the last and does.)

    Args:
      logits: logits `[batch, tokens, vocabulary]`.
      token_ids: integers `[batch, tokens]`, the tokens of the text.
      chunks: integers `[batch, tokens]` from `align_by_bytes` or `align_by_position`; the tokens of
        a chunk are contiguous.
      num_chunks: number of chunks in the result, the same for both models; the number of tokens of
        the shorter side is always enough. Chunks beyond it are dropped.
      keep: position whose distribution is kept, `"first"` or `"last"`. The last is conditioned on
        all other tokens of the chunk, the first on none.
      temperature: positive scalar that divides the logits; may be traced.
      floor: lower bound of the probability of each other token, so that a single bad prediction
        does not remove the chunk from the loss; 0 for none.

    Returns:
      Log-probabilities `[batch, num_chunks, vocabulary]`, float32 at least, and whether the chunk
      exists, `[batch, num_chunks]`; where it does not, the distribution is uniform.

    Raises:
      ValueError: arrays whose shapes differ, ids or chunks that are not integers, another `keep`, a
        num_chunks or a temperature that is not positive, a negative floor.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> logits = jnp.log(jnp.array([[[0.5, 0.5], [0.8, 0.2]]]))
      >>> log_probs, present = losses.chunk_log_probs(
      ...     logits, jnp.array([[0, 1]]), jnp.array([[0, 0]]), num_chunks=1
      ... )
      >>> [f"{p:.1f}" for p in jnp.exp(log_probs[0, 0])]
      ['0.4', '0.1']

    References:
      Patino et al., Unlocking On-Policy Distillation for Any Model Family (GOLD), 2025.
    """
    logits = dense("logits", logits, "the tokens of two vocabularies share no indices")
    token_ids, chunks = jnp.asarray(token_ids), jnp.asarray(chunks)
    check_temperature(temperature)
    if logits.ndim != 3 or not token_ids.shape == chunks.shape == logits.shape[:2]:
        raise ValueError(
            f"logits must be [batch, tokens, vocabulary], token_ids and chunks [batch, tokens], "
            f"got {logits.shape}, {token_ids.shape} and {chunks.shape}"
        )
    if not all(jnp.issubdtype(x.dtype, jnp.integer) for x in (token_ids, chunks)):
        raise ValueError(
            f"token_ids and chunks must be integers, got {token_ids.dtype} and {chunks.dtype}"
        )
    if keep not in ("first", "last"):
        raise ValueError(f"keep must be 'first' or 'last', got {keep!r}")
    if num_chunks < 1:
        raise ValueError(f"num_chunks must be at least 1, got {num_chunks}")
    if (least := concrete_value(floor)) is not None and least < 0:
        raise ValueError(f"floor must not be negative, got {least}")
    dtype = compute_dtype(logits)
    # Tokens in no chunk must not matter, even if their logits are NaN.
    log_probs = jax.nn.log_softmax(
        mask_logits(temper(logits, temperature, dtype), None, chunks >= 0)
    )
    of_token = jnp.where(chunks >= 0, token_ids, 0)[..., None]
    of_token = jnp.take_along_axis(log_probs, of_token, axis=-1)[..., 0]
    of_token = jnp.maximum(of_token, jnp.log(jnp.asarray(floor, dtype)))

    members = chunks[:, None, :] == jnp.arange(num_chunks, dtype=chunks.dtype)[:, None]
    present = jnp.any(members, axis=-1)
    tokens = chunks.shape[1]
    if keep == "first":
        position = jnp.argmax(members, axis=-1)
    else:
        position = tokens - 1 - jnp.argmax(members[..., ::-1], axis=-1)
    others = members & (jnp.arange(tokens, dtype=position.dtype) != position[..., None])
    factor = jnp.sum(jnp.where(others, of_token[:, None, :], 0), axis=-1)
    # Row by row, so that the batch may be sharded on a mesh of explicit axes.
    kept = jax.vmap(lambda row, positions: row[positions])(log_probs, position)
    uniform = -jnp.log(jnp.asarray(logits.shape[-1], dtype))
    return jnp.where(present[..., None], kept + factor[..., None], uniform), present


def _chunk_row(student: np.ndarray, teacher: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the chunks of one row's tokens, from the ends of the tokens."""
    numbers = (np.zeros(len(student), np.int32), np.zeros(len(teacher), np.int32))
    s = t = chunk = 0
    while s < len(student) and t < len(teacher):
        s_end, t_end = student[s], teacher[t]
        if s_end <= t_end:
            numbers[0][s] = chunk
            s += 1
        if t_end <= s_end:
            numbers[1][t] = chunk
            t += 1
        chunk += int(s_end == t_end)
    numbers[0][s:], numbers[1][t:] = chunk, chunk
    if not (np.any(numbers[0] == chunk) and np.any(numbers[1] == chunk)):
        for side in numbers:
            side[side == chunk] = -1
    return numbers


def _in_no_chunk(tokens: np.ndarray) -> np.ndarray:
    """Returns -1, for no chunk, in the shape of the tokens."""
    return np.full(tokens.shape, -1, np.int32)


def _token_mask(name: str, offsets: np.ndarray, where: np.ndarray | None) -> np.ndarray:
    """Returns the mask of one side's tokens, all True for None; ValueError unless it fits."""
    mask = np.ones(offsets.shape[:2], bool) if where is None else np.asarray(where, bool)
    if offsets.shape[2] != 2 or mask.shape != offsets.shape[:2]:
        raise ValueError(
            f"{name}_offsets must be [batch, tokens, 2] and {name}_where [batch, tokens], got "
            f"offsets of shape {offsets.shape} and a mask of shape {mask.shape}"
        )
    return mask


def _ends(name: str, ends: np.ndarray, row: int) -> np.ndarray:
    """Returns the ends of one row's tokens; raises ValueError if they decrease."""
    if np.any(np.diff(ends) < 0):
        raise ValueError(
            f"the {name}'s tokens end at {ends.tolist()} in row {row}: the ends must not "
            "decrease; select the tokens of one text with the mask"
        )
    return ends


def _check_batches(what: str, student: np.ndarray, teacher: np.ndarray, rank: int) -> None:
    """Raises ValueError unless both sides have the given rank and the same batch size."""
    if student.ndim != rank or teacher.ndim != rank or len(student) != len(teacher):
        expected = "[batch, tokens]" if rank == 2 else "[batch, tokens, 2]"
        raise ValueError(
            f"{what} must be {expected} with one batch size, got shapes {student.shape} and "
            f"{teacher.shape}"
        )
