"""Makes of a loss on logits one on hidden states and head weights."""

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
# The axes of `jaxkd.training.make_mesh` that a batch is spread over.
_TOKEN_AXES = ("data", "fsdp")
# What a loss on logits takes and one on hidden states does not.
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
    """Makes of a loss on logits one on `(hidden, head)` that never holds `[tokens, vocabulary]`.

    The logits `hidden @ head` are computed for a chunk of tokens at a time, and with them, when
    differentiated, at once the gradients to hidden states and head: no logits are kept, none are
    computed twice, and the backward pass only scales. This is why the result is a sum over the
    tokens and their count, not one number a token. Sums and counts of micro-batches, devices and
    hosts add up; divide once, at the end, as an `Objective` does.

    Products are added up in float32 at least (`preferred_element_type`), so is the gradient to the
    head over the chunks. As where logits are kept, the gradient to the logits enters its products
    in the dtype of hidden states and head: give both in the dtype that the network multiplies in.

    There is no gradient to the teacher, the labels or the temperature, which may be traced; and no
    forward-mode derivative.

    Args:
      loss: one number a token, from parameters `student` (logits `[tokens, num_classes]`) and
        `teacher`, `labels` or both, for instance `kl_divergence`, `kd`, `js_divergence`,
        `cross_entropy`, a `functools.partial` of one, or a function that adds up several. Its other
        parameters (`temperature`, …) are passed on. It may not couple tokens.
      chunk_size: tokens whose logits are held at a time, on each part of the mesh's `token_axes`.
        By default as many as take 192 MiB in float32, rounded down to a multiple of 128: 384 with
        128,256 classes. More are faster where memory allows them.
      soft_cap: c, if the student's logits are `c tanh(hidden @ head / c)`.
      teacher_soft_cap: likewise of a teacher given as hidden states and head.
      valid_classes: the number of classes, where the head has more columns to fill up (a padded
        vocabulary): logits beyond are -inf. The teacher may be padded, to any width, or not.
      unlabeled: whether tokens with a label of -1 count. Then the loss says what they contribute,
        as `cross_entropy` says 0; otherwise they are left out like those that `where` leaves out.
      token_axes: axes of the mesh of `jax.set_mesh` that the first axis of the tokens is spread
        over, as far as it has them: each part of it goes through its own tokens, and the gradient
        to the head is added up between the parts once. A head whose classes are spread over another
        axis stays so, and so do the logits.

    Returns:
      `fused(student, teacher, labels, *, where=None, ...) -> (sum, count)`, without `teacher` or
      `labels` if the loss has none:

      - `student`: `(hidden, head)`, `[..., width]` and `[width, num_classes]`.
      - `teacher`: logits `[..., num_classes]`, `SparseLogits`, `SampledClasses`, or its
        `(hidden, head)`, of any width.
      - `labels`: as `cross_entropy` takes them.
      - `where`: boolean, the axes of the tokens or the first few of them; which tokens count.

      `sum` and `count` are scalars of the same dtype, float32 at least.

    Raises:
      ValueError: a loss without `student`, or with neither `teacher` nor `labels`; a chunk_size,
        soft_cap or valid_classes that is not positive. When called: shapes that do not fit, a loss
        that does not return one number a token.
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
    maker = _Fused(
        loss, chunk_size, soft_cap, teacher_soft_cap, valid_classes, unlabeled, tuple(token_axes)
    )
    signature = _signature(loss)

    def fused(*arguments: Any, **keywords: Any) -> tuple[jax.Array, jax.Array]:
        return maker(**signature.bind(*arguments, **keywords).arguments)

    fused.__name__ = fused.__qualname__ = f"fused {_name(loss)}"
    fused.__signature__ = signature  # type: ignore[attr-defined]
    return returns_sum_and_count(fused)


@dataclasses.dataclass(frozen=True)
class _Fused:
    """The loss, with everything but the arrays; see `fused_linear`."""

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
        each: dict[str, Any] = {}
        # Numbers that are known stay so: a sparse teacher looks its temperature up.
        known = {name: v for name, v in options.items() if not _is_traced(v)}
        shared: dict[str, Any] = {name: v for name, v in options.items() if name not in known}
        if labels is not None:
            labels = jnp.asarray(labels)
            _check_tokens("labels", labels, tokens)
            if labels.ndim == len(tokens) and not self.unlabeled:
                where = labels >= 0 if where is None else where & (labels >= 0)
            each["labels"] = labels
        if isinstance(teacher, tuple):
            each["teacher"], shared["teacher_head"] = _pair("teacher", teacher)
        elif teacher is not None:
            each["teacher"] = jax.tree.map(jnp.asarray, teacher)
        if teacher is not None:
            _check_tokens("teacher", each["teacher"], tokens)
            _check_classes(_classes(each["teacher"], shared), classes, valid)
        each["where"] = jnp.ones(tokens, bool) if where is None else where
        each, shared = jax.lax.stop_gradient((each, shared))
        count = jnp.sum(each["where"], dtype=compute_dtype(hidden, head))
        if not tokens:
            hidden, each = jax.tree.map(lambda leaf: leaf[None], (hidden, each))
        plan = ChunkPlan(
            functools.partial(self._of_logits, known, valid),
            functools.partial(_logits, soft_cap=self.soft_cap, valid=valid),
            self.chunk_size or _default_chunk(classes),
            self.token_axes,
            (hidden.dtype, head.dtype),
        )
        return chunked_sum(plan, hidden, head, each, shared), count

    def _of_logits(
        self,
        known: Mapping[str, Any],
        valid: int,
        logits: jax.Array,
        each: Mapping[str, Any],
        shared: Mapping[str, Any],
    ) -> jax.Array:
        """The loss of a chunk's tokens."""
        classes = logits.shape[-1]
        arguments = {**known, **shared}
        if "teacher" in each:
            teacher = each["teacher"]
            if (weights := arguments.pop("teacher_head", None)) is not None:
                teacher = _logits(matmul(teacher, weights), self.teacher_soft_cap, valid)
            arguments["teacher"] = _widen(teacher, valid, classes)
        if "labels" in each:
            labels = each["labels"]
            arguments["labels"] = labels if labels.ndim == 1 else _fill(labels, classes, 0)
        values = self.loss(student=logits, **arguments)
        if jnp.shape(values) != logits.shape[:1]:
            raise ValueError(
                f"{_name(self.loss)} returned shape {jnp.shape(values)} for {logits.shape[0]} "
                "tokens: a fused loss is made of one that returns one number a token"
            )
        return values


