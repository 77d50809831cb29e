"""Names in timm's state dicts as rules for `load`."""

from jaxkd.weights._layout import Rules

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {
    "MobileNetV1": (
        (r"^conv_stem$", "stem.conv"),
        (r"^bn1$", "stem.norm"),
        (r"^classifier$", "head"),
        (r"^blocks\.", "groups."),
        (r"\.conv_dw$", ".depthwise.conv"),
        (r"\.bn1$", ".depthwise.norm"),
        (r"\.conv_pw$", ".pointwise.conv"),
        (r"\.bn2$", ".pointwise.norm"),
    ),
    "VisionTransformer": (
        (r"^patch_embed\.proj$", "patches"),
        (r"\.attn\.qkv$", ".attention.qkv"),
        (r"\.attn\.proj$", ".attention.out"),
    ),
}
