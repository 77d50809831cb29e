"""Memory banks of contrastive distillation: one row an example of the data set.

Pure functions, from which losses and connectors are built: rows are read by index and updated with
momentum, negatives are sampled from other classes, and the constant Z of the scores is estimated.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxkd.ops._rows import check_indices, gathered, replicated, rows_at, selection, unit

# How many numbers of a bank one iteration of the loop over negatives reads.
_TURN = 2**21


def update_bank(
    bank: ArrayLike,
    ids: ArrayLike,
    embeddings: ArrayLike,
    *,
    momentum: ArrayLike = 0.5,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Moves the batch's rows of a bank toward its embeddings and normalizes them again.

    A row becomes `n(momentum * row + (1 - momentum) * embedding)` with `n` the L2 normalization; if
    the sum is zero it stays as it was. If an example is in the batch more than once, its last
    selected occurrence counts, and no other. Pure: the bank that is passed does not change, and no
    gradient flows.

    Args:
      bank: `[num_examples, width]`, the same on every device.
      ids: integers `[batch]`, the bank's row of each example; rows that do not exist are ignored.
      embeddings: `[batch, width]`, L2-normalized.
      momentum: share of the old row, between 0 and 1.
      where: boolean `[batch]`; the others leave the bank alone, whatever stands in them.

    Returns:
      The new bank, of the same shape and dtype.

    Raises:
      ValueError: shapes that do not fit, ids that are no integers, a momentum outside [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> bank = jnp.array([[1.0, 0.0], [0.0, 1.0]])
      >>> losses.update_bank(bank, jnp.array([1]), jnp.array([[1.0, 0.0]]))
      Array([[1.        , 0.        ],
             [0.70710677, 0.70710677]], dtype=float32)

    References:
      Wu et al., Unsupervised Feature Learning via Non-Parametric Instance Discrimination, CVPR
      2018; Tian et al., Contrastive Representation Distillation, ICLR 2020, the authors' code.
    """
    bank, ids, embeddings = jnp.asarray(bank), jnp.asarray(ids), jnp.asarray(embeddings)
    if not isinstance(momentum, jax.core.Tracer) and not 0 <= float(np.asarray(momentum)) <= 1:
        raise ValueError(f"momentum must lie in [0, 1], got {momentum}")
    check_indices("ids", ids, embeddings.shape[:1])
    if bank.ndim != 2 or embeddings.ndim != 2 or bank.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"bank and embeddings must be [num_examples, width] and [batch, width] of one width, "
            f"got {bank.shape} and {embeddings.shape}"
        )
    ids, embeddings = gathered(ids), gathered(embeddings)
    selected = gathered(selection(where, ids))
    position = jnp.arange(len(ids))
    same_later = (ids[:, None] == ids) & selected & (position[:, None] < position)
    counts = selected & ~jnp.any(same_later, axis=1)
    old = rows_at(bank, ids).astype(jnp.promote_types(bank.dtype, jnp.float32))
    momentum = jnp.asarray(momentum, old.dtype)
    new, has_direction = unit(momentum * old + (1 - momentum) * embeddings.astype(old.dtype))
    # An index past the end writes nothing.
    targets = jnp.where(counts & has_direction & (ids >= 0), ids, len(bank))
    targets, new = replicated(targets), replicated(new)
    updated = bank.at[targets].set(new.astype(bank.dtype), mode="drop")
    return jax.lax.stop_gradient(updated)


class NegativePool(NamedTuple):
    """All examples in blocks of one class each; made by `negative_pool`.

    Attributes:
      order: `[num_examples]`, the examples sorted by class.
      start: `[num_examples]`, where in `order` the block of an example's class begins.
      size: `[num_examples]`, how long that block is.

    Example:
      >>> from jaxkd import losses
      >>> pool = losses.negative_pool([1, 0, 1])
      >>> pool.start.tolist(), pool.size.tolist()  # the block of each example's class
      ([1, 0, 1], [2, 1, 2])
    """

    order: jax.Array
    start: jax.Array
    size: jax.Array


