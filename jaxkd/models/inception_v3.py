"""Inception-v3."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._layers import (
    ConvNorm,
    MakeNorm,
    batch_norm,
    check_images,
    global_average,
)
from jaxkd.models._registry import Entry, maker
from jaxkd.ops import max_pool

# Of a convolution: channels, kernel, and whether it halves (stride 2, without padding). Where the
# kernel is "fork", a 1×3 and a 3×1 convolution stand beside each other.
_Step = tuple[int, int | tuple[int, int] | str, bool]
_Steps = tuple[_Step, ...]
_ROW, _COLUMN = (1, 7), (7, 1)


def _steps(*pairs: tuple[int, int | tuple[int, int] | str], halves: bool = False) -> _Steps:
    """Convolutions one after the other, the last of which may halve."""
    last = len(pairs) - 1
    return tuple(
        (width, kernel, halves and index == last) for index, (width, kernel) in enumerate(pairs)
    )


def _module_a(pooled: int) -> tuple[_Steps, ...]:
    return (
        _steps((64, 1)),
        _steps((48, 1), (64, 5)),
        _steps((64, 1), (96, 3), (96, 3)),
        _steps((pooled, 1)),
    )


def _module_c(width: int) -> tuple[_Steps, ...]:
    return (
        _steps((192, 1)),
        _steps((width, 1), (width, _ROW), (192, _COLUMN)),
        _steps((width, 1), (width, _COLUMN), (width, _ROW), (width, _COLUMN), (192, _ROW)),
        _steps((192, 1)),
    )


_MODULE_B = (
    _steps((384, 3), halves=True),
    _steps((64, 1), (96, 3), (96, 3), halves=True),
)
_MODULE_D = (
    _steps((192, 1), (320, 3), halves=True),
    _steps((192, 1), (192, _ROW), (192, _COLUMN), (192, 3), halves=True),
)
_MODULE_E = (
    _steps((320, 1)),
    _steps((384, 1), (384, "fork")),
    _steps((448, 1), (384, 3), (384, "fork")),
    _steps((192, 1)),
)
# The modules of the three stages, at an eighth, a sixteenth and a thirty-second of the images.
_STAGES: tuple[tuple[tuple[_Steps, ...], ...], ...] = (
    (_module_a(32), _module_a(64), _module_a(64)),
    (_MODULE_B, _module_c(128), _module_c(160), _module_c(160), _module_c(192)),
    (_MODULE_D, _MODULE_E, _MODULE_E),
)
# Least side of the maps that the auxiliary classifier's pooling and 5×5 convolution fit into.
_AUXILIARY_SIDE = 17


class _Branch(nnx.Module):
    """Convolutions one after the other, with ReLU between."""

    def __init__(self, in_features: int, steps: _Steps, *, norm: MakeNorm, rngs: nnx.Rngs):
        layers, before = [], in_features
        self.forked = False
        for width, kernel, halves in steps:
            if isinstance(kernel, str):
                self.forked = True
                self.across = ConvNorm(before, width, (1, 3), norm=norm, rngs=rngs)
                self.down = ConvNorm(before, width, (3, 1), norm=norm, rngs=rngs)
                before = 2 * width
                continue
            stride, padding = (2, 0) if halves else (1, None)
            layers.append(
                ConvNorm(before, width, kernel, stride, padding=padding, norm=norm, rngs=rngs)
            )
            before = width
        self.layers = nnx.List(layers)
        self.out_features = before

    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns the map before the last ReLU."""
        for layer in self.layers:
            before = layer(x)
            x = nnx.relu(before)
        if self.forked:
            return jnp.concatenate([self.across(x), self.down(x)], axis=-1)
        return before


class _Mixed(nnx.Module):
    """Branches beside each other; the last sees averages, or is a max pooling where maps shrink."""

    def __init__(
        self, in_features: int, branches: Sequence[_Steps], *, norm: MakeNorm, rngs: nnx.Rngs
    ):
        self.halves = any(halves for steps in branches for *_, halves in steps)
        self.branches = nnx.List(
            _Branch(in_features, steps, norm=norm, rngs=rngs) for steps in branches
        )
        self.out_features = sum(branch.out_features for branch in self.branches)
        self.out_features += in_features if self.halves else 0

    def __call__(self, x: jax.Array) -> jax.Array:
        """Before the last ReLU; what is pooled has had its own."""
        *others, last = self.branches
        parts = [branch(x) for branch in others]
        if self.halves:
            parts += [last(x), max_pool(x, 3, 2)]
        else:
            averages = nnx.avg_pool(x, (3, 3), strides=(1, 1), padding=((1, 1), (1, 1)))
            parts.append(last(averages))
        return jnp.concatenate(parts, axis=-1)


