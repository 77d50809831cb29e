"""One loss on the first entries of an embedding, at several widths."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from inspect import BoundArguments, signature
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike


def matryoshka(
    loss: Callable[..., jax.Array],
    widths: Sequence[int],
    *,
    weights: Sequence[float] | None = None,
    whole_teacher: bool = False,
) -> Callable[..., jax.Array]:
    """Makes a loss on prefixes of embeddings: the sum of a loss on the first entries, by width.

    The first 64 entries of an embedding that was trained with `widths=(64, 128, 256)` are an
    embedding of their own, so that the width can be chosen after the training.

    Args:
      loss: loss on the student's embeddings `[..., width]`, which are cut, and the teacher's or
        anything else.
      widths: widths of the prefixes, ascending; the last is usually that of the whole embedding.
      weights: one weight a width; None for 1 each.
      whole_teacher: whether the teacher's embedding stays whole at every width, for losses that
        compare relations of examples (`sp`, `pkt`, `rkd`). Otherwise it is cut as the student's is,
        for losses that compare entries; its own entries must then be ordered, as those of a
        teacher trained alike or of principal components are (`jaxkd.connectors.pca`).

    Returns:
      A loss with the parameters of the one it is made of.

    Raises:
      ValueError: widths that are not ascending integers from 1 up, other weights than one a width.
        When called, a width that an embedding does not have.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> loss = losses.matryoshka(losses.feature_mse, (1, 2), weights=(1.0, 0.5))
      >>> loss(jnp.array([[1.0, 3.0]]), jnp.zeros((1, 2)))
      Array([3.5], dtype=float32)

    References:
      Kusupati et al., Matryoshka Representation Learning, NeurIPS 2022.
    """
    widths = tuple(widths)
    if not widths or widths[0] < 1 or list(widths) != sorted(set(map(int, widths))):
        raise ValueError(f"widths must be ascending integers from 1 up, not {widths}")
    factors = (1.0,) * len(widths) if weights is None else tuple(weights)
    if len(factors) != len(widths):
        raise ValueError(f"weights must be one a width, of widths {widths}, not {factors}")
    if not np.all(np.isfinite(factors)):
        raise ValueError(f"weights must be finite numbers, not {factors}")

    takes_teacher = "teacher" in signature(loss).parameters and not whole_teacher

    @functools.wraps(loss)
    def summed(*arguments: Any, **keywords: Any) -> jax.Array:
        given = signature(loss).bind(*arguments, **keywords)

        def at(width: int) -> jax.Array:
            sides = ("student", "teacher") if takes_teacher else ("student",)
            cut = {side: _first(side, given.arguments[side], width) for side in sides}
            call = BoundArguments(given.signature, {**given.arguments, **cut})
            return loss(*call.args, **call.kwargs)

        first, *others = (f * at(w) for w, f in zip(widths, factors, strict=True))
        return sum(others, start=first)

    return summed


def _first(side: str, embeddings: ArrayLike, width: int) -> jax.Array:
    """Returns the first entries of embeddings; refuses those that are narrower."""
    embeddings = jnp.asarray(embeddings)
    if not embeddings.ndim or embeddings.shape[-1] < width:
        raise ValueError(
            f"the {side}'s embeddings of shape {embeddings.shape} have no prefix of width {width}: "
            "leave that width out"
            + (", or pass whole_teacher=True to a loss of relations" * (side == "teacher"))
        )
    return embeddings[..., :width]
