"""SimKD: the student's features in front of the teacher's own classifier."""

from __future__ import annotations

import jax
from flax import nnx

from jaxkd.connectors._blocks import ConvNorm, FrozenHead
from jaxkd.ops import adaptive_average_pool


class SimKD(nnx.Module):
    """Projects the student's last map to the teacher's, and reuses the teacher's classifier.

    A bottleneck of 1×1, 3×3 and 1×1 convolutions, each with batch normalization and ReLU. The
    projected map learns from the teacher's (`losses.feature_mse`), and no other loss is needed: the
    logits come from the teacher's classifier, which is not trained. The connector is part of the
    deployed student: append it with `networks.extend`.

    Args:
      in_features: number of channels of the student's last map.
      out_features: number of channels of the teacher's last map, the width of its classifier.
      kernel: the teacher's classifier, `[out_features, num_classes]`.
      bias: `[num_classes]`, None if the classifier has none.
      factor: ratio of the teacher's width to the width inside.
      size: height and width of the teacher's map, to which a larger map of the student is pooled
        first; None keeps the size.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a classifier of another width, a factor above the teacher's width; when called, a
        feature that is not a map.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> simkd = connectors.SimKD(8, 16, kernel=jnp.ones((16, 10)), rngs=nnx.Rngs(0))
      >>> {name: value.shape for name, value in simkd(jnp.ones((2, 4, 4, 8))).items()}
      {'projected': (2, 4, 4, 16), 'logits': (2, 10)}

    Reference:
      Chen et al., Knowledge Distillation with the Reused Teacher Classifier, CVPR 2022.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        kernel: jax.Array,
        bias: jax.Array | None = None,
        factor: int = 2,
        size: tuple[int, int] | None = None,
        rngs: nnx.Rngs,
    ):
        if not 1 <= factor <= out_features:
            raise ValueError(f"factor must lie between 1 and {out_features}, not {factor}")
        inside = out_features // factor
        self.reduce = ConvNorm(in_features, inside, 1, rngs=rngs)
        self.mix = ConvNorm(inside, inside, 3, rngs=rngs)
        self.expand = ConvNorm(inside, out_features, 1, rngs=rngs)
        self.head = FrozenHead(kernel, bias, out_features)
        self.size = size

    def __call__(self, student: jax.Array) -> dict[str, jax.Array]:
        """Returns `projected`, a map `[batch, height, width, out_features]`, and `logits`."""
        if student.ndim != 4:
            raise ValueError(
                f"SimKD projects maps [batch, height, width, channels], not {student.shape}"
            )
        if self.size is not None:
            height, width = student.shape[1:3]
            student = adaptive_average_pool(
                student, (min(height, self.size[0]), min(width, self.size[1]))
            )
        projected = self.expand(self.mix(self.reduce(student)))
        return {"projected": projected, "logits": self.head(projected)}
