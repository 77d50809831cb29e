"""Losses on hidden states and head weights, from losses on logits."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_positive, to_rank
from jaxkd.losses._kinds import returns_sum_and_count
from jaxkd.losses._numerics import compute_dtype
from jaxkd.losses._sampled_classes import SampledClasses
from jaxkd.losses._sparse_logits import SparseLogits, empty_entries
from jaxkd.losses.fused._chunks import ChunkPlan, chunked_sum, matmul

# Bytes of the float32 logits of a chunk. The head is read and its gradient added to once a chunk,
# which with fewer than some 300 tokens takes longer than the products.
_CHUNK_BYTES = 192 << 20
# The axes of `jaxkd.training.make_mesh` over which a batch is sharded.
_TOKEN_AXES = ("data", "fsdp")
# The parameters of a loss on logits that are not passed on as options.
_FIXED = frozenset({"student", "teacher", "labels", "axis", "where"})


def fused_linear(
    loss: Callable[..., jax.Array],
    *,
    chunk_size: int | None = None,
    soft_cap: float | None = None,
    teacher_soft_cap: float | None = None,
    valid_classes: int | None = None,
    unlabeled: bool = False,
    token_axes: tuple[str, ...] = _TOKEN_AXES,
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Converts a loss on logits to one on `(hidden, head)` that never holds all logits.

    The logits `hidden @ head` are computed for a chunk of tokens at a time, together with the
    gradients to hidden states and head when the loss is differentiated: no logits are stored, none
    are computed twice, and the backward pass only scales. This is why the result is a sum over the
    tokens and their count, not one loss per token. Sums and counts of micro-batches, devices and
    hosts add up; divide once, at the end, as an `Objective` does.

    Products are accumulated in float32 at least (`preferred_element_type`), and so is the gradient
    to the head over the chunks. As with stored logits, the gradient to the logits enters its
    products in the dtype of hidden states and head: pass both in the dtype of the network's
    products.

    There is no gradient to the teacher, the labels or the temperature, which may be traced; and no
    forward-mode derivative.

    Args:
      loss: function of `student` (logits `[tokens, num_classes]`) and `teacher`, `labels` or both
        that returns one loss per token, for instance `kl_divergence`, `kd`, `js_divergence`,
        `cross_entropy`, a `functools.partial` of one, or a function that sums several. Its other
        parameters (`temperature`, …) are passed on. It must not couple tokens.
      chunk_size: number of tokens whose logits are held at a time, on each part of the mesh's
        `token_axes`. By default those whose float32 logits take 192 MiB, rounded down to a multiple
        of 128: 384 with 128,256 classes. More are faster where memory allows them.
      soft_cap: constant c, if the student's logits are `c tanh(hidden @ head / c)`.
      teacher_soft_cap: the same constant for a teacher given as hidden states and head.
      valid_classes: number of classes, where the head has more columns (a padded vocabulary):
        logits beyond it are -inf. The teacher may be padded to any width, or not at all.
      unlabeled: whether tokens with a label of -1 count, with the value that the loss gives them (0
        for `cross_entropy`); otherwise they are left out like those that `where` leaves out.
      token_axes: axes of the mesh of `jax.set_mesh` over which the first axis of the tokens is
        sharded, if it has them: each part processes its own tokens, and the gradient to the head is
        summed over the parts once. A head whose classes are sharded over another axis stays so, and
        so do the logits.

    Returns:
      `fused(student, teacher, labels, *, where=None, ...) -> (sum, count)`, without `teacher` or
      `labels` if the loss has none:

      - `student`: `(hidden, head)`, `[..., width]` and `[width, num_classes]`.
      - `teacher`: logits `[..., num_classes]`, `SparseLogits`, `SampledClasses`, or its
        `(hidden, head)`, of any width.
      - `labels`: class ids or probabilities, as for `cross_entropy`.
      - `where`: boolean with the axes of the tokens or the first few of them; the tokens that
        count.

      `sum` and `count` are scalars of the same dtype, float32 at least.

    Raises:
      ValueError: a loss without `student`, or with neither `teacher` nor `labels`; a chunk_size,
        soft_cap or valid_classes that is not positive. When called: shapes that do not fit, a loss
        that does not return one number per token.
      TypeError: when called, a student that is no pair.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from jaxkd import losses
      >>> hidden, head = jnp.eye(4, 3), jnp.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
      >>> loss = losses.fused_linear(losses.cross_entropy)
      >>> total, count = loss((hidden, head), jnp.array([0, 1, 1, -1]))
      >>> print(f"{total:.3f}", int(count))
      1.320 3

    References:
      Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models, 2025; Hsu et al.,
      Liger-Kernel: Efficient Triton Kernels for LLM Training, 2024 (gradients in the forward pass).
    """
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size must be at least 1 token, not {chunk_size}")
    if valid_classes is not None and valid_classes < 1:
        raise ValueError(f"valid_classes must be at least 1, not {valid_classes}")
    for name, cap in (("soft_cap", soft_cap), ("teacher_soft_cap", teacher_soft_cap)):
        if cap is not None:
            check_positive(name, cap)
    fused_loss = _FusedLoss(
        loss, chunk_size, soft_cap, teacher_soft_cap, valid_classes, unlabeled, tuple(token_axes)
    )
    signature = _signature(loss)

    def fused(*arguments: Any, **keywords: Any) -> tuple[jax.Array, jax.Array]:
        return fused_loss(**signature.bind(*arguments, **keywords).arguments)

    fused.__name__ = fused.__qualname__ = f"fused {_name(loss)}"
    fused.__signature__ = signature  # type: ignore[attr-defined]
    return returns_sum_and_count(fused)


