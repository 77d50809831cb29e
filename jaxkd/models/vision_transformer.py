"""Vision transformers, with the class token alone or with DeiT's distillation token beside it."""

import functools

import jax
import jax.numpy as jnp
from flax import nnx

from jaxkd.models._layers import check_images
from jaxkd.models._registry import Entry
from jaxkd.ops import conv_general_dilated

_initial = nnx.initializers.truncated_normal(0.02)


def _dense(in_features: int, out_features: int, rngs: nnx.Rngs) -> nnx.Linear:
    return nnx.Linear(in_features, out_features, kernel_init=_initial, rngs=rngs)


def _norm(width: int, rngs: nnx.Rngs) -> nnx.LayerNorm:
    # Single numbers of trained tokens are hundreds of times larger than the rest: a difference of
    # two means would lose digits.
    return nnx.LayerNorm(width, epsilon=1e-6, use_fast_variance=False, rngs=rngs)


def _dropout(rate: float, rngs: nnx.Rngs, broadcast_dims: tuple[int, ...] = ()) -> nnx.Dropout:
    # Without a random stream where nothing is random, so that training needs no key.
    return nnx.Dropout(rate, broadcast_dims=broadcast_dims, rngs=rngs if rate else None)


class _Attention(nnx.Module):
    """Self-attention whose queries, keys and values come from one dense layer."""

    def __init__(self, width: int, heads: int, *, dropout_rate: float, rngs: nnx.Rngs):
        self.heads = heads
        self.qkv = _dense(width, 3 * width, rngs)
        self.out = _dense(width, width, rngs)
        self.dropout = _dropout(dropout_rate, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        batch, count, _ = tokens.shape
        # Of the width that the heads have: some may have been removed.
        parts = self.qkv(tokens).reshape(batch, count, 3, self.heads, -1)
        mixed = jax.nn.dot_product_attention(*(parts[:, :, part] for part in range(3)))
        return self.dropout(self.out(mixed.reshape(batch, count, -1)))


class _MLP(nnx.Module):
    """Two dense layers with GELU between them, for each token alone."""

    def __init__(self, width: int, hidden: int, *, dropout_rate: float, rngs: nnx.Rngs):
        self.fc1 = _dense(width, hidden, rngs)
        self.dropout1 = _dropout(dropout_rate, rngs)
        self.fc2 = _dense(hidden, width, rngs)
        self.dropout2 = _dropout(dropout_rate, rngs)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        hidden = self.dropout1(nnx.gelu(self.fc1(tokens), approximate=False))
        return self.dropout2(self.fc2(hidden))


class _Block(nnx.Module):
    """Attention and an MLP, each behind its normalization and beside a shortcut."""

    def __init__(
        self,
        width: int,
        heads: int,
        hidden: int,
        *,
        dropout_rate: float,
        skip_rate: float,
        rngs: nnx.Rngs,
    ):
        self.norm1 = _norm(width, rngs)
        self.attention = _Attention(width, heads, dropout_rate=dropout_rate, rngs=rngs)
        self.norm2 = _norm(width, rngs)
        self.mlp = _MLP(width, hidden, dropout_rate=dropout_rate, rngs=rngs)
        # Stochastic depth is dropout of all tokens of an example at once.
        self.skip1 = _dropout(skip_rate, rngs, (1, 2))
        self.skip2 = _dropout(skip_rate, rngs, (1, 2))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        tokens = tokens + self.skip1(self.attention(self.norm1(tokens)))
        return tokens + self.skip2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nnx.Module):
    """The vision transformer, ViT; with a distillation token it is DeiT.

    Args:
      patch_size: side of the square patches that become tokens.
      width: width of the tokens.
      depth: number of blocks, at least 4.
      heads: number of heads of each attention, which divides the width.
      in_channels: number of channels of the images.
      num_classes: number of classes, the width of the logits.
      image_size: height and width of the images, a multiple of the patch. The network takes images
        of this size alone, since each place has an embedding of its own.
      distillation_token: whether a second token and a second head learn from the teacher.
      mlp_ratio: hidden width of the MLPs over the width of the tokens.
      dropout_rate: share set to zero in training, after every dense layer but the one of queries,
        keys and values, and after the position embedding.
      stochastic_depth_rate: share of the examples for which the last block is skipped in training;
        for the blocks before, it rises linearly from 0.
      rngs: random streams for the initial weights, dropout and stochastic depth.

    Raises:
      ValueError: an image size that is no multiple of the patch, a width that is no multiple of the
        heads, a depth below 4.

    Example:
      >>> model = VisionTransformer(4, 8, 4, 2, 3, 10, image_size=16, rngs=nnx.Rngs(0))
      >>> logits, features = model(jnp.ones((2, 16, 16, 3)))
      >>> logits.shape, features["block1"].shape, features["stage4"].shape
      ((2, 10), (2, 17, 8), (2, 4, 4, 8))

    Reference:
      Dosovitskiy et al., An Image is Worth 16x16 Words, ICLR 2021. Touvron et al., Training
      data-efficient image transformers & distillation through attention, ICML 2021.
    """

    def __init__(
        self,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        in_channels: int,
        num_classes: int,
        *,
        image_size: int = 224,
        distillation_token: bool = False,
        mlp_ratio: float = 4.0,
        dropout_rate: float = 0.0,
        stochastic_depth_rate: float = 0.0,
        rngs: nnx.Rngs,
    ):
        if image_size < patch_size or image_size % patch_size:
            raise ValueError(
                f"image_size must be a multiple of the patch, {patch_size}, not {image_size}"
            )
        if width % heads:
            raise ValueError(f"width must be a multiple of the {heads} heads, not {width}")
        if depth < 4:
            raise ValueError(f"depth must be at least 4, one block a stage, not {depth}")
        self.in_channels, self.image_size = in_channels, image_size
        self.distils = distillation_token
        size = (patch_size, patch_size)
        self.patches = nnx.Conv(
            in_channels,
            width,
            size,
            strides=size,
            padding="VALID",
            conv_general_dilated=conv_general_dilated,
            rngs=rngs,
        )
        places = (image_size // patch_size) ** 2 + 1 + distillation_token
        self.cls_token = nnx.Param(_initial(rngs.params(), (1, 1, width)))
        if distillation_token:
            self.dist_token = nnx.Param(_initial(rngs.params(), (1, 1, width)))
        self.pos_embed = nnx.Param(_initial(rngs.params(), (1, places, width)))
        self.dropout = _dropout(dropout_rate, rngs)
        self.blocks = nnx.List(
            _Block(
                width,
                heads,
                int(mlp_ratio * width),
                dropout_rate=dropout_rate,
                skip_rate=stochastic_depth_rate * number / (depth - 1),
                rngs=rngs,
            )
            for number in range(depth)
        )
        self.norm = _norm(width, rngs)
        self.head = _dense(width, num_classes, rngs)
        if distillation_token:
            self.head_dist = _dense(width, num_classes, rngs)

    def __call__(self, inputs: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns logits of images, and features.

        Logits are `[batch, num_classes]`, images `[batch, height, width, channels]`.

        The features are

        - `stem`, the embedded patches as a map, before their position embedding;
        - `block1`, …, all tokens after each block, `[batch, tokens, width]`: the class token, the
          distillation token if there is one, the patches row by row;
        - `stage1` to `stage4`, the patches after a quarter, a half, three quarters and all of the
          blocks as maps `[batch, height, width, width of the tokens]`; no activation ends them;
        - `embedding`, the class token after the last normalization;
        - with a distillation token `distillation_embedding`, and the logits of the two heads,
          `class_logits` and `distillation_logits`, whose mean the logits are.
        """
        check_images(
            inputs, "VisionTransformer", channels=self.in_channels, exactly=self.image_size
        )
        features = {}
        features["stem"] = maps = self.patches(inputs)
        extra = [self.cls_token, self.dist_token] if self.distils else [self.cls_token]
        batch, width = maps.shape[0], maps.shape[-1]
        tokens = jnp.concatenate(
            [
                *(jnp.broadcast_to(t[...].astype(maps.dtype), (batch, 1, width)) for t in extra),
                maps.reshape(batch, -1, width),
            ],
            axis=1,
        )
        tokens = self.dropout(tokens + self.pos_embed[...].astype(maps.dtype))
        depth = len(self.blocks)
        stages = {-(-depth * quarter // 4): f"stage{quarter}" for quarter in range(1, 5)}
        for number, block in enumerate(self.blocks, 1):
            features[f"block{number}"] = tokens = block(tokens)
            if number in stages:
                features[stages[number]] = tokens[:, len(extra) :].reshape(maps.shape)
        tokens = self.norm(tokens)
        features["embedding"] = tokens[:, 0]
        logits = self.head(tokens[:, 0])
        if self.distils:
            features["distillation_embedding"] = tokens[:, 1]
            features["class_logits"] = logits
            features["distillation_logits"] = self.head_dist(tokens[:, 1])
            logits = (logits + features["distillation_logits"]) / 2
        return logits, features


def _make(
    width: int,
    heads: int,
    distillation_token: bool,
    *,
    num_classes: int,
    in_channels: int,
    image_size: int,
    norm: str,
    rngs: nnx.Rngs,
) -> VisionTransformer:
    del norm  # there is one
    return VisionTransformer(
        16,
        width,
        12,
        heads,
        in_channels,
        num_classes,
        image_size=image_size,
        distillation_token=distillation_token,
        rngs=rngs,
    )


# Width and heads, and the parameters of ViT and DeiT.
_SIZES = {
    "tiny": (192, 3, 5_717_416, 5_910_800),
    "small": (384, 6, 22_050_664, 22_436_432),
    "base": (768, 12, 86_567_656, 87_338_192),
}

ENTRIES: tuple[Entry, ...] = tuple(
    Entry(
        f"deit_{size}_distilled_patch16" if distils else f"vit_{size}_patch16",
        "vision_transformer",
        functools.partial(_make, width, heads, distils),
        image_size=224,
        num_classes=1000,
        parameters=parameters[distils],
        reference="Touvron et al., 2021" if distils else "Dosovitskiy et al., 2021",
        fixed_size=True,
        norms=("layer",),
    )
    for distils in (False, True)
    for size, (width, heads, *parameters) in _SIZES.items()
)
