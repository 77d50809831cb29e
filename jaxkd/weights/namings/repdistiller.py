"""Names in RepDistiller's checkpoints (`state_dict()["model"]`) as rules for `load`."""

from jaxkd.weights._layout import Rules

_STAGES: Rules = tuple((rf"^layer{number}\.", f"stages.{number - 1}.") for number in range(1, 5))

_RESIDUAL: Rules = (
    (r"^conv1$", "stem"),
    (r"^bn1$", "stem_norm"),
    (r"^(fc|linear)$", "head"),
    *_STAGES,
    (r"\.(downsample|shortcut)\.0$", ".shortcut"),
    (r"\.(downsample|shortcut)\.1$", ".shortcut_norm"),
    (r"\.bn(\d)$", r".norm\1"),
)

# By the class of the network in jaxkd.models.
RULES: dict[str, Rules] = {
    "ResNet": _RESIDUAL,
    "BottleneckResNet": _RESIDUAL,
    "WideResNet": (
        (r"^conv1$", "stem"),
        (r"^bn1$", "final_norm"),
        (r"^fc$", "head"),
        *((rf"^block{number}\.layer\.", f"stages.{number - 1}.") for number in range(1, 4)),
        (r"\.convShortcut$", ".shortcut"),
        (r"\.bn(\d)$", r".norm\1"),
    ),
    "VGG": (
        (r"^classifier$", "head"),
        # A layer is three modules: convolution, normalization, ReLU.
        *((rf"^block(\d)\.{3 * layer}$", rf"blocks.\1.{layer}.conv") for layer in range(4)),
        *((rf"^block(\d)\.{3 * layer + 1}$", rf"blocks.\1.{layer}.norm") for layer in range(4)),
    ),
    "CifarMobileNetV2": (
        (r"^classifier\.0$", "head"),
        (r"^conv1\.0$", "stem"),
        (r"^conv1\.1$", "stem_norm"),
        (r"^conv2\.0$", "last"),
        (r"^conv2\.1$", "last_norm"),
        (r"^blocks\.", "groups."),
        (r"\.conv\.0$", ".expand"),
        (r"\.conv\.1$", ".expand_norm"),
        (r"\.conv\.3$", ".depthwise"),
        (r"\.conv\.4$", ".depthwise_norm"),
        (r"\.conv\.6$", ".project"),
        (r"\.conv\.7$", ".project_norm"),
    ),
    "CifarShuffleNetV1": _RESIDUAL,
    "CifarShuffleNetV2": (
        (r"^conv1$", "stem"),
        (r"^bn1$", "stem_norm"),
        (r"^conv2$", "last"),
        (r"^bn2$", "last_norm"),
        (r"^linear$", "head"),
        (r"\.bn(\d)$", r".norm\1"),
        # The unit that halves counts its convolutions through: two on one way, three on the other.
        (r"^(layer\d\.0)\.(conv|norm)1$", r"\1.shortcut.\g<2>2"),
        (r"^(layer\d\.0)\.(conv|norm)2$", r"\1.shortcut.\g<2>3"),
        (r"^(layer\d\.0)\.(conv|norm)3$", r"\1.branch.\g<2>1"),
        (r"^(layer\d\.0)\.(conv|norm)4$", r"\1.branch.\g<2>2"),
        (r"^(layer\d\.0)\.(conv|norm)5$", r"\1.branch.\g<2>3"),
        (r"^(layer\d\.\d)\.(conv|norm)(\d)$", r"\1.branch.\g<2>\3"),
        *_STAGES,
    ),
}