class _Auxiliary(nnx.Module):
    """A classifier on a map in the middle of the network."""

    def __init__(self, in_features: int, num_classes: int, *, norm: MakeNorm, rngs: nnx.Rngs):
        self.reduce = ConvNorm(in_features, 128, 1, norm=norm, rngs=rngs)
        self.whole = ConvNorm(128, 768, 5, padding=0, norm=norm, rngs=rngs)
        self.head = nnx.Linear(768, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = nnx.avg_pool(x, (5, 5), strides=(3, 3))
        x = nnx.relu(self.whole(nnx.relu(self.reduce(x))))
        return self.head(global_average(x))


class InceptionV3(nnx.Module):
    """Inception-v3: branches of convolutions beside each other, many of them factorized.

    Args:
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      auxiliary: whether there is the auxiliary classifier on the last map of the second stage. Its
        logits are made for images of 299 pixels and more, which leave it a map of 17. Training adds
        0.3 or 0.4 of its cross-entropy to the loss; nothing else sees it.
      dropout_rate: share of the embedding set to zero in training.
      norm: function that makes the normalization layers.
      rngs: random streams for the initial weights and for dropout.

    Example:
      >>> def run(images):
      ...     return InceptionV3(3, 1000, rngs=nnx.Rngs(0))(images)
      >>> logits, features = nnx.eval_shape(run, jnp.ones((2, 299, 299, 3)))
      >>> logits.shape, features["stage1"].shape, features["stage3"].shape
      ((2, 1000), (2, 35, 35, 288), (2, 8, 8, 2048))

    Reference:
      Szegedy et al., Rethinking the Inception Architecture for Computer Vision, CVPR 2016; as in
      torchvision, for images normalized by whoever loads them.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        auxiliary: bool = True,
        dropout_rate: float = 0.5,
        norm: MakeNorm = batch_norm,
        rngs: nnx.Rngs,
    ):
        norm = functools.partial(norm, epsilon=1e-3)
        self.in_channels = in_channels
        self.stem = nnx.List(
            [
                ConvNorm(in_channels, 32, 3, 2, padding=0, norm=norm, rngs=rngs),
                ConvNorm(32, 32, 3, padding=0, norm=norm, rngs=rngs),
                ConvNorm(32, 64, 3, norm=norm, rngs=rngs),
                ConvNorm(64, 80, 1, norm=norm, rngs=rngs),
                ConvNorm(80, 192, 3, padding=0, norm=norm, rngs=rngs),
            ]
        )
        stages, before = [], 192
        for modules in _STAGES:
            stage = []
            for branches in modules:
                stage.append(_Mixed(before, branches, norm=norm, rngs=rngs))
                before = stage[-1].out_features
            stages.append(nnx.List(stage))
            if auxiliary and len(stages) == 2:
                self.aux = _Auxiliary(before, num_classes, norm=norm, rngs=rngs)
        self.stages = nnx.List(stages)
        self.auxiliary = auxiliary
        self.dropout = nnx.Dropout(dropout_rate, rngs=rngs if dropout_rate else None)
        self.head = nnx.Linear(before, num_classes, rngs=rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the map after the ReLU of the third convolution, the last before a pooling;
        - `preact1` to `preact3` and `stage1` to `stage3`, the maps at the ends of the stages before
          and after ReLU, joined of the branches;
        - `embedding`, the global average of the last, before dropout;
        - `aux_logits`, `[batch, num_classes]`, if there is the auxiliary classifier and the images
          are large enough for it.
        """
        check_images(inputs, "InceptionV3", channels=self.in_channels, smallest=75)
        features = {}
        x = inputs
        for number, layer in enumerate(self.stem):
            x = nnx.relu(layer(x))
            if number == 2:
                features["stem"] = x
            if number in (2, 4):
                x = max_pool(x, 3, 2)
        for number, stage in enumerate(self.stages, 1):
            for module in stage:
                before = module(x)
                x = nnx.relu(before)
            features[f"preact{number}"], features[f"stage{number}"] = before, x
            if number == 2 and self.auxiliary and min(x.shape[1:3]) >= _AUXILIARY_SIDE:
                features["aux_logits"] = self.aux(x)
        features["embedding"] = x = global_average(x)
        return self.head(self.dropout(x)), features


ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        name,
        "inception",
        maker(InceptionV3, auxiliary=auxiliary),
        image_size=299,
        num_classes=1000,
        parameters=parameters,
        reference="Szegedy et al., 2016",
    )
    for name, auxiliary, parameters in (
        ("inception_v3", True, 27_161_264),
        ("inception_v3_no_aux", False, 23_834_568),
    )
)