@dataclasses.dataclass(frozen=True)
class _FusedLoss:
    """A fused loss with its options, to be called with arrays; see `fused_linear`."""

    loss: Callable[..., jax.Array]
    chunk_size: int | None
    soft_cap: float | None
    teacher_soft_cap: float | None
    valid_classes: int | None
    unlabeled: bool
    token_axes: tuple[str, ...]

    def __call__(
        self,
        student: tuple[jax.Array, jax.Array],
        teacher: Any = None,
        labels: ArrayLike | None = None,
        where: ArrayLike | None = None,
        **options: Any,
    ) -> tuple[jax.Array, jax.Array]:
        hidden, head = _pair("student", student)
        tokens, classes = hidden.shape[:-1], head.shape[1]
        valid = classes if self.valid_classes is None else self.valid_classes
        if valid > classes:
            raise ValueError(
                f"valid_classes={valid}, but the student's head {head.shape} has {classes} classes"
            )
        if where is not None:
            mask = to_rank(jnp.asarray(where), len(tokens))
            where = jnp.broadcast_to(as_mask(mask, tokens, "the tokens, of shape"), tokens)
        per_token: dict[str, Any] = {}
        # Concrete numbers stay concrete, since a sparse teacher looks its temperature up.
        concrete = {name: v for name, v in options.items() if not _is_traced(v)}
        shared: dict[str, Any] = {name: v for name, v in options.items() if name not in concrete}
        if labels is not None:
            labels = jnp.asarray(labels)
            _check_tokens("labels", labels, tokens)
            if labels.ndim == len(tokens) and not self.unlabeled:
                where = labels >= 0 if where is None else where & (labels >= 0)
            per_token["labels"] = labels
        if isinstance(teacher, tuple):
            per_token["teacher"], shared["teacher_head"] = _pair("teacher", teacher)
        elif teacher is not None:
            per_token["teacher"] = jax.tree.map(jnp.asarray, teacher)
        if teacher is not None:
            _check_tokens("teacher", per_token["teacher"], tokens)
            _check_classes(_classes(per_token["teacher"], shared), classes, valid)
        per_token["where"] = jnp.ones(tokens, bool) if where is None else where
        per_token, shared = jax.lax.stop_gradient((per_token, shared))
        count = jnp.sum(per_token["where"], dtype=compute_dtype(hidden, head))
        if not tokens:
            hidden, per_token = jax.tree.map(lambda leaf: leaf[None], (hidden, per_token))
        plan = ChunkPlan(
            functools.partial(self._loss_of_chunk, concrete, valid),
            functools.partial(_logits, soft_cap=self.soft_cap, valid=valid),
            self.chunk_size or _default_chunk(classes),
            self.token_axes,
            (hidden.dtype, head.dtype),
        )
        return chunked_sum(plan, hidden, head, per_token, shared), count

    def _loss_of_chunk(
        self,
        concrete: Mapping[str, Any],
        valid: int,
        logits: jax.Array,
        per_token: Mapping[str, Any],
        shared: Mapping[str, Any],
    ) -> jax.Array:
        """Computes the loss of a chunk's tokens."""
        classes = logits.shape[-1]
        arguments = {**concrete, **shared}
        if "teacher" in per_token:
            teacher = per_token["teacher"]
            if (weights := arguments.pop("teacher_head", None)) is not None:
                teacher = _logits(matmul(teacher, weights), self.teacher_soft_cap, valid)
            arguments["teacher"] = _padded_teacher(teacher, valid, classes)
        if "labels" in per_token:
            labels = per_token["labels"]
            arguments["labels"] = labels if labels.ndim == 1 else _fill(labels, classes, 0)
        values = self.loss(student=logits, **arguments)
        if jnp.shape(values) != logits.shape[:1]:
            raise ValueError(
                f"{_name(self.loss)} returned shape {jnp.shape(values)} for {logits.shape[0]} "
                "tokens: a fused loss needs one that returns one number per token"
            )
        return values


