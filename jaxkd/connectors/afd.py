"""The connector of attention-based feature matching."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import check_layer_widths, check_maps, detached


class AFD(nnx.Module):
    """Attention of every teacher layer to all student layers, from their pooled channels.

    Queries of the teacher's layers and keys of the student's are affine maps of the pooled layers
    with batch normalization; each pair of layers has a bilinear weight and a term of its own.

    Args:
      student_channels: number of channels of each student layer.
      teacher_channels: number of channels of each teacher layer.
      qk_dim: width of queries and keys.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: no layers, widths that are not positive; when called, another number of layers or
        outputs that are not maps.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connector = connectors.AFD([4, 8], [6], qk_dim=16, rngs=nnx.Rngs(0))
      >>> student = jnp.ones((2, 8, 8, 4)), jnp.ones((2, 4, 4, 8))
      >>> connector(student, teacher=(jnp.ones((2, 4, 4, 6)),))["attention"].shape
      (2, 1, 2)

    Reference:
      Ji, Heo and Park, Show, Attend and Distill: Knowledge Distillation via Attention-based Feature
      Matching, AAAI 2021; the authors' code.
    """

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        qk_dim: int = 128,
        rngs: nnx.Rngs,
    ):
        check_layer_widths(student_channels, teacher_channels)
        if qk_dim < 1:
            raise ValueError(f"qk_dim must be positive, not {qk_dim}")
        self.qk_dim = qk_dim
        self.keys = nnx.List([_Normalized(width, qk_dim, rngs) for width in student_channels])
        self.queries = nnx.List([_Normalized(width, qk_dim, rngs) for width in teacher_channels])
        self.bilinear = _Normalized(qk_dim, qk_dim * len(teacher_channels), rngs)
        initial = nnx.initializers.glorot_normal()
        self.student_layers = nnx.Param(
            initial(rngs.params(), (len(student_channels), qk_dim), jnp.float32)
        )
        self.teacher_layers = nnx.Param(
            initial(rngs.params(), (len(teacher_channels), qk_dim), jnp.float32)
        )

    def __call__(
        self, student: tuple[jax.Array, ...], *, teacher: tuple[jax.Array, ...]
    ) -> dict[str, Any]:
        """Returns the arguments of `losses.afd` for the maps of all layers.

        Args:
          student: one map `[batch, height, width, channels]` for each student layer.
          teacher: one map for each teacher layer.

        Returns:
          `student`, the unchanged maps, and `attention` `[batch, teacher layers, student layers]`.
        """
        check_maps("student", student, len(self.keys))
        check_maps("teacher", teacher, len(self.queries))
        keys, queries = (
            jnp.stack([f(jnp.mean(x, axis=(1, 2))) for f, x in zip(layers, maps, strict=True)], 1)
            for layers, maps in ((self.keys, student), (self.queries, detached(teacher)))
        )
        # One normalization for the keys of all layers: its batch is that of examples and layers.
        weighted = self.bilinear(nnx.relu(keys))
        weighted = weighted.reshape(*weighted.shape[:2], len(teacher), self.qk_dim)
        # Each pair of layers has a term that does not depend on the example.
        per_pair = self.teacher_layers[...] @ self.student_layers[...].T
        energy = jnp.einsum("bstq,btq->bts", weighted, queries) + per_pair
        attention = jax.nn.softmax(energy / math.sqrt(self.qk_dim), axis=-1)
        return {"student": student, "attention": attention}


class _Normalized(nnx.Module):
    """An affine map followed by batch normalization."""

    def __init__(self, in_features: int, out_features: int, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_features, out_features, rngs=rngs)
        self.norm = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.norm(self.linear(features))
