"""The connector of variational information distillation."""

from __future__ import annotations

import itertools
import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import check_widths
from jaxkd.ops import to_common_size


class VID(nnx.Module):
    """Predicts the teacher's feature: a mean from the student's, and one variance per channel.

    The mean comes from three matrices on the feature axis (1×1 convolutions without bias) with ReLU
    between them; the variance is learned, the same at all positions. A student's map larger than
    the teacher's is pooled to its size before the regressor. For `losses.vid`.

    Args:
      in_features: number of channels of the student's feature.
      out_features: number of channels of the teacher's feature.
      mid_features: number of channels between; None for the teacher's.
      initial_variance: variance at the start of training.
      epsilon: smallest variance.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: an initial variance that is not above `epsilon`.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> vid = connectors.VID(8, 16, rngs=nnx.Rngs(0))
      >>> arguments = vid(jnp.ones((2, 8, 8, 8)), teacher=jnp.ones((2, 4, 4, 16)))
      >>> {name: value.shape for name, value in arguments.items()}
      {'student': (2, 4, 4, 16), 'variance': (16,)}

    Reference:
      Ahn et al., Variational Information Distillation for Knowledge Transfer, CVPR 2019; the layers
      and their widths as in the code of Tian, Krishnan and Isola, Contrastive Representation
      Distillation, 2020.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        mid_features: int | None = None,
        initial_variance: float = 5.0,
        epsilon: float = 1e-5,
        rngs: nnx.Rngs,
    ):
        mid = out_features if mid_features is None else mid_features
        check_widths(in_features, mid, out_features)
        if not 0 < epsilon < initial_variance:
            raise ValueError(
                f"initial_variance must be above epsilon, and that above 0, not {initial_variance} "
                f"and {epsilon}"
            )
        widths = (in_features, mid, mid, out_features)
        self.layers = nnx.List(
            nnx.Linear(a, b, use_bias=False, rngs=rngs) for a, b in itertools.pairwise(widths)
        )
        # The inverse of softplus, without the exponential of a large variance.
        above = initial_variance - epsilon
        scale = above + math.log(-math.expm1(-above))
        self.log_scale = nnx.Param(jnp.full((out_features,), scale, jnp.float32))
        self.epsilon = epsilon

    def __call__(self, student: jax.Array, *, teacher: jax.Array) -> dict[str, jax.Array]:
        """Returns `student`, the mean, and `variance` `[out_features]`.

        Args:
          student: features `[batch, ..., in_features]`.
          teacher: features `[batch, ..., out_features]`, of which only the shape is used.

        Returns:
          The arguments of `losses.vid`.
        """
        if student.ndim == teacher.ndim == 4:
            student, _ = to_common_size(student, teacher)
        first, second, last = self.layers
        mean = last(nnx.relu(second(nnx.relu(first(student)))))
        variance = nnx.softplus(self.log_scale[...]) + self.epsilon
        return {"student": mean, "variance": variance}
