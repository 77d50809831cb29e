"""The connector of the overhaul of feature distillation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax.typing import ArrayLike

from jaxkd.connectors._blocks import Constant, ConvNorm


class OFD(nnx.Module):
    """A 1×1 convolution with batch normalization, and the margin of the teacher's channels.

    Both maps are taken before their ReLU, so none follows here. The margin comes from the teacher's
    batch normalization (`losses.ofd_margin`) and is constant. For `losses.ofd`.

    Args:
      in_features: number of channels of the student's map.
      out_features: number of channels of the teacher's map.
      margin: lower bound of the teacher's values, `[out_features]` or a number for all channels.
        The default ignores all negative responses.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: a margin of another shape.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> ofd = connectors.OFD(8, 16, margin=-0.5, rngs=nnx.Rngs(0))
      >>> {name: value.shape for name, value in ofd(jnp.ones((2, 4, 4, 8))).items()}
      {'student': (2, 4, 4, 16), 'margin': (16,)}

    Reference:
      Heo et al., A Comprehensive Overhaul of Feature Distillation, ICCV 2019.
    """

    def __init__(
        self, in_features: int, out_features: int, *, margin: ArrayLike = 0.0, rngs: nnx.Rngs
    ):
        if jnp.shape(margin) not in ((), (out_features,)):
            raise ValueError(
                f"margin must be a number or [{out_features}], one for each of the teacher's "
                f"channels, not {jnp.shape(margin)}"
            )
        self.project = ConvNorm(in_features, out_features, 1, relu=False, rngs=rngs)
        margin = jnp.asarray(margin, jnp.promote_types(jnp.result_type(margin), jnp.float32))
        self.margin = Constant(jnp.broadcast_to(margin, (out_features,)))

    def __call__(self, student: jax.Array) -> dict[str, jax.Array]:
        """Returns `student`, a map `[batch, height, width, out_features]`, and `margin`."""
        return {"student": self.project(student), "margin": self.margin[...]}
