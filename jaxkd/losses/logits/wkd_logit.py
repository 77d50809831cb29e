"""Distillation by the Wasserstein distance between distributions over related classes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxkd.losses._arguments import check_temperature, concrete_value
from jaxkd.losses._feature_pairs import unit
from jaxkd.losses._logit_pairs import dense, paired_logits
from jaxkd.losses._numerics import soft_cross_entropy, temper
from jaxkd.losses._sparse_logits import SparseLogits
from jaxkd.losses.logits._target import at_class, is_class, labeled_pair, log_probs_among

# The authors' constant: added to costs, and to the denominators of Sinkhorn's iteration.
_EPSILON = 1e-8


def wkd_logit(
    student: ArrayLike,
    teacher: ArrayLike,
    labels: ArrayLike,
    *,
    cost: ArrayLike,
    gamma: ArrayLike = 600.0,
    regularization: ArrayLike = 0.05,
    iterations: int = 10,
    temperature: ArrayLike = 8.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes WKD-L, `-p_y log q_y + gamma W(q', p')` with the Wasserstein distance W of classes.

    `p_y` and `q_y` are the probabilities of the label's class y at temperature 1; p' and q' the
    softmaxes over the other classes alone, at the temperature. W is `sinkhorn_distance`: the cost
    of turning the student's distribution into the teacher's, where confusing a dog with a wolf
    costs less than with a car. No factor `temperature**2`. The first term is a cross entropy, and
    the distance is regularized: the loss is not zero at student = teacher.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      labels: integers `[...]`, the class of each example, negative where there is none (loss and
        gradient are then 0). A class id that is too large gives NaN.
      cost: `[num_classes, num_classes]`, cost of moving one unit of probability from the student's
        class (row) to the teacher's (column), for instance from `class_distances`; negative entries
        count as 0. A constant: no gradient flows to it.
      gamma: weight of the distance; may be traced.
      regularization: positive scalar, weight of the entropy in Sinkhorn's problem; may be traced.
      iterations: number of iterations of Sinkhorn's algorithm; the gradient goes through all.
      temperature: positive scalar; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one loss an example, float32 at least.

    Raises:
      ValueError: shapes that differ, labels that are not integers `[...]`, costs of another shape,
        a mask of another rank, a temperature or regularization that is not positive and finite,
        fewer than one iteration.
      TypeError: `SparseLogits` on any side.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> cost = losses.class_distances(jnp.array([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]))
      >>> student, teacher = jnp.array([3.0, 8.0, 0.0]), jnp.array([3.0, 0.0, 8.0])
      >>> print(f"{losses.wkd_logit(student, teacher, jnp.array(0), cost=cost):.3f}")
      1.791

    References:
      Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation,
      NeurIPS 2024 (the authors' code, WKD).
    """
    pair, ids = labeled_pair(student, teacher, labels, axis, where)
    check_temperature(temperature)
    dtype = pair.student.dtype
    cost = _checked_cost(cost, pair.student.shape[-1], dtype)
    _check_sinkhorn(regularization, iterations)

    log_q_label, log_p_label = (
        at_class(jax.nn.log_softmax(x), ids)[..., None] for x in (pair.student, pair.teacher)
    )
    target = soft_cross_entropy(jnp.exp(log_p_label), log_q_label)
    # One kernel serves all examples: a class without mass, and that does not start with any, takes
    # no part in the iteration, as if its row and column were not there.
    others = ~is_class(ids, pair.student.shape[-1])
    q, p = (
        jnp.exp(log_probs_among(temper(x, temperature, dtype), others))
        for x in (pair.student, pair.teacher)
    )
    takes_part = others & ~jnp.isneginf(pair.student)
    distance = _sinkhorn(q, p, cost, regularization, iterations, takes_part)
    return pair.finish(target + jnp.asarray(gamma, dtype) * distance)


