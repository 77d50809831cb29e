"""The networks of the convolution benchmark in PyTorch.

Layers have the names that they have in `jaxkd.models`, so that `jaxkd.weights.load` puts a twin's
weights into our network without rules, and complains of every array that one of them lacks.
Activations work in place, as in torchvision.
"""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional


def conv(inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded by half its kernel."""
    padding = kernel // 2
    return nn.Conv2d(inside, outside, kernel, stride, padding, groups=groups, bias=False)


def relu(x: torch.Tensor) -> torch.Tensor:
    """ReLU in place."""
    return functional.relu(x, inplace=True)


def silu(x: torch.Tensor) -> torch.Tensor:
    """SiLU in place."""
    return functional.silu(x, inplace=True)


def average(x: torch.Tensor) -> torch.Tensor:
    """The mean over height and width, `[batch, channels]`."""
    return x.mean((2, 3))


def stages(
    block: Callable[[int, int, int], nn.Module],
    before: int,
    widths: Sequence[int],
    counts: Sequence[int],
    strides: Sequence[int],
) -> nn.ModuleList:
    """Stages of blocks, the first block of each with its stride."""
    made = nn.ModuleList()
    for width, count, stride in zip(widths, counts, strides, strict=True):
        blocks = nn.ModuleList()
        for position in range(count):
            blocks.append(block(before, width, stride if position == 0 else 1))
            before = width
        made.append(blocks)
    return made


class ResNetBlock(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv1, self.norm1 = conv(before, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.norm2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.resized = stride != 1 or before != width
        if self.resized:
            self.shortcut = conv(before, width, 1, stride)
            self.shortcut_norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps after the last ReLU."""
        y = self.norm2(self.conv2(relu(self.norm1(self.conv1(x)))))
        return relu(y + (self.shortcut_norm(self.shortcut(x)) if self.resized else x))


class ResNet(nn.Module):
    """The residual network for 32×32 images."""

    def __init__(self, blocks: int, stem: int, widths: Sequence[int], classes: int):
        super().__init__()
        self.stem, self.stem_norm = conv(3, stem, 3), nn.BatchNorm2d(stem)
        self.stages = stages(ResNetBlock, stem, widths, [blocks] * 3, (1, 2, 2))
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`, as of all networks here."""
        x = relu(self.stem_norm(self.stem(x)))
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(average(x))


class WideBlock(nn.Module):
    """Twice normalization, ReLU and a convolution beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(before), conv(before, width, 3, stride)
        self.norm2, self.conv2 = nn.BatchNorm2d(width), conv(width, width, 3)
        self.resized = before != width
        if self.resized:
            self.shortcut = conv(before, width, 1, stride)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps before any activation."""
        y = relu(self.norm1(x))
        x = self.shortcut(y) if self.resized else x
        return x + self.conv2(relu(self.norm2(self.conv1(y))))


class WideResNet(nn.Module):
    """The wide residual network for 32×32 images."""

    def __init__(self, blocks: int, factor: int, classes: int):
        super().__init__()
        widths = [16 * factor, 32 * factor, 64 * factor]
        self.stem = conv(3, 16, 3)
        self.stages = stages(WideBlock, 16, widths, [blocks] * 3, (1, 2, 2))
        self.final_norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = self.stem(x)
        for stage in self.stages:
            for block in stage:
                x = block(x)
        return self.head(average(relu(self.final_norm(x))))


class VGGLayer(nn.Module):
    """A convolution with bias, normalization and ReLU."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        self.conv = nn.Conv2d(before, width, 3, stride, 1)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps after ReLU."""
        return relu(self.norm(self.conv(x)))


class VGG(nn.Module):
    """VGG for 32×32 images: pooling before the second, third and fourth block."""

    def __init__(self, counts: Sequence[int], classes: int):
        super().__init__()
        self.blocks = stages(VGGLayer, 3, (64, 128, 256, 512, 512), counts, [1] * 5)
        self.head = nn.Linear(512, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        for number, block in enumerate(self.blocks):
            if number in (1, 2, 3):
                x = functional.max_pool2d(x, 2)
            for layer in block:
                x = layer(x)
        return self.head(average(x))


class MobileBlock(nn.Module):
    """A depthwise convolution between two of 1×1."""

    def __init__(self, before: int, width: int, stride: int, expansion: int):
        super().__init__()
        wide = before * expansion
        self.expand, self.expand_norm = conv(before, wide, 1), nn.BatchNorm2d(wide)
        self.depthwise = conv(wide, wide, 3, stride, wide)
        self.depthwise_norm = nn.BatchNorm2d(wide)
        self.project, self.project_norm = conv(wide, width, 1), nn.BatchNorm2d(width)
        self.residual = stride == 1 and before == width

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Maps without a last activation."""
        y = relu(self.expand_norm(self.expand(x)))
        y = relu(self.depthwise_norm(self.depthwise(y)))
        y = self.project_norm(self.project(y))
        return x + y if self.residual else y


class MobileNetV2(nn.Module):
    """MobileNetV2 for 32×32 images, of half the width."""

    def __init__(self, classes: int):
        super().__init__()
        widths, counts = (8, 12, 16, 32, 48, 80, 160), (1, 2, 3, 4, 3, 3, 1)
        self.stem, self.stem_norm = conv(3, 16, 3, 2), nn.BatchNorm2d(16)
        self.groups, before = nn.ModuleList(), 16
        for number, (width, count) in enumerate(zip(widths, counts, strict=True)):
            stride, expansion = 2 if number in (2, 3, 5) else 1, 6 if number else 1

            def block(a: int, b: int, s: int, expansion: int = expansion) -> MobileBlock:
                return MobileBlock(a, b, s, expansion)

            self.groups.extend(stages(block, before, [width], [count], [stride]))
            before = width
        self.last, self.last_norm = conv(before, 1280, 1), nn.BatchNorm2d(1280)
        self.head = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits."""
        x = relu(self.stem_norm(self.stem(x)))
        for group in self.groups:
            for block in group:
                x = block(x)
        return self.head(average(relu(self.last_norm(self.last(x)))))
