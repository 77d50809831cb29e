"""Names in torchvision's state dicts as rules for `load`."""

from jaxkd.weights._layout import Rules
from jaxkd.weights.namings.repdistiller import RULES as _REPDISTILLER

# The stem is the first of the features, so that blocks are counted from 1.
_BLOCKS: Rules = tuple((rf"^features\.{number + 1}\.", f"blocks.{number}.") for number in range(17))
_CONV_NORM: Rules = ((r"\.0$", ".conv"), (r"\.1$", ".norm"))

# A block is a sequence: what widens (not in the first block of all), what is depthwise, what scales
# the channels (not in all), and what narrows.
_INVERTED: Rules = (
    (r"^features\.0\.", "stem."),
    (r"^features\.\d+\.(?=\d$)", "last."),
    (r"^(features\.1\..*block)\.0\.", r"\1.depthwise."),
    (r"^(features\.1\..*block)\.[12]\.(?=\d)", r"\1.project."),
    (r"block\.0\.", "block.expand."),
    (r"block\.1\.(?=\d)", "block.depthwise."),
    (r"block\.[23]\.(?=\d)", "block.project."),
    (r"block\.\d\.fc1$", "squeeze.reduce"),
    (r"block\.\d\.fc2$", "squeeze.expand"),
    (r"\.block\.", "."),
    *_CONV_NORM,
)

# The branches of Inception's modules in our order; in those of one convolution it has no number.
_A = ("branch1x1", "branch5x5", "branch3x3dbl", "branch_pool")
_B = ("branch3x3", "branch3x3dbl")
_C = ("branch1x1", "branch7x7", "branch7x7dbl", "branch_pool")
_D = ("branch3x3", "branch7x7x3")
_E = ("branch1x1", "branch3x3", "branch3x3dbl", "branch_pool")
_MIXED: dict[str, dict[str, tuple[str, ...]]] = {
    "5": {"b": _A, "c": _A, "d": _A},
    "6": {"a": _B, "b": _C, "c": _C, "d": _C, "e": _C},
    "7": {"a": _D, "b": _E, "c": _E},
}
_INCEPTION: Rules = (
    *(
        (rf"^Conv2d_{name}_\dx\d\.", f"stem.{place}.")
        for place, name in enumerate(("1a", "2a", "2b", "3b", "4a"))
    ),
    *(
        (
            rf"^Mixed_{number}{letter}\.{name}(?=[._])",
            f"stages.{stage}.{place}.branches.{branch}",
        )
        for stage, (number, modules) in enumerate(_MIXED.items())
        for place, (letter, names) in enumerate(modules.items())
        for branch, name in enumerate(names)
    ),
    (r"(branches\.\d)_\da\.", r"\1.across."),
    (r"(branches\.\d)_\db\.", r"\1.down."),
    *((rf"(branches\.\d)_{layer + 1}\.", rf"\1.layers.{layer}.") for layer in range(5)),
    (r"(branches\.\d)\.(?=conv$|bn$)", r"\1.layers.0."),
    (r"^AuxLogits\.conv0\.", "aux.reduce."),
    (r"^AuxLogits\.conv1\.", "aux.whole."),
    (r"^AuxLogits\.fc$", "aux.head"),
    (r"^fc$", "head"),
    (r"\.bn$", ".norm"),
)

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {
    "ImageNetResNet": _REPDISTILLER["ResNet"],
    "InceptionV3": _INCEPTION,
    "MobileNetV2": (
        (r"^classifier\.1$", "head"),
        # The last convolution of a block and its normalization are not in a sequence of their own.
        (r"^features\.1\.conv\.1$", "features.1.block.1.0"),
        (r"^features\.1\.conv\.2$", "features.1.block.1.1"),
        (r"\.conv\.2$", ".block.2.0"),
        (r"\.conv\.3$", ".block.2.1"),
        (r"\.conv\.", ".block."),
        *_INVERTED,
        *_BLOCKS,
    ),
    "MobileNetV3": (
        (r"^classifier\.0$", "hidden"),
        (r"^classifier\.3$", "head"),
        *_INVERTED,
        *_BLOCKS,
    ),
    "EfficientNet": (
        (r"^classifier\.1$", "head"),
        *_INVERTED,
        *((rf"^features\.{number + 1}\.", f"groups.{number}.") for number in range(7)),
    ),
    "SqueezeNet": (
        (r"^features\.0$", "stem"),
        # The first two are the stem and its ReLU.
        *((rf"^features\.{place + 2}\.", f"layers.{place}.") for place in range(11)),
        (r"^classifier\.1$", "head"),
    ),
    "ShuffleNetV2": (
        (r"^conv1\.0$", "stem"),
        (r"^conv1\.1$", "stem_norm"),
        (r"^conv5\.0$", "last"),
        (r"^conv5\.1$", "last_norm"),
        (r"^fc$", "head"),
        *((rf"^stage{number + 2}\.", f"stages.{number}.") for number in range(3)),
        # ReLUs and, in the shortcut, the missing first convolution are counted through.
        *(
            (rf"\.branch1\.{place}$", f".shortcut.{name}")
            for place, name in enumerate(("conv2", "norm2", "conv3", "norm3"))
        ),
        *(
            (rf"\.branch2\.{place}$", f".branch.{name}")
            for place, name in {
                0: "conv1",
                1: "norm1",
                3: "conv2",
                4: "norm2",
                5: "conv3",
                6: "norm3",
            }.items()
        ),
    ),
    "VisionTransformer": (
        (r"^class_token$", "cls_token"),
        (r"^encoder\.pos_embedding$", "pos_embed"),
        (r"^conv_proj$", "patches"),
        (r"^encoder\.layers\.encoder_layer_", "blocks."),
        (r"\.ln_(\d)$", r".norm\1"),
        (r"\.self_attention\.in_proj$", ".attention.qkv"),
        (r"\.self_attention\.out_proj$", ".attention.out"),
        # In an MLP, GELU and dropout are counted through; older files number the dense layers.
        (r"\.mlp\.(0|linear_1)$", ".mlp.fc1"),
        (r"\.mlp\.(3|linear_2)$", ".mlp.fc2"),
        (r"^encoder\.ln$", "norm"),
        (r"^heads\.head$", "head"),
    ),
}
