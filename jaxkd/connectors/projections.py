"""Projections of the feature axis, from the student's width to the teacher's."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.connectors._blocks import check_widths
from jaxkd.connectors.pca import PrincipalComponents, check_components
from jaxkd.ops import conv_general_dilated


class Linear(nnx.Module):
    """An affine map of the last axis, `[..., in_features]` to `[..., out_features]`.

    For vectors `[batch, width]` and tokens `[batch, tokens, width]`; no axis but the last is
    touched, so the batch size may change and examples stay independent.

    Args:
      in_features: width of the student's feature.
      out_features: width of the teacher's feature.
      use_bias: whether to add a bias.
      initial: principal components of the teacher's features, `in_features` of them: the map starts
        as the one from coordinates along them to the features. None for random weights.
      rngs: random streams for the initial weights.

    Raises:
      TypeError: an `initial` that is no principal components.
      ValueError: components for other widths, or of centered features without a bias.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connectors.Linear(8, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 8))).shape
      (2, 5, 16)

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015 (the regressor).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        use_bias: bool = True,
        initial: PrincipalComponents | None = None,
        rngs: nnx.Rngs,
    ):
        check_widths(in_features, out_features)
        self.linear = nnx.Linear(in_features, out_features, use_bias=use_bias, rngs=rngs)
        if initial is None:
            return
        check_components("Linear(…, initial=)", initial)
        if initial.components.shape != (in_features, out_features):
            raise ValueError(
                f"the map from {in_features} to {out_features} features starts as components "
                f"{(in_features, out_features)}, not {initial.components.shape}: write "
                f"connectors.pca(embeddings, {in_features})"
            )
        self.linear.kernel[...] = jnp.asarray(initial.components)
        if self.linear.bias is not None:
            self.linear.bias[...] = jnp.asarray(initial.mean)
        elif initial.mean.any():
            raise ValueError(
                "components of centered features need a bias: leave use_bias=False out, or write "
                f"connectors.pca(embeddings, {in_features}, center=False)"
            )

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., in_features]` to `[..., out_features]`."""
        return self.linear(features)


class Conv1x1(nnx.Module):
    """A 1×1 convolution, `[batch, height, width, in_features]` to `[..., out_features]`.

    Optionally followed by batch normalization and ReLU, as regressors of feature maps often are.

    Args:
      in_features: number of channels of the student's map.
      out_features: number of channels of the teacher's map.
      norm: whether batch normalization follows; the convolution then has no bias.
      relu: whether ReLU follows the normalization. False where the teacher's map has negative
        values, and for inter-channel correlations (ICKD).
      rngs: random streams for the initial weights.

    Raises:
      ValueError: when called with anything but a map of rank 4.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connectors.Conv1x1(8, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 7, 8))).shape
      (2, 7, 7, 16)

    Reference:
      Romero et al., FitNets: Hints for Thin Deep Nets, 2015; Tian, Krishnan, Isola, Contrastive
      Representation Distillation, 2020 (the form with norm, in their code); Liu et al., Exploring
      Inter-Channel Correlation for Diversity-preserved Knowledge Distillation, ICCV 2021 (the form
      with norm and without ReLU).
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        norm: bool = False,
        relu: bool = True,
        rngs: nnx.Rngs,
    ):
        check_widths(in_features, out_features)
        self.conv = nnx.Conv(
            in_features,
            out_features,
            (1, 1),
            use_bias=not norm,
            conv_general_dilated=conv_general_dilated,
            rngs=rngs,
        )
        self.norm = nnx.BatchNorm(out_features, momentum=0.9, rngs=rngs) if norm else None
        self.relu = relu

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps `[batch, height, width, in_features]` to `[batch, height, width, out_features]`."""
        if features.ndim != 4:
            raise ValueError(
                f"Conv1x1 maps [batch, height, width, channels], not {features.shape}; "
                "Linear takes vectors and tokens"
            )
        features = self.conv(features)
        if self.norm is None:
            return features
        features = self.norm(features)
        return nnx.relu(features) if self.relu else features


class MLP(nnx.Module):
    """Two affine maps of the last axis with ReLU between.

    Args:
      in_features: width of the student's feature.
      hidden: width between the two maps.
      out_features: width of the teacher's feature.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connectors.MLP(8, 32, 16, rngs=nnx.Rngs(0))(jnp.ones((2, 5, 8))).shape
      (2, 5, 16)

    Reference:
      Chen et al., Improved Feature Distillation via Projector Ensemble, 2022, compares such
      projectors with affine ones.
    """

    def __init__(self, in_features: int, hidden: int, out_features: int, *, rngs: nnx.Rngs):
        check_widths(in_features, hidden, out_features)
        self.first = nnx.Linear(in_features, hidden, rngs=rngs)
        self.second = nnx.Linear(hidden, out_features, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., in_features]` to `[..., out_features]`."""
        return self.second(nnx.relu(self.first(features)))


class OrthogonalProjection(nnx.Module):
    """A linear map with an orthonormal matrix, `[..., in_features]` to `[..., out_features]`.

    It cannot scale or drop directions of the student's feature in favor of others, so that the
    student itself has to learn, not the projection. For a wider teacher it preserves all inner
    products; for a narrower one it is an orthogonal projection. The matrix is the orthogonal factor
    (QR, with the signs that make it unique) of a parameter without constraints.

    Args:
      in_features: width of the student's feature.
      out_features: width of the teacher's feature.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> projection = connectors.OrthogonalProjection(2, 3, rngs=nnx.Rngs(0))
      >>> print(f"{jnp.linalg.norm(projection(jnp.array([3.0, 4.0]))):.4f}")
      5.0000

    Reference:
      Miles, Elezi and Deng, VkD: Improving Knowledge Distillation using Orthogonal Projections,
      CVPR 2024.
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        check_widths(in_features, out_features)
        shape = max(in_features, out_features), min(in_features, out_features)
        self.free = nnx.Param(nnx.initializers.orthogonal()(rngs.params(), shape, jnp.float32))
        self.wider = in_features < out_features

    @property
    def kernel(self) -> jax.Array:
        """The matrix `[in_features, out_features]`, orthonormal along its shorter side."""
        orthogonal, triangular = jnp.linalg.qr(self.free[...])
        orthogonal *= jnp.where(jnp.diagonal(triangular) < 0, -1, 1)
        return orthogonal.T if self.wider else orthogonal

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps features `[..., in_features]` to `[..., out_features]`."""
        return features @ self.kernel


class PooledLinear(nnx.Module):
    """The average over all axes between batch and width, followed by an affine map.

    A head on a stage: a branch that predicts classes, or an embedding of a map.

    Args:
      in_features: number of channels of the stage.
      out_features: number of classes, or width of the embedding.
      rngs: random streams for the initial weights.

    Example:
      >>> import jax.numpy as jnp
      >>> from flax import nnx
      >>> from jaxkd import connectors
      >>> connectors.PooledLinear(8, 10, rngs=nnx.Rngs(0))(jnp.ones((2, 7, 7, 8))).shape
      (2, 10)
    """

    def __init__(self, in_features: int, out_features: int, *, rngs: nnx.Rngs):
        self.linear = nnx.Linear(in_features, out_features, rngs=rngs)

    def __call__(self, features: jax.Array) -> jax.Array:
        """Maps `[batch, ..., in_features]` to `[batch, out_features]`."""
        return self.linear(jnp.mean(features, axis=tuple(range(1, features.ndim - 1))))
