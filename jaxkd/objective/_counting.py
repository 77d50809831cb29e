"""The sum and the count of a loss over the examples that count, from one trace of the loss."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.losses import masked_sum_and_count
from jaxkd.losses._arguments import check_selects, to_rank
from jaxkd.networks._arguments import shown
from jaxkd.objective.term import Term

SumAndCount = tuple[jax.Array, jax.Array]

# Kind that a loss declares → decorator, and what such a loss returns.
_DECLARATIONS = {
    "batch": ("@couples_examples", "a scalar"),
    "sum_and_count": ("@returns_sum_and_count", "a tuple (sum, count)"),
}


def counted(batch: Mapping[str, Any]) -> jax.Array | None:
    """Returns which examples (or tokens) are labeled and not padding; None where all are.

    Args:
      batch: `"labels"` (integers, -1 = unlabeled, or distributions), optionally `"labeled"` and
        `"where"`; a mask may have fewer axes than the labels, counted from the first.

    Raises:
      TypeError: labels or a mask that are no array.
      ValueError: a mask of floating point.

    Example:
      >>> import jax.numpy as jnp
      >>> batch = {"labels": jnp.array([2, -1, 0]), "where": jnp.array([True, True, False])}
      >>> counted(batch).tolist()
      [True, False, False]
    """
    labels = _array("labels", batch["labels"])
    masks = [mask for name in ("where", "labeled") if (mask := _mask(batch, name)) is not None]
    if batch.get("labeled") is None and jnp.issubdtype(labels.dtype, jnp.integer):
        masks.append(labels >= 0)
    if not masks:
        return None
    rank = max(mask.ndim for mask in masks)
    return functools.reduce(jnp.logical_and, (to_rank(mask, rank) for mask in masks))


def _mask(batch: Mapping[str, Any], name: str) -> jax.Array | None:
    mask = batch.get(name)
    if mask is not None:
        check_selects(name, _array(name, mask))
    return mask


def _array(name: str, value: Any) -> Any:
    """Refuses a list of a batch, which JAX takes for a tree of numbers."""
    if isinstance(value, list | tuple):
        raise TypeError(
            f"{name} of the batch must be an array, not a {type(value).__name__}: write "
            f"np.asarray({name})"
        )
    return value


def sum_and_count(
    term: Term, arguments: dict[str, Any], batch: Mapping[str, Any], name: str
) -> SumAndCount:
    """Computes a term's loss, summed over what counts, and how much counts.

    What a loss is given depends on its kind, which its result alone reveals unless it is declared:
    a loss with a value for each example is masked afterwards (a parameter `where` would be a mask
    of its classes); one that couples examples gets the mask of examples; one that counts for itself
    gets the mask, and labels of -1. Where there is nothing to mask, all kinds get the same.

    Args:
      term: the loss.
      arguments: arguments of the loss by name, without masks.
      batch: `"labels"`, `"labeled"` and `"where"`.
      name: name of the term.

    Returns:
      Two scalars.

    Raises:
      TypeError: a loss that returns neither an array nor a tuple.
      ValueError: a loss that cannot leave out what does not count, or that returns another tuple or
        something else than it declares; a mask of floating point.
    """
    mask = counted(batch) if "labels" in term.requires else _mask(batch, "where")
    if mask is None:
        value = term.loss(**arguments)
    elif term.kind is not None:
        value = term.loss(**_masked(term.kind, term, arguments, batch, mask, name))
    else:
        value = _of_unknown_kind(term, arguments, batch, mask, name)
    kind = _kind_of(value, term.kind, name)
    if kind == "sum_and_count":
        return value
    if kind == "examples":
        if mask is not None and mask.ndim > value.ndim:
            raise ValueError(
                f"the loss of term {name!r} returns {value.shape}, one number an example, and what "
                f"counts is given for each entry of {mask.shape}, as by multi-hot labels or next "
                "tokens: give the term a loss that returns one number for each entry "
                f"(losses.binary_cross_entropy; recipes.binary_kd), or labels that are "
                f"class ids of shape {value.shape}"
            )
        return masked_sum_and_count(value, None if mask is None else to_rank(mask, value.ndim))
    return value, jnp.ones((), value.dtype)


def _kind_of(value: Any, declared: str | None, name: str) -> str:
    """Returns the kind of a loss by what it returns, or by the shape of that.

    Args:
      value: what the loss returns.
      declared: the kind that it declares, None if it declares none.
      name: name of the term.

    Raises:
      TypeError: neither an array nor a tuple.
      ValueError: another tuple, or another kind than the declared one.
    """
    if isinstance(value, tuple):
        parts = jax.tree.leaves(value)
        if not len(value) == len(parts) == 2 or any(map(np.ndim, parts)):
            raise ValueError(
                f"the loss of term {name!r} returns a tuple of shapes "
                f"{jax.tree.map(np.shape, value)}: a tuple is (sum, count), two scalars"
            )
        kind, returned = "sum_and_count", "a tuple of two scalars"
    elif hasattr(value, "ndim"):
        kind = "examples" if value.ndim else "batch"
        returned = f"an array of shape {value.shape}" if value.ndim else "a scalar"
    else:
        raise TypeError(
            f"the loss of term {name!r} returns {shown(value)}: it must return an array, one "
            "number an example, or a scalar array, or a tuple (sum, count) of two"
        )
    if declared not in (None, kind):
        decorator, expected = _DECLARATIONS[declared]
        raise ValueError(
            f"the loss of term {name!r} is declared by {decorator} and must return {expected}, "
            f"not {returned}: return that, or leave the decorator out"
        )
    return kind


def _of_unknown_kind(
    term: Term, arguments: dict[str, Any], batch: Mapping[str, Any], mask: jax.Array, name: str
) -> Any:
    """Traces the loss without a mask, and evaluates the trace if the mask is not its affair.

    Only a loss that couples examples or counts for itself, does not declare so, and takes a mask is
    traced a second time.

    Returns:
      What the loss returns.
    """
    program, shape = jax.make_jaxpr(functools.partial(term.loss, **arguments), return_shape=True)()
    masked = _masked(_kind_of(shape, None, name), term, arguments, batch, mask, name)
    if masked is not arguments:
        return term.loss(**masked)
    leaves = jax.core.eval_jaxpr(program.jaxpr, program.consts)
    return jax.tree.unflatten(jax.tree.structure(shape), leaves)


def _masked(
    kind: str,
    term: Term,
    arguments: dict[str, Any],
    batch: Mapping[str, Any],
    mask: jax.Array,
    name: str,
) -> dict[str, Any]:
    """Returns the arguments of a loss of a kind: the same dictionary where it needs no mask."""
    if kind == "examples":
        return arguments
    takes_mask = "where" in term.accepts
    if kind == "batch":
        if not takes_mask:
            raise ValueError(
                f"term {name!r} couples the examples of a batch and would take in those that do "
                "not count (padding, or unlabeled ones): give it full batches, or a loss with a "
                "parameter `where`"
            )
        return {**arguments, "where": mask}
    # A loss that counts for itself decides whether examples without a label count: of them it gets
    # class ids of -1, and a mask of padding alone.
    padding, changes = batch.get("where"), {}
    if "labels" in term.requires:
        labels, labeled = arguments["labels"], batch.get("labeled")
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            padding = mask
        elif labeled is not None:
            changes["labels"] = jnp.where(to_rank(labeled, labels.ndim), labels, -1)
    if padding is not None:
        changes["where"] = padding
    if padding is not None and not takes_mask:
        raise ValueError(
            f"term {name!r} returns a sum and a count of its own and cannot leave out what does "
            "not count (padding, or unlabeled examples): give it full batches, or a loss with a "
            "parameter `where`"
        )
    return {**arguments, **changes} if changes else arguments