def _logits(products: jax.Array, soft_cap: float | None, valid: int) -> jax.Array:
    """Computes logits `[tokens, num_classes]` from the products of hidden states and head."""
    if soft_cap is not None:
        products = soft_cap * jnp.tanh(products / soft_cap)
    if valid >= products.shape[-1]:
        return products
    return jnp.where(jnp.arange(products.shape[-1]) < valid, products, -jnp.inf)


def _padded_teacher(teacher: Any, valid: int, classes: int) -> Any:
    """Pads the teacher with -inf to as many classes as the student's head."""
    if isinstance(teacher, SparseLogits):
        indices = jnp.where(empty_entries(teacher), classes, teacher.indices.astype(jnp.int32))
        return dataclasses.replace(teacher, indices=indices, num_classes=classes)
    if isinstance(teacher, SampledClasses):
        return dataclasses.replace(teacher, num_classes=classes)
    return _logits(_fill(teacher, classes, -jnp.inf), None, valid)


def _fill(values: jax.Array, classes: int, value: float) -> jax.Array:
    """Truncates or pads values `[tokens, width]` to `[tokens, classes]`."""
    if values.shape[-1] == classes:
        return values
    values = values[:, :classes]
    missing = classes - values.shape[-1]
    return jnp.pad(values, ((0, 0), (0, missing)), constant_values=value)


def _default_chunk(classes: int) -> int:
    """Returns the number of tokens whose logits take `_CHUNK_BYTES`."""
    tokens = max(_CHUNK_BYTES // (4 * classes), 1)
    return max(tokens // 128 * 128, min(tokens, 128))


def _pair(side: str, given: Any) -> tuple[jax.Array, jax.Array]:
    """Returns hidden states and head of one side; raises unless they fit each other."""
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise TypeError(
            f"the {side} of a fused loss is a pair (hidden, head), not {type(given).__name__}: in "
            f'a term {side}=("hidden", "head")'
        )
    hidden, head = (jnp.asarray(x) for x in given)
    if head.ndim != 2 or not hidden.ndim or hidden.shape[-1] != head.shape[0]:
        raise ValueError(
            f"hidden states [..., width] and a head [width, num_classes] are needed, the {side} "
            f"has {hidden.shape} and {head.shape}"
        )
    return hidden, head


def _check_tokens(name: str, tree: Any, tokens: tuple[int, ...]) -> None:
    """Raises ValueError unless the first axes of all arrays are those of the tokens."""
    for leaf in jax.tree.leaves(tree):
        if leaf.shape[: len(tokens)] != tokens:
            raise ValueError(
                f"the student's hidden states are of tokens {tokens}, but {name} has an array of "
                f"shape {leaf.shape}: the first axes of its arrays must be those of the tokens"
            )


def _classes(teacher: Any, shared: Mapping[str, Any]) -> int | None:
    """Returns the teacher's number of classes, or None if it is not known."""
    if isinstance(teacher, SparseLogits | SampledClasses):
        return teacher.num_classes
    if "teacher_head" in shared:
        return shared["teacher_head"].shape[1]
    return teacher.shape[-1] if isinstance(teacher, jax.Array) else None


def _check_classes(teacher: int | None, classes: int, valid: int) -> None:
    """Raises ValueError unless the teacher's number of classes fits the student's head."""
    if teacher is None or teacher in (classes, valid) or (teacher > valid and valid < classes):
        return
    raise ValueError(
        f"the teacher has {teacher} classes and the student's head {classes}"
        + (f", of which {valid} are valid" if valid < classes else "")
        + ": map one set of classes onto the other, or give valid_classes if one is only padded"
    )


def _signature(loss: Callable[..., Any]) -> inspect.Signature:
    """Returns the signature of the fused loss: the sides that `loss` has, and its options."""
    takes = dict(inspect.signature(loss).parameters)
    sides = [side for side in ("teacher", "labels") if side in takes]
    if "student" not in takes or not sides:
        raise ValueError(
            f"{_name(loss)} takes {list(takes)}: a fused loss needs one with the parameters "
            "`student` and `teacher`, `labels` or both"
        )
    named = inspect.Parameter.POSITIONAL_OR_KEYWORD
    keyword = inspect.Parameter.KEYWORD_ONLY
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    return inspect.Signature(
        [
            *(inspect.Parameter(side, named) for side in ("student", *sides)),
            *(
                parameter.replace(kind=keyword)
                for name, parameter in takes.items()
                if name not in _FIXED and parameter.kind not in variadic
            ),
            inspect.Parameter("where", keyword, default=None),
        ]
    )


def _is_traced(value: Any) -> bool:
    return isinstance(value, jax.core.Tracer)


def _name(loss: Callable[..., Any]) -> str:
    return getattr(getattr(loss, "func", loss), "__name__", repr(loss))
