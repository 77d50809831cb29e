"""The connector of masked generative distillation."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import check_widths
from jaxkd.ops import conv_general_dilated

_MASKS = ("channels", "positions")


class MGD(nnx.Module):
    """Masks the student's map and generates the teacher's map from the unmasked part.

    A 1×1 convolution to the teacher's channels where their numbers differ, a mask, and two 3×3
    convolutions with ReLU between. The mask is sampled for each example and training step from a
    random stream of the module; in evaluation nothing is masked. Unmasked values are not scaled.

    Args:
      in_features: number of channels of the student's map.
      out_features: number of channels of the teacher's map.
      mask_ratio: share that is masked, in [0, 1): by the authors 0.15 for classification, 0.65 for
        detection, 0.75 for segmentation.
      mask: "channels" masks whole channels (classification), "positions" all channels of a position
        (detection and segmentation).
      rngs: random streams for the initial weights and the masks.

    Raises:
      ValueError: an unknown mask, a ratio out of range, widths that are not positive; when called,
        anything but a map of rank 4.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connectors.MGD(8, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 7, 8))).shape
      (2, 7, 7, 16)

    Reference:
      Yang et al., Masked Generative Distillation, ECCV 2022; the authors' code.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        mask_ratio: float = 0.15,
        mask: str = "channels",
        rngs: nnx.Rngs,
    ):
        check_widths(in_features, out_features)
        if mask not in _MASKS:
            raise ValueError(f"mask must be one of {_MASKS}, not {mask!r}")
        if not 0 <= mask_ratio < 1:
            raise ValueError(f"mask_ratio must lie in [0, 1), not {mask_ratio}")
        self.mask, self.mask_ratio = mask, mask_ratio
        self.align = (
            nnx.Conv(
                in_features,
                out_features,
                (1, 1),
                conv_general_dilated=conv_general_dilated,
                rngs=rngs,
            )
            if in_features != out_features
            else None
        )
        self.first = nnx.Conv(
            out_features, out_features, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs
        )
        self.second = nnx.Conv(
            out_features, out_features, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs
        )
        self.deterministic = False
        self.stream = rngs["dropout"].fork()

    def __call__(self, features: jax.Array, *, noise: jax.Array | None = None) -> jax.Array:
        """Generates a map `[batch, height, width, out_features]`.

        Args:
          features: the student's map `[batch, height, width, in_features]`.
          noise: samples between 0 and 1 that replace the module's own, in evaluation too:
            `[batch, 1, 1, out_features]` for channels, `[batch, height, width, 1]` for positions. A
            value below `mask_ratio` masks its channel or position.

        Returns:
          The generated map.

        Raises:
          ValueError: features that are no map of rank 4, or noise of another shape.
        """
        if features.ndim != 4:
            raise ValueError(f"MGD maps [batch, height, width, channels], not {features.shape}")
        if self.align is not None:
            features = self.align(features)
        batch, height, width, channels = features.shape
        shape = (batch, 1, 1, channels) if self.mask == "channels" else (batch, height, width, 1)
        if noise is None and not self.deterministic:
            noise = jax.random.uniform(self.stream(), shape)
        if noise is not None:
            if noise.shape != shape:
                raise ValueError(f"noise for masked {self.mask} must be {shape}, not {noise.shape}")
            features = jnp.where(noise < self.mask_ratio, 0, features)
        return self.second(nnx.relu(self.first(features)))
