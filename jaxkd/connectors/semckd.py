"""The connector of semantic calibration: attention from the similarities of a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import ConvNorm, check_layer_widths, check_maps, detached, unit
from jaxkd.ops import to_common_size


class SemCKD(nnx.Module):
    """Attention from the similarities of a batch, and a projection for every pair of layers.

    A layer's key or query is an embedding of each example's similarities to all examples of the
    batch in that layer. The embedding's input is therefore as wide as the batch: the module works
    for one batch size only, and all rows take part, padding included. Pass full batches.

    Args:
      student_channels: number of channels of each student layer.
      teacher_channels: number of channels of each teacher layer.
      batch_size: number of examples in every batch.
      factor: ratio of the batch size to the width of keys and queries.
      soft: temperature of the attention.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: no layers, a batch smaller than `factor`, a `soft` that is not positive; when
        called, another batch size, another number of layers or outputs that are not maps.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connector = connectors.SemCKD([4], [6, 8], batch_size=4, rngs=nnx.Rngs(0))
      >>> student, teacher = jnp.ones((4, 8, 8, 4)), jnp.ones((4, 4, 4, 6))
      >>> arguments = connector((student,), teacher=(teacher, jnp.ones((4, 8, 8, 8))))
      >>> arguments["attention"].shape, [x.shape for x in arguments["student"][0]]
      ((4, 1, 2), [(4, 4, 4, 6), (4, 8, 8, 8)])

    Reference:
      Chen et al., Cross-Layer Distillation with Semantic Calibration, AAAI 2021; the authors' code,
      with `soft` as in their later SimKD.
    """

    def __init__(
        self,
        student_channels: Sequence[int],
        teacher_channels: Sequence[int],
        *,
        batch_size: int,
        factor: int = 4,
        soft: float = 1.0,
        rngs: nnx.Rngs,
    ):
        check_layer_widths(student_channels, teacher_channels)
        if not 1 <= factor <= batch_size:
            raise ValueError(
                f"factor must lie between 1 and the batch size {batch_size}, not {factor}: keys "
                "would have no entry"
            )
        if not soft > 0:
            raise ValueError(f"soft must be positive, not {soft}")
        self.batch_size, self.soft = batch_size, soft
        width = batch_size // factor
        self.queries = nnx.List([_Embedding(batch_size, width, rngs) for _ in student_channels])
        self.keys = nnx.List([_Embedding(batch_size, width, rngs) for _ in teacher_channels])
        self.projections = nnx.List(
            [
                nnx.List([_Projection(s, t, rngs) for t in teacher_channels])
                for s in student_channels
            ]
        )

    def __call__(
        self, student: tuple[jax.Array, ...], *, teacher: tuple[jax.Array, ...]
    ) -> dict[str, Any]:
        """Returns the arguments of `losses.semckd` for the maps of all layers.

        Of a pair of maps the larger is pooled to the size of the smaller.

        Args:
          student: one map `[batch, height, width, channels]` for each student layer.
          teacher: one map for each teacher layer.

        Returns:
          `student` and `teacher`, tuples of tuples of maps by student and teacher layer, and
          `attention` `[batch, student layers, teacher layers]`.

        Raises:
          ValueError: another number of layers, outputs that are no maps, or another batch size.
        """
        check_maps("student", student, len(self.queries))
        check_maps("teacher", teacher, len(self.keys))
        for maps in (*student, *teacher):
            if maps.shape[0] != self.batch_size:
                raise ValueError(
                    f"SemCKD was created for batches of {self.batch_size} and got one of "
                    f"{maps.shape[0]}: its attention acts on the similarities of a whole batch; "
                    "drop incomplete batches"
                )
        teacher = detached(teacher)
        queries, keys = (
            jnp.stack([f(_similarity(x)) for f, x in zip(layers, maps, strict=True)], axis=1)
            for layers, maps in ((self.queries, student), (self.keys, teacher))
        )
        energy = jnp.einsum("bsd,btd->bst", queries, keys) / self.soft
        projected, targets = [], []
        for row, source in zip(self.projections, student, strict=True):
            pairs = [to_common_size(source, target) for target in teacher]
            projected.append(tuple(f(s) for f, (s, _) in zip(row, pairs, strict=True)))
            targets.append(tuple(t for _, t in pairs))
        return {
            "student": tuple(projected),
            "teacher": tuple(targets),
            "attention": jax.nn.softmax(energy, axis=-1),
        }


class _Embedding(nnx.Module):
    """Maps rows of similarities to unit vectors."""

    def __init__(self, in_features: int, out_features: int, rngs: nnx.Rngs):
        self.first = nnx.Linear(in_features, 2 * out_features, rngs=rngs)
        self.second = nnx.Linear(2 * out_features, out_features, rngs=rngs)

    def __call__(self, rows: jax.Array) -> jax.Array:
        return unit(self.second(nnx.relu(self.first(rows))))


class _Projection(nnx.Module):
    """Maps a student's map to a teacher's channels, with twice as many channels inside."""

    def __init__(self, in_features: int, out_features: int, rngs: nnx.Rngs):
        middle = 2 * out_features
        self.widen = ConvNorm(in_features, middle, 1, rngs=rngs)
        self.mix = ConvNorm(middle, middle, 3, rngs=rngs)
        self.narrow = nnx.Linear(middle, out_features, use_bias=False, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        return self.narrow(self.mix(self.widen(features)))


def _similarity(maps: jax.Array) -> jax.Array:
    """Returns the inner products `[batch, batch]` of the examples of a batch."""
    rows = maps.reshape(maps.shape[0], -1)
    mesh = jax.sharding.get_abstract_mesh()
    everywhere = rows
    if not mesh.empty and mesh.explicit_axes:
        # On an explicit mesh the gathering of the whole batch must be stated.
        everywhere = jax.sharding.reshard(rows, jax.sharding.PartitionSpec())
    return rows @ everywhere.T
