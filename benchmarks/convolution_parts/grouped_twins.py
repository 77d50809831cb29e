"""ShuffleNets and EfficientNet in PyTorch, and all twins by name; see `twins.py`."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from benchmarks.convolution_parts import twins as plain
from benchmarks.convolution_parts.twins import average, conv, relu, silu, stages


class GroupedUnit(nn.Module):
    """ShuffleNet's unit: 1×1 convolutions in groups, a shuffle and a depthwise one between."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        made = width - before if stride == 2 else width
        mid = made // 4
        self.stride, self.groups = stride, 1 if before == 24 else 3
        self.conv1, self.norm1 = conv(before, mid, 1, groups=self.groups), nn.BatchNorm2d(mid)
        self.conv2, self.norm2 = conv(mid, mid, 3, stride, mid), nn.BatchNorm2d(mid)
        self.conv3, self.norm3 = conv(mid, made, 1, groups=3), nn.BatchNorm2d(made)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps after the last ReLU."""
        y = relu(self.norm1(self.conv1(x)))
        y = functional.channel_shuffle(y, self.groups) if self.groups > 1 else y
        y = self.norm3(self.conv3(relu(self.norm2(self.conv2(y)))))
        if self.stride == 1:
            return relu(x + y)
        return relu(torch.cat([y, functional.avg_pool2d(x, 3, 2, 1)], 1))


class ShuffleNetV1(nn.Module):
    """ShuffleNet for 32×32 images."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem, self.stem_norm = conv(3, 24, 1), nn.BatchNorm2d(24)
        self.stages = stages(GroupedUnit, 24, (240, 480, 960), (4, 8, 4), (2, 2, 2))
        self.head = nn.Linear(960, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            for unit in stage:
                x = unit(x)
        return self.head(average(x))


class Branch(nn.Module):
    """ShuffleNetV2's branch: a depthwise convolution between two of 1×1, or before one."""

    def __init__(self, before: int, width: int, stride: int, first: bool):
        super().__init__()
        self.first, mid = first, width if first else before
        if first:
            self.conv1, self.norm1 = conv(before, mid, 1), nn.BatchNorm2d(mid)
        self.conv2, self.norm2 = conv(mid, mid, 3, stride, mid), nn.BatchNorm2d(mid)
        self.conv3, self.norm3 = conv(mid, width, 1), nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps before the last ReLU."""
        if self.first:
            x = relu(self.norm1(self.conv1(x)))
        return self.norm3(self.conv3(self.norm2(self.conv2(x))))


class SplitUnit(nn.Module):
    """ShuffleNetV2's unit: half of the channels pass by, or go through a branch of their own."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.halves, half = stride == 2, width // 2
        if self.halves:
            self.shortcut = Branch(before, half, 2, first=False)
        self.branch = Branch(before if self.halves else half, half, stride, first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps after the last ReLU."""
        unchanged, changed = (self.shortcut(x), x) if self.halves else x.chunk(2, 1)
        joined = torch.cat([unchanged, self.branch(changed)], 1)
        return relu(functional.channel_shuffle(joined, 2))


class ShuffleNetV2(nn.Module):
    """ShuffleNetV2 for 32×32 images."""

    def __init__(self, classes: int):
        super().__init__()
        self.stem, self.stem_norm = conv(3, 24, 1), nn.BatchNorm2d(24)
        self.stages = stages(SplitUnit, 24, (116, 232, 464), (4, 8, 4), (2, 2, 2))
        self.last, self.last_norm = conv(464, 1024, 1), nn.BatchNorm2d(1024)
        self.head = nn.Linear(1024, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            for unit in stage:
                x = unit(x)
        return self.head(average(relu(self.last_norm(self.last(x)))))


class ConvNorm(nn.Module):
    """A convolution and its normalization."""

    def __init__(self, before: int, width: int, kernel: int, stride: int = 1, groups: int = 1):
        super().__init__()
        self.conv = conv(before, width, kernel, stride, groups)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps before any activation."""
        return self.norm(self.conv(x))


class SqueezeExcite(nn.Module):
    """Scales channels by what two dense layers make of their averages."""

    def __init__(self, wide: int, squeezed: int):
        super().__init__()
        self.reduce, self.expand = nn.Linear(wide, squeezed), nn.Linear(squeezed, wide)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps, scaled."""
        factors = torch.sigmoid(self.expand(silu(self.reduce(average(x)))))
        return x * factors[:, :, None, None]


class Inverted(nn.Module):
    """EfficientNet's block, with stochastic depth beside its shortcut."""

    def __init__(
        self, before: int, width: int, kernel: int, stride: int, expansion: int, rate: float
    ):
        super().__init__()
        wide = before * expansion
        self.widens, self.rate = expansion > 1, rate
        if self.widens:
            self.expand = ConvNorm(before, wide, 1)
        self.depthwise = ConvNorm(wide, wide, kernel, stride, wide)
        self.squeeze = SqueezeExcite(wide, max(1, before // 4))
        self.project = ConvNorm(wide, width, 1)
        self.residual = stride == 1 and before == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps without a last activation."""
        y = silu(self.expand(x)) if self.widens else x
        y = self.project(self.squeeze(silu(self.depthwise(y))))
        if not self.residual:
            return y
        if self.rate and self.training:
            mask = y.new_empty(len(y), 1, 1, 1).bernoulli_(1 - self.rate)
            y = y * mask.div_(1 - self.rate)
        return x + y


class EfficientNet(nn.Module):
    """EfficientNet-B0."""

    # Expansion, kernel, stride, channels and number of blocks.
    GROUPS = (
        (1, 3, 1, 16, 1),
        (6, 3, 2, 24, 2),
        (6, 5, 2, 40, 2),
        (6, 3, 2, 80, 3),
        (6, 5, 1, 112, 3),
        (6, 5, 2, 192, 4),
        (6, 3, 1, 320, 1),
    )

    def __init__(self, classes: int, rate: float):
        super().__init__()
        self.stem, before, made = ConvNorm(3, 32, 3, 2), 32, 0
        total = sum(count for *_, count in self.GROUPS)
        self.groups = nn.ModuleList()
        for expansion, kernel, stride, width, count in self.GROUPS:
            blocks = nn.ModuleList()
            for position in range(count):
                first = stride if position == 0 else 1
                skipped = rate * made / total
                blocks.append(Inverted(before, width, kernel, first, expansion, skipped))
                before, made = width, made + 1
            self.groups.append(blocks)
        self.last = ConvNorm(before, 4 * before, 1)
        self.dropout = nn.Dropout(rate)
        self.head = nn.Linear(4 * before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = silu(self.stem(x))
        for group in self.groups:
            for block in group:
                x = block(x)
        return self.head(self.dropout(average(silu(self.last(x)))))


def make(name: str, classes: int, *, rate: float = 0.0) -> nn.Module:
    """The twin of a network of `jaxkd.models`, in training mode.

    Args:
      name: as there.
      classes: number of logits.
      rate: of dropout and stochastic depth, for the network that has them.

    Returns:
      The module with fresh weights.
    """
    makers: dict[str, Callable[[], nn.Module]] = {
        "resnet20": lambda: plain.ResNet(3, 16, (16, 32, 64), classes),
        "resnet8x4": lambda: plain.ResNet(1, 32, (64, 128, 256), classes),
        "wrn_16_2": lambda: plain.WideResNet(2, 2, classes),
        "vgg8": lambda: plain.VGG([1] * 5, classes),
        "mobilenet_v2_cifar": lambda: plain.MobileNetV2(classes),
        "shufflenet_v1_cifar": lambda: ShuffleNetV1(classes),
        "shufflenet_v2_cifar": lambda: ShuffleNetV2(classes),
        "efficientnet_b0": lambda: EfficientNet(classes, rate),
    }
    return makers[name]()
