"""The similarity of two networks' features: centered kernel alignment."""

import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike


def cka(student: ArrayLike, teacher: ArrayLike, *, unbiased: bool = True) -> float:
    """Computes the linear centered kernel alignment (CKA) of two networks' features.

    It compares which examples lie close to each other, so that features of any two widths can be
    compared, and neither a rotation, a shift nor a common scale of the features changes it. With
    few examples and many features the biased estimate is high even for networks that have nothing
    in common; the unbiased one is then near 0, and may be slightly negative.

    Args:
      student: features `[n, ...]`; axes after the first are flattened. Maps are best averaged over
        regions first.
      teacher: features of the same examples in the same order, `[n, ...]`.
      unbiased: whether to use the unbiased estimate of the Hilbert-Schmidt independence criterion,
        which needs four examples, or the plain one, which needs two.

    Returns:
      1 for features that differ by rotation, shift and scale, 0 for unrelated ones; nan where the
      features of either hardly vary over the examples (a dead layer).

    Raises:
      ValueError: the numbers of examples differ or are too small, or a feature is not finite.

    Example:
      >>> features, unrelated = np.random.default_rng(0).normal(size=(2, 200, 3))
      >>> turned = 7.0 * features[:, ::-1] + 1.0
      >>> round(cka(features, turned), 6), abs(cka(features, unrelated)) < 0.05
      (1.0, True)

    References:
      Kornblith et al., Similarity of Neural Network Representations Revisited, ICML 2019.
      https://arxiv.org/abs/1905.00414
      Song et al., Feature Selection via Dependence Maximization, JMLR 2012 (unbiased estimate).
      Nguyen, Raghu, Kornblith, Do Wide and Deep Networks Learn the Same Things?, ICLR 2021
      (unbiased CKA). https://arxiv.org/abs/2010.15327
    """
    return float(cka_matrix({"": student}, {"": teacher}, unbiased=unbiased)[0, 0])


def cka_matrix(
    students: Mapping[str, ArrayLike],
    teachers: Mapping[str, ArrayLike],
    *,
    unbiased: bool = True,
) -> np.ndarray:
    """Computes the alignment of every feature of one network with every feature of another.

    Args:
      students: features by name, each `[n, ...]`, all of the same examples.
      teachers: features of the other network by name, of the same examples.
      unbiased: see `jaxkd.metrics.cka`.

    Returns:
      float64 `[students, teachers]`, in the order of the mappings.

    Raises:
      ValueError: there is no feature, the numbers of examples differ or are too small, or a feature
        is not finite.

    Example:
      >>> features = np.random.default_rng(0).normal(size=(50, 3))
      >>> cka_matrix({"stage1": features}, {"stage1": 2 * features, "dead": 0 * features}).round(6)
      array([[ 1., nan]])
    """
    sides = []
    for what, named in (("student", students), ("teacher", teachers)):
        if not named:
            raise ValueError(f"there is no feature of the {what}: the mapping is empty")
        sides.append([_Centered(f"{what} {n}".strip(), f, unbiased) for n, f in named.items()])
    first, *others = sides[0] + sides[1]
    for other in others:
        if len(other.rows) != len(first.rows):
            raise ValueError(
                f"all features must be of the same examples: {first.name} has "
                f"{len(first.rows)}, {other.name} has {len(other.rows)}"
            )
    return np.array(
        [
            [_criterion(a, b) / np.sqrt(a.with_itself * b.with_itself) for b in sides[1]]
            for a in sides[0]
        ]
    )


class _Centered:
    """Features around their mean, scaled so that their squares add up to 1."""

    def __init__(self, name: str, features: ArrayLike, unbiased: bool):
        self.name = name
        array = np.asarray(features, dtype=np.float64)
        least = 4 if unbiased else 2
        if array.ndim == 0 or array.size == 0 or len(array) < least:
            raise ValueError(
                f"{name} must have shape [n, ...] with n of at least {least} for the "
                f"{'unbiased' if unbiased else 'biased'} estimate, got {list(array.shape)}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{name} has features that are not finite")
        array = array.reshape(len(array), -1)
        # The mean of equal numbers is not exact: constant features would leave rounding errors.
        centered = (array - array.mean(0)) * (np.ptp(array, axis=0) > 0)
        norm = np.linalg.norm(centered)
        self.varies = bool(norm > 0)
        self.rows = centered / norm if self.varies else centered
        self.squares = np.einsum("nd,nd->n", self.rows, self.rows)
        self.unbiased = unbiased

    @functools.cached_property
    def gram(self) -> np.ndarray:
        """Products between examples, `[n, n]`."""
        return self.rows @ self.rows.T

    @functools.cached_property
    def with_itself(self) -> float:
        """The criterion of the features with themselves; nan if it is no more than rounding."""
        value = _criterion(self, self) if self.varies else 0.0
        return value if value > 1e-12 else np.nan


def _criterion(a: _Centered, b: _Centered) -> float:
    """The independence criterion, up to a factor that depends on n alone."""
    n = len(a.rows)
    if max(a.rows.shape[1], b.rows.shape[1]) > n:
        plain = float(np.vdot(a.gram, b.gram))
    else:
        plain = float(np.square(a.rows.T @ b.rows).sum())
    if not a.unbiased:
        return plain
    # The estimate leaves out each example's product with itself. Rows of centered products add up
    # to zero, so that all its terms follow from the squares, whose sum is 1.
    return plain - n / (n - 2) * float(a.squares @ b.squares) + 1 / ((n - 1) * (n - 2))