def _logits(products: jax.Array, soft_cap: float | None, valid: int) -> jax.Array:
    """Logits `[tokens, num_classes]` from the products of hidden states and head."""
    if soft_cap is not None:
        products = soft_cap * jnp.tanh(products / soft_cap)
    if valid >= products.shape[-1]:
        return products
    return jnp.where(jnp.arange(products.shape[-1]) < valid, products, -jnp.inf)


def _widen(teacher: Any, valid: int, classes: int) -> Any:
    """The teacher with as many classes as the student's head, -inf at those that only fill up."""
    if isinstance(teacher, SparseLogits):
        indices = jnp.where(empty_entries(teacher), classes, teacher.indices.astype(jnp.int32))
        return dataclasses.replace(teacher, indices=indices, num_classes=classes)
    if isinstance(teacher, SampledClasses):
        return dataclasses.replace(teacher, num_classes=classes)
    return _logits(_fill(teacher, classes, -jnp.inf), None, valid)


def _fill(values: jax.Array, classes: int, value: float) -> jax.Array:
    """`[tokens, width]` cut or filled up to `[tokens, classes]`."""
    if values.shape[-1] == classes:
        return values
    values = values[:, :classes]
    missing = classes - values.shape[-1]
    return jnp.pad(values, ((0, 0), (0, missing)), constant_values=value)


def _default_chunk(classes: int) -> int:
    tokens = max(_CHUNK_BYTES // (4 * classes), 1)
    return max(tokens // 128 * 128, min(tokens, 128))


def _pair(side: str, given: Any) -> tuple[jax.Array, jax.Array]:
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
    for leaf in jax.tree.leaves(tree):
        if leaf.shape[: len(tokens)] != tokens:
            raise ValueError(
                f"the student's hidden states are of tokens {tokens}, but {name} has an array of "
                f"shape {leaf.shape}: what there is for each token has the same axes in front"
            )


def _classes(teacher: Any, shared: Mapping[str, Any]) -> int | None:
    if isinstance(teacher, SparseLogits | SampledClasses):
        return teacher.num_classes
    if "teacher_head" in shared:
        return shared["teacher_head"].shape[1]
    return teacher.shape[-1] if isinstance(teacher, jax.Array) else None


def _check_classes(found: int | None, classes: int, valid: int) -> None:
    if found is None or found in (classes, valid) or (found > valid and valid < classes):
        return
    raise ValueError(
        f"the teacher has {found} classes and the student's head {classes}"
        + (f", of which {valid} are valid" if valid < classes else "")
        + ": map one set of classes onto the other, or give valid_classes if one is only padded"
    )


def _signature(loss: Callable[..., Any]) -> inspect.Signature:
    """Of the fused loss: `student`, `teacher`, `labels` as far as `loss` has them, its options."""
    takes = dict(inspect.signature(loss).parameters)
    sides = [side for side in ("teacher", "labels") if side in takes]
    if "student" not in takes or not sides:
        raise ValueError(
            f"{_name(loss)} takes {list(takes)}: a fused loss is made of one with the parameters "
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
