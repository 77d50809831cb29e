"""A loss whose examples, tokens or pixels count by the class of their label."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.losses._arguments import as_mask, check_selects, to_array, to_rank
from jaxkd.losses._kinds import returns_sum_and_count

# Sums of more in float32 are far from infinity, and of less far from losing what is small.
_LARGEST_RATIO = 1e12


def class_weighted(
    loss: Callable[..., jax.Array], weights: ArrayLike | Sequence[float], *, unlabeled: float = 0.0
) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """Makes a loss whose mean weighs each example, token or pixel by the class of its label.

    For classes that are rare, above all in label maps: `class_weighted(losses.cross_entropy, w)`
    with the labels, `class_weighted(losses.kd, w)` with the teacher. The mean is divided by the sum
    of the weights, not by the number of pixels, so that a common factor of the weights changes
    nothing, and so that batches, parts of them and hosts add up.

    Args:
      loss: a loss of one number for each label: `[batch]` of class ids `[batch]`, or
        `[batch, height, width]` of label maps.
      weights: `[num_classes]`, one weight a class, not negative and not all 0.
      unlabeled: weight, on the same scale, of what has no label (-1). Only for a loss that takes no
        labels itself; 0 leaves it out.

    Returns:
      A loss with the parameters of the one it is made of, beside them `labels` (integers) and
      `where` (boolean, what is not padding), that returns a sum and a sum of weights, for
      `jaxkd.Term` as it is: `total / count` is the mean.

    Raises:
      ValueError: weights that are no vector of finite numbers from 0 up, or all 0, or more than
        1e12 times the smallest; an `unlabeled` that is negative, or beside a loss of labels. When
        called, labels that are no class ids of the shape of the loss. A class id that is too large
        gives NaN.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> loss = losses.class_weighted(losses.kd, [1.0, 3.0])
      >>> maps = jnp.zeros((1, 2, 2, 2)), jnp.ones((1, 2, 2, 2))
      >>> total, count = loss(*maps, labels=jnp.array([[[0, 0], [1, -1]]]))
      >>> float(total), float(count)
      (0.0, 5.0)
    """
    signature = inspect.signature(loss)
    takes_labels = "labels" in signature.parameters
    table, rest = _scaled(weights, unlabeled, takes_labels)

    @returns_sum_and_count
    @functools.wraps(loss)
    def weighted(*arguments: Any, **keywords: Any) -> tuple[jax.Array, jax.Array]:
        given = weighted.__signature__.bind(*arguments, **keywords).arguments  # type: ignore[attr-defined]
        labels, where = to_array("labels", given["labels"]), given.get("where")
        passed = {name: given[name] for name in given.keys() & signature.parameters.keys()}
        if where is not None:
            check_selects("where", where)
            where = as_mask(to_rank(jnp.asarray(where), labels.ndim), labels.shape, "labels")
            if "where" in passed:
                passed["where"] = jnp.broadcast_to(where, labels.shape)
        call = inspect.BoundArguments(signature, passed)
        values = loss(*call.args, **call.kwargs)
        _check_labels(labels, values)
        size = jnp.asarray(table, values.dtype).at[labels].get(mode="fill", fill_value=jnp.nan)
        size = jnp.where(labels < 0, jnp.asarray(rest, values.dtype), size)
        size = size if where is None else jnp.where(where, size, 0)
        # What has no weight is left out, whatever stands there.
        counts = size != 0
        return jnp.sum(jnp.where(counts, size * jnp.where(counts, values, 0), 0)), jnp.sum(size)

    weighted.__signature__ = _with_labels(signature)  # type: ignore[attr-defined]
    return weighted


def _scaled(weights: Any, unlabeled: float, takes_labels: bool) -> tuple[np.ndarray, float]:
    """Returns weights of which the smallest that is not 0 is 1: a sum of them is 0 or at least 1.

    Whoever divides by the sum may then guard against 0 by `max(sum, 1)`, as an objective does.

    Raises:
      ValueError: weights that are no such vector, an `unlabeled` that does not fit.
    """
    table = np.asarray(weights, np.float64)
    if table.ndim != 1 or not np.all(np.isfinite(table)) or np.any(table < 0) or not np.any(table):
        raise ValueError(
            "weights must be [num_classes], one finite number from 0 up for each class and not all "
            f"0, not {weights!r}"
        )
    if not 0 <= unlabeled < np.inf:
        raise ValueError(f"unlabeled must be a weight from 0 up, not {unlabeled}")
    if unlabeled and takes_labels:
        raise ValueError(
            f"unlabeled={unlabeled} would count what has no label as a loss of 0: leave it out for "
            "a loss of labels, or give it to a loss of student and teacher"
        )
    smallest = min(weight for weight in (*table, unlabeled) if weight > 0)
    if max(*table, unlabeled) > _LARGEST_RATIO * smallest:
        raise ValueError(
            f"the largest weight may be {_LARGEST_RATIO:.0e} of the smallest above 0, which is "
            f"{smallest:.3g} in {weights!r}: write 0 for what is not to count"
        )
    return table / smallest, unlabeled / smallest


def _check_labels(labels: jax.Array, values: Any) -> None:
    """Refuses labels that are no class ids, one for each number of the loss."""
    if not jnp.issubdtype(labels.dtype, jnp.integer) or labels.shape != jnp.shape(values):
        raise ValueError(
            f"a weight for each class needs class ids for each number of the loss, integers "
            f"{jnp.shape(values)}, got {labels.dtype} labels of shape {labels.shape}"
        )


def _with_labels(signature: inspect.Signature) -> inspect.Signature:
    """Returns the parameters of a loss with `labels`, which is required, and `where`."""
    parameters = dict(signature.parameters)
    keyword = inspect.Parameter.KEYWORD_ONLY
    variable = [p for p in parameters.values() if p.kind is p.VAR_KEYWORD]
    for parameter in variable:
        del parameters[parameter.name]
    parameters.setdefault("labels", inspect.Parameter("labels", keyword))
    parameters.setdefault("where", inspect.Parameter("where", keyword, default=None))
    return signature.replace(
        parameters=[*parameters.values(), *variable], return_annotation=inspect.Signature.empty
    )
