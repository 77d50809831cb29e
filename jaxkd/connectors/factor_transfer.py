"""The connector of factor transfer: a paraphraser and a translator of the last maps."""

from __future__ import annotations

import jax
from flax import nnx

from jaxkd.connectors._blocks import check_widths
from jaxkd.ops import conv_general_dilated


class FactorTransfer(nnx.Module):
    """A paraphraser of the teacher's map and a translator of the student's.

    Both are three 3×3 convolutions, each with batch normalization and leaky ReLU (0.1). The
    paraphraser has three more that reconstruct the teacher's map from its factors; it learns from
    that error alone, and no gradient reaches it from the comparison of factors. The authors train
    it before the student; here the schedules of the two terms' weights decide the order.

    Args:
      in_features: number of channels of the student's map.
      out_features: number of channels of the teacher's map.
      rate: width of the factors as a share of the teacher's channels.
      rngs: random streams for the initial weights.

    Raises:
      ValueError: widths that are not positive, a rate that leaves no factor.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> transfer = connectors.FactorTransfer(4, 6, rngs=nnx.Rngs(0))
      >>> outputs = transfer(jnp.ones((2, 5, 5, 4)), teacher=jnp.ones((2, 7, 7, 6)))
      >>> for name, value in outputs.items():
      ...     print(name, value.shape)
      student (2, 5, 5, 3)
      teacher (2, 7, 7, 3)
      reconstruction (2, 7, 7, 6)
      target (2, 7, 7, 6)

    Reference:
      Kim, Park and Kwak, Paraphrasing Complex Network: Network Compression via Factor Transfer,
      NeurIPS 2018; the layers are those of the code of Tian, Krishnan and Isola, Contrastive
      Representation Distillation, ICLR 2020.
    """

    def __init__(self, in_features: int, out_features: int, *, rate: float = 0.5, rngs: nnx.Rngs):
        factors = int(rate * out_features)
        check_widths(in_features, out_features)
        if factors < 1:
            raise ValueError(
                f"rate {rate} of {out_features} channels leaves no factor: it must be at least "
                f"{1 / out_features}"
            )
        self.encoder = _blocks((out_features, out_features, factors, factors), rngs)
        self.decoder = _blocks((factors, factors, out_features, out_features), rngs)
        self.translator = _blocks((in_features, in_features, factors, factors), rngs)

    def __call__(self, student: jax.Array, *, teacher: jax.Array) -> dict[str, jax.Array]:
        """Returns the factors of both maps, and the reconstruction of the teacher's.

        Args:
          student: map `[batch, height, width, in_features]`.
          teacher: map `[batch, height, width, out_features]`.

        Returns:
          `student` and `teacher`, the factors; `reconstruction`, to be compared with `target`, the
          teacher's map.
        """
        teacher = jax.lax.stop_gradient(teacher)
        factors = self.encoder(teacher)
        return {
            "student": self.translator(student),
            "teacher": jax.lax.stop_gradient(factors),
            "reconstruction": self.decoder(factors),
            "target": teacher,
        }


def _blocks(widths: tuple[int, ...], rngs: nnx.Rngs) -> nnx.Sequential:
    """Returns 3×3 convolutions between the given widths, with normalization and leaky ReLU."""
    layers: list = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [
            nnx.Conv(before, after, (3, 3), conv_general_dilated=conv_general_dilated, rngs=rngs),
            nnx.BatchNorm(after, momentum=0.9, rngs=rngs),
            _leaky_relu,
        ]
    return nnx.Sequential(*layers)


def _leaky_relu(x: jax.Array) -> jax.Array:
    return nnx.leaky_relu(x, 0.1)
