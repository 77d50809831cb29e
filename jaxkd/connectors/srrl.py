"""SRRL: the student's features through the teacher's own classifier."""

from __future__ import annotations

import jax
from flax import nnx

from jaxkd.connectors._blocks import ConvNorm, FrozenHead


class SRRL(nnx.Module):
    """Projects the student's feature and applies the teacher's classifier to it.

    A 1×1 convolution without bias, batch normalization and ReLU; then the classifier, which is not
    trained, on the average over positions. For `losses.srrl`.

    Args:
      in_features: number of channels of the student's feature.
      out_features: number of channels of the teacher's feature, the width of its classifier.
      kernel: the teacher's classifier, `[out_features, num_classes]`.
      bias: `[num_classes]`, None if the classifier has none.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a classifier of another width.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> srrl = connectors.SRRL(8, 16, kernel=jnp.ones((16, 10)), rngs=nnx.Rngs(0))
      >>> [value.shape for value in srrl(jnp.ones((2, 4, 4, 8)))["student"]]
      [(2, 4, 4, 16), (2, 10)]

    Reference:
      Yang et al., Knowledge Distillation via Softmax Regression Representation Learning, ICLR 2021.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel: jax.Array,
        bias: jax.Array | None = None,
        rngs: nnx.Rngs,
    ):
        self.project = ConvNorm(in_features, out_features, 1, rngs=rngs)
        self.head = FrozenHead(kernel, bias, out_features)

    def __call__(self, student: jax.Array) -> dict[str, tuple[jax.Array, jax.Array]]:
        """Returns `student`: the projection `[batch, ..., out_features]` and its logits."""
        projected = self.project(student)
        return {"student": (projected, self.head(projected))}