def negative_pool(labels: np.typing.ArrayLike) -> NegativePool:
    """Sorts the examples of a data set by class, once, for `sample_negatives`.

    Args:
      labels: integers `[num_examples]`, the class of each example, concrete. An example with a
        negative label is a class of its own. `np.arange(num_examples)` makes a class of
        every example.

    Returns:
      A `NegativePool` of int32 arrays: 12 bytes an example.

    Raises:
      ValueError: labels that are no integers `[num_examples]`, or all of one class.

    Example:
      >>> from jaxkd import losses
      >>> losses.negative_pool([1, 0, 1]).order
      Array([1, 0, 2], dtype=int32)
    """
    labels = np.asarray(labels)
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(
            f"labels must be integers [num_examples], got {labels.dtype} of shape {labels.shape}"
        )
    unlabeled = labels < 0
    labels = np.where(unlabeled, labels.max(initial=0) + 1 + np.cumsum(unlabeled), labels)
    _, block, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(
            f"all {len(labels)} examples are of one class, so none has a negative: pass "
            "np.arange(num_examples) as labels to make a class of every example"
        )
    starts = np.cumsum(sizes) - sizes
    arrays = (np.argsort(block, kind="stable"), starts[block], sizes[block])
    return NegativePool(*(jnp.asarray(array, jnp.int32) for array in arrays))


def sample_negatives(
    key: jax.Array, ids: jax.Array, pool: NegativePool, num_negatives: int
) -> jax.Array:
    """Samples examples of other classes, uniformly, independently and with replacement.

    Exact for classes of any size: a position among all examples without the block of the own class,
    moved past that block if it does not lie before it. The authors' code samples without
    replacement where a class has enough negatives.

    Args:
      key: PRNG key; the same key gives the same negatives.
      ids: integers `[batch]`, the examples of the batch, as they are numbered in the pool.
      pool: examples by class, from `negative_pool`.
      num_negatives: number of negatives for each example, K.

    Returns:
      int32 `[batch, K]`, indices of examples.

    Raises:
      ValueError: ids that are no integers `[batch]`, a number of negatives below 1.

    Example:
      >>> import jax
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> pool = losses.negative_pool([0, 1, 1])
      >>> losses.sample_negatives(jax.random.key(0), jnp.array([1, 2]), pool, 3)
      Array([[0, 0, 0],
             [0, 0, 0]], dtype=int32)

    References:
      Tian et al., Contrastive Representation Distillation, ICLR 2020.
    """
    ids = jnp.asarray(ids)
    check_indices("ids", ids, (ids.size,))
    if num_negatives < 1:
        raise ValueError(f"num_negatives must be at least 1, got {num_negatives}")
    start, size = (rows_at(array, ids)[:, None] for array in (pool.start, pool.size))
    position = jax.random.randint(key, (len(ids), num_negatives), 0, len(pool.order) - size)
    return rows_at(pool.order, jnp.where(position < start, position, position + size))


