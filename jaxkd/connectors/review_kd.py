"""The connector of knowledge review: attention-based fusion of stages."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import ConvNorm, check_count
from jaxkd.ops import resize_nearest


class ReviewKD(nnx.Module):
    """Fuses the student's stages from the last to the first, for each stage of the teacher.

    A stage is fused with the result of the later ones: both are weighted by attention maps computed
    from the two and added. The sum goes on to the earlier stage and, by a 3×3 convolution, to the
    teacher's channels. A vector `[batch, width]` (the pooled feature, which the authors take as the
    last stage) counts as a map of 1×1, and the result is a vector again. For
    `losses.over_stages(losses.hcl)`.

    Args:
      in_channels: number of channels of each student stage, from the first to the last.
      out_channels: number of channels of the corresponding teacher stages.
      sizes: height and width (a pair, or a number for both) of the teacher's stages that are maps;
        vectors come last and need none.
      mid_channels: number of channels inside; None for that of the student's last stage, at most
        512.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: numbers of stages that do not fit; when called, another number of outputs.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> fusion = connectors.ReviewKD((4, 8, 8), (6, 12, 12), (8, 4), rngs=nnx.Rngs(0))
      >>> student = jnp.ones((2, 8, 8, 4)), jnp.ones((2, 4, 4, 8)), jnp.ones((2, 8))
      >>> [maps.shape for maps in fusion(student)]
      [(2, 8, 8, 6), (2, 4, 4, 12), (2, 12)]

    Reference:
      Chen, Liu, Zhao and Jia, Distilling Knowledge via Knowledge Review, CVPR 2021.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: Sequence[int],
        sizes: Sequence[int | tuple[int, int]],
        *,
        mid_channels: int | None = None,
        rngs: nnx.Rngs,
    ):
        stages = len(in_channels)
        if stages < 1 or len(out_channels) != stages or len(sizes) > stages:
            raise ValueError(
                f"as many out_channels as in_channels are needed and no more sizes, at least one, "
                f"got {stages} in_channels, {len(out_channels)} out_channels and {len(sizes)} sizes"
            )
        inside = min(512, in_channels[-1]) if mid_channels is None else mid_channels
        pairs = [(size, size) if isinstance(size, int) else (size[0], size[1]) for size in sizes]
        self.maps = len(pairs)
        self.sizes = (*pairs, *[(1, 1)] * (stages - len(pairs)))
        self.blocks = nnx.List(
            _Fusion(a, inside, b, first=stage == stages - 1, rngs=rngs)
            for stage, (a, b) in enumerate(zip(in_channels, out_channels, strict=True))
        )

    def __call__(self, student: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        """Fuses outputs from the first stage to the last.

        Args:
          student: maps `[batch, height, width, channels]` for the stages with an entry in `sizes`,
            then vectors `[batch, channels]`.

        Returns:
          As many maps and vectors, with the teacher's channels and sizes.

        Raises:
          ValueError: another number of maps or vectors, or other ranks.
        """
        check_count("student", student, len(self.blocks))
        ranks = [4] * self.maps + [2] * (len(self.blocks) - self.maps)
        if [x.ndim for x in student] != ranks:
            raise ValueError(
                f"{self.maps} maps [batch, height, width, channels] and then vectors [batch, "
                f"channels] are needed, got {[x.shape for x in student]}"
            )
        fused: list[jax.Array] = []
        later = None
        for stage in reversed(range(len(self.blocks))):
            features = student[stage]
            maps = features if features.ndim == 4 else features[:, None, None]
            result, later = self.blocks[stage](maps, later, self.sizes[stage])
            fused.insert(0, result if features.ndim == 4 else result[:, 0, 0])
        return tuple(fused)


class _Fusion(nnx.Module):
    """The attention-based fusion of one stage of `ReviewKD` with the later ones.

    Args:
      in_features: number of channels of the stage.
      features: number of channels inside.
      out_features: number of channels of the teacher's stage.
      first: whether this is the last stage, which is fused first and has no later one.
      rngs: random streams for the initial weights.
    """

    def __init__(
        self, in_features: int, features: int, out_features: int, *, first: bool, rngs: nnx.Rngs
    ):
        self.reduce = ConvNorm(in_features, features, 1, relu=False, rngs=rngs)
        self.attention = None if first else nnx.Linear(2 * features, 2, rngs=rngs)
        self.expand = ConvNorm(features, out_features, 3, relu=False, rngs=rngs)

    def __call__(
        self, maps: jax.Array, later: jax.Array | None, size: tuple[int, int]
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the map for the teacher and the fused map, both of height and width `size`."""
        maps = self.reduce(maps)
        if self.attention is not None and later is not None:
            later = resize_nearest(later, (maps.shape[1], maps.shape[2]))
            weights = nnx.sigmoid(self.attention(jnp.concatenate([maps, later], axis=-1)))
            maps = maps * weights[..., :1] + later * weights[..., 1:]
        maps = resize_nearest(maps, size)
        return self.expand(maps), maps
