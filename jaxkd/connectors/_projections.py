"""Projections of the feature axis."""

import jax
from flax import nnx


class Linear(nnx.Module):
    """An affine map of the last axis, `[..., in_features]` to `[..., out_features]`.

    For vectors `[batch, width]` and tokens `[batch, tokens, width]`; no axis but the last is
    touched, so the batch size may change and no example sees another.

    Args:
      in_features: width of the student's feature.
      out_features: width of the teacher's.
      use_bias: whether to add a bias.
      rngs: for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> Linear(8, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 8))).shape
      (2, 5, 16)

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015 (the regressor).
    """

    def __init__(
        self, in_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs
    ):
        _check(in_features, out_features)
        self.linear = nnx.Linear(in_features, out_features, use_bias=use_bias, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., in_features]`."""
        return self.linear(features)


class Conv1x1(nnx.Module):
    """A 1×1 convolution, `[batch, height, width, in_features]` to `[..., out_features]`.

    Optionally followed by batch normalisation and ReLU, as regressors of feature maps often are.

    Args:
      in_features: channels of the student's map.
      out_features: channels of the teacher's.
      norm: whether batch normalisation and ReLU follow.
      rngs: for the initial weights.

    Raises:
      ValueError: when called with anything but a map of rank 4.

    Example:
      >>> import jax.numpy as jnp
      >>> Conv1x1(8, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 7, 8))).shape
      (2, 7, 7, 16)

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015; Tian, Krishnan, Isola, Contrastive
      Representation Distillation, 2020 (the form with norm, in their code).
    """

    def __init__(self, in_features: int, out_features: int, *, norm: bool = False, rngs: nnx.Rngs):
        _check(in_features, out_features)
        self.conv = nnx.Conv(in_features, out_features, (1, 1), use_bias=not norm, rngs=rngs)
        self.norm = nnx.BatchNorm(out_features, rngs=rngs) if norm else None

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps feature maps `[batch, height, width, in_features]`."""
        if features.ndim != 4:
            raise ValueError(
                f"Conv1x1 maps [batch, height, width, channels], not {features.shape}; "
                "Linear takes vectors and tokens"
            )
        features = self.conv(features)
        return nnx.relu(self.norm(features)) if self.norm is not None else features


def _check(in_features: int, out_features: int) -> None:
    if in_features < 1 or out_features < 1:
        raise ValueError(f"widths must be positive, not {in_features} and {out_features}")