def sinkhorn_distance(
    student: ArrayLike,
    teacher: ArrayLike,
    *,
    cost: ArrayLike,
    regularization: ArrayLike = 0.05,
    iterations: int = 10,
    temperature: ArrayLike = 1.0,
    axis: int = -1,
    where: ArrayLike | None = None,
) -> jax.Array:
    """Computes the Wasserstein distance between tempered softmaxes by Sinkhorn's algorithm.

    That is the cost of the algorithm's plan after a fixed number of iterations: its rows add up to
    the student's probabilities, its columns to the teacher's as far as it has converged. The
    entropy spreads the plan, and so the distance is not zero at student = teacher. As in the
    authors' code it works on probabilities, with 1e-8 added to denominators and costs; part of the
    mass that has to pay more than about 18 times the regularization is lost to that 1e-8.

    Args:
      student: logits `[..., num_classes]`.
      teacher: logits `[..., num_classes]`.
      cost: `[num_classes, num_classes]`, student's class (row) to teacher's (column); negative
        entries count as 0. A constant: no gradient flows to it.
      regularization: positive scalar, weight of the entropy; may be traced.
      iterations: number of iterations; the gradient goes through all of them.
      temperature: positive scalar that divides both logits; may be traced.
      axis: the class axis.
      where: boolean; with the rank of the logits a mask of classes (the softmaxes are taken over
        the selected ones), with one rank less a mask of examples (0 where False).

    Returns:
      `[...]`, one distance an example, float32 at least.

    Raises:
      ValueError: as `wkd_logit`.
      TypeError: as `wkd_logit`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> cost = 1 - jnp.eye(2)
      >>> student, teacher = jnp.array([20.0, 0.0]), jnp.array([0.0, 20.0])
      >>> print(f"{losses.sinkhorn_distance(student, teacher, cost=cost, regularization=0.1):.3f}")
      1.000

    References:
      Cuturi, Sinkhorn Distances: Lightspeed Computation of Optimal Transport, NeurIPS 2013; Lv et
      al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation,
      NeurIPS 2024 (the authors' code, `wkd_logit_loss`).
    """
    teacher = dense("teacher", teacher, "costs are between all classes; store dense logits")
    pair = paired_logits(student, teacher, temperature, axis, where)
    cost = _checked_cost(cost, pair.student.shape[-1], pair.student.dtype)
    _check_sinkhorn(regularization, iterations)
    q, p = jax.nn.softmax(pair.student), jax.nn.softmax(pair.teacher)
    takes_part = ~jnp.isneginf(pair.student)
    return pair.finish(_sinkhorn(q, p, cost, regularization, iterations, takes_part))


def class_distances(class_vectors: ArrayLike, *, kappa: ArrayLike = 1.0) -> jax.Array:
    """Computes costs between classes, `1 - exp(-kappa (1 - cos))`, from one vector a class.

    The vectors may be the rows of the teacher's classifier (for a Flax kernel `[width,
    num_classes]` its transpose), which is the authors' option "fc", or mean features of each class.
    The authors' configurations have the centered kernel alignment (CKA) of the features of two
    classes in place of the cosine; its costs come from a pass over the training set and can be
    given to `wkd_logit` as they are.

    Args:
      class_vectors: `[num_classes, width]`.
      kappa: sharpness; larger values set all but the closest classes to 1.

    Returns:
      `[num_classes, num_classes]`, symmetric, 0 on the diagonal, float32 at least. A vector of
      zeros has cosine 0 with all others.

    Raises:
      ValueError: vectors of another rank.
      TypeError: `SparseLogits`.

    Example:
      >>> import jax.numpy as jnp
      >>> from jaxkd import losses
      >>> costs = losses.class_distances(jnp.array([[2.0, 0.0], [5.0, 0.0], [0.0, 1.0]]))
      >>> [f"{cost:.3f}" for cost in costs[0]]
      ['0.000', '0.000', '0.632']

    References:
      Lv et al., Wasserstein Distance Rivals Kullback-Leibler Divergence for Knowledge Distillation,
      NeurIPS 2024.
    """
    vectors = dense("class_vectors", class_vectors, "they are features")
    if vectors.ndim != 2:
        raise ValueError(f"class_vectors are [num_classes, width], got shape {vectors.shape}")
    directions, _ = unit(vectors.astype(jnp.promote_types(vectors.dtype, jnp.float32)))
    similarity = jnp.matmul(directions, directions.T, precision="highest")
    # What rounding leaves of 1 - cos(x, x) would make a class cost something to itself.
    distance = jnp.where(jnp.eye(len(vectors), dtype=bool), 0, jnp.maximum(1 - similarity, 0))
    return -jnp.expm1(-jnp.asarray(kappa, distance.dtype) * distance)


def _sinkhorn(
    q: jax.Array,
    p: jax.Array,
    cost: jax.Array,
    regularization: ArrayLike,
    iterations: int,
    takes_part: jax.Array,
) -> jax.Array:
    """Returns the cost `[...]` of the plan between q (rows) and p (columns), both `[..., n]`."""
    kernel = jnp.exp(-cost / jnp.asarray(regularization, cost.dtype))
    size = jnp.maximum(jnp.sum(takes_part, axis=-1, keepdims=True, dtype=q.dtype), 1)
    rows = takes_part / size
    columns = p
    for _ in range(iterations):
        columns = p / (jnp.matmul(rows, kernel, precision="highest") + _EPSILON)
        rows = q / (jnp.matmul(columns, kernel.T, precision="highest") + _EPSILON)
    return jnp.sum(rows * jnp.matmul(columns, (kernel * cost).T, precision="highest"), axis=-1)


def _checked_cost(cost: ArrayLike | SparseLogits, num_classes: int, dtype: jnp.dtype) -> jax.Array:
    cost = dense("cost", cost, "it is a matrix of costs between classes")
    if cost.shape != (num_classes, num_classes):
        raise ValueError(
            f"cost must be [num_classes, num_classes] = {(num_classes, num_classes)} for these "
            f"logits, got shape {cost.shape}"
        )
    return jax.lax.stop_gradient(jnp.maximum(cost.astype(dtype), 0) + _EPSILON)


def _check_sinkhorn(regularization: ArrayLike, iterations: int) -> None:
    value = concrete_value(regularization)
    if value is not None and not 0 < value < float("inf"):
        raise ValueError(f"regularization must be positive and finite, got {value}")
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