def crd_normalizer(
    embeddings: ArrayLike,
    bank: ArrayLike,
    *,
    ids: ArrayLike,
    negatives: ArrayLike,
    temperature: ArrayLike = 0.07,
    num_examples: int | None = None,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the logarithm of CRD's constant Z: the mean of the scores' exponentials, times N.

    The mean is over all selected examples of the batch and over their positives and negatives. The
    authors compute it from the first batch and keep it.

    Args:
      embeddings: `[batch, width]`, L2-normalized, of one side.
      bank: `[N, width]`, of the other side: the teacher's for the student's embeddings.
      ids: integers `[batch]`, each example's own row of the bank.
      negatives: integers `[batch, K]`, rows of the bank.
      temperature: the positive scalar of `crd`.
      num_examples: N, if the bank has more rows than there are examples.
      where: boolean `[batch]`.

    Returns:
      A scalar, float32 at least, without gradient.

    Raises:
      ValueError: shapes that do not fit, indices that are no integers, no negatives, a temperature
        that is not positive and finite.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> row, ids, negatives = jnp.array([[1.0, 0.0]]), jnp.array([0]), jnp.array([[1]])
      >>> log_z = losses.crd_normalizer(
      ...     row, jnp.eye(2), ids=ids, negatives=negatives, temperature=1.0
      ... )
      >>> print(f"{jnp.exp(log_z):.3f}")
      3.718

    References:
      Tian et al., Contrastive Representation Distillation, ICLR 2020; the authors' code.
    """
    value = None if isinstance(temperature, jax.core.Tracer) else float(np.asarray(temperature))
    if value is not None and not (math.isfinite(value) and value > 0):
        raise ValueError(f"temperature must be positive and finite, got {value}")
    embeddings = jax.lax.stop_gradient(jnp.asarray(embeddings))
    dtype = jnp.promote_types(embeddings.dtype, jnp.float32)
    bank, ids, negatives = checked(embeddings.astype(dtype), bank, ids, negatives)
    selected = selection(where, ids)
    embeddings = jnp.where(selected[:, None], embeddings.astype(dtype), 0)
    ids, negatives = jnp.where(selected, ids, 0), jnp.where(selected[:, None], negatives, 0)

    def log_sum(indices: jax.Array) -> jax.Array:
        return jax.nn.logsumexp(scores(embeddings, bank, indices, temperature), axis=1)

    totals = jnp.logaddexp(
        log_sum(ids[:, None]),
        over_negatives(log_sum, jnp.logaddexp, negatives, bank.shape[1]),
    )
    totals = jnp.where(selected, totals, -jnp.inf)
    rows = jnp.sum(selected, dtype=totals.dtype)
    count = rows * (negatives.shape[1] + 1)
    return jax.nn.logsumexp(totals) - jnp.log(count) + jnp.log(num_examples or len(bank))


def scores(
    embeddings: jax.Array, bank: jax.Array, indices: jax.Array, temperature: ArrayLike
) -> jax.Array:
    """Computes inner products `[batch, k]` with rows of the bank, over the temperature.

    Args:
      embeddings: `[batch, width]`.
      bank: `[num_examples, width]`.
      indices: integers `[batch, k]`, rows of the bank.
      temperature: a positive scalar.

    Returns:
      The scores, in the type of the products.

    Example:
      >>> bank, ids = jnp.eye(3), jnp.array([[0, 2]])
      >>> scores(jnp.array([[0.6, 0.0, 0.8]]), bank, ids, 0.5)
      Array([[1.2, 1.6]], dtype=float32)
    """
    products = jnp.einsum(
        "bkd,bd->bk",
        rows_at(bank, indices),
        embeddings,
        precision=jax.lax.Precision.HIGHEST,
    )
    return products / jnp.asarray(temperature, products.dtype)


def over_negatives(
    function: Callable[[jax.Array], jax.Array],
    combine: Callable[[jax.Array, jax.Array], jax.Array],
    negatives: jax.Array,
    width: int,
) -> jax.Array:
    """Combines `function(negatives)` `[batch]` over chunks of the second axis, one at a time.

    Args:
      function: function of indices `[batch, k]`, of any k, that returns `[batch]`.
      combine: function that joins two of its results.
      negatives: integers `[batch, K]`.
      width: width of the rows that the function reads, for the size of a chunk.

    Returns:
      What the function is over all negatives, `[batch]`.

    Example:
      >>> negatives = jnp.array([[1, 2, 4], [3, 3, 3]])
      >>> sums = over_negatives(lambda ids: ids.sum(1), jnp.add, negatives, width=8)
      >>> sums.tolist()
      [7, 9]
    """
    batch, number = negatives.shape
    piece = max(1, min(number, _TURN // (batch * width)))
    rest = number % piece
    function = jax.checkpoint(function, prevent_cse=False)

    def turn(total: jax.Array, start: jax.Array) -> tuple[jax.Array, None]:
        indices = jax.lax.dynamic_slice_in_dim(negatives, start, piece, axis=1)
        return combine(total, function(indices)), None

    # What is left over goes first; it may be empty, and then starts from the neutral element.
    start = function(negatives[:, :rest])
    total, _ = jax.lax.scan(turn, start, jnp.arange(rest, number, piece))
    return total


def checked(
    embeddings: jax.Array, bank: ArrayLike, ids: ArrayLike, negatives: ArrayLike
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Checks bank, ids and negatives; returns the bank in the embeddings' type without gradient.

    Args:
      embeddings: `[batch, width]`.
      bank: `[num_examples, width]`.
      ids: integers `[batch]`, each example's own row of the bank.
      negatives: integers `[batch, K]`, rows of the bank.

    Returns:
      Bank, ids and negatives as arrays.

    Raises:
      ValueError: shapes that do not fit, indices that are no integers, no negatives.

    Example:
      >>> bank, ids, negatives = checked(
      ...     jnp.ones((2, 3)), jnp.ones((5, 3)), jnp.array([0, 1]), jnp.array([[4], [3]]))
      >>> bank.shape, negatives.shape
      ((5, 3), (2, 1))
    """
    bank, ids, negatives = jnp.asarray(bank), jnp.asarray(ids), jnp.asarray(negatives)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be [batch, width], got {embeddings.shape}")
    if bank.ndim != 2 or bank.shape[1] != embeddings.shape[1]:
        raise ValueError(
            f"a bank must be [num_examples, {embeddings.shape[1]}] for embeddings of shape "
            f"{embeddings.shape}, got {bank.shape}"
        )
    check_indices("ids", ids, embeddings.shape[:1])
    check_indices("negatives", negatives, (len(embeddings), *negatives.shape[1:2]))
    if negatives.ndim != 2 or negatives.shape[1] < 1:
        raise ValueError(f"negatives must be [batch, K] with K at least 1, got {negatives.shape}")
    bank = jax.lax.stop_gradient(bank).astype(embeddings.dtype)
    return bank, ids, negatives
