"""The students once more in PyTorch, with the names that `jaxkd.weights` reads."""

from collections.abc import Callable

import torch
from torch.nn import functional

from benchmarks.gpu_parts.sizes import Sizes


class Bottleneck(torch.nn.Module):
    """The block of `jaxkd.models`' ResNet-50: 1×1, 3×3 with the stride, 1×1, beside a shortcut."""

    def __init__(self, before: int, width: int, stride: int):
        super().__init__()
        after = 4 * width
        self.conv1 = torch.nn.Conv2d(before, width, 1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        self.conv2 = torch.nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(width)
        self.conv3 = torch.nn.Conv2d(width, after, 1, bias=False)
        self.bn3 = torch.nn.BatchNorm2d(after)
        self.downsample = None
        if stride != 1 or before != after:
            self.downsample = torch.nn.Sequential(
                torch.nn.Conv2d(before, after, 1, stride, bias=False), torch.nn.BatchNorm2d(after)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The maps after the last ReLU."""
        y = functional.relu(self.bn1(self.conv1(x)))
        y = functional.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return functional.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(torch.nn.Module):
    """ResNet-50 with the names of torchvision."""

    def __init__(self, classes: int, *, width: int = 64):
        super().__init__()
        self.conv1 = torch.nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(width)
        before = width
        for stage, count in enumerate((3, 4, 6, 3)):
            blocks = []
            for position in range(count):
                stride = 2 if stage > 0 and position == 0 else 1
                blocks.append(Bottleneck(before, width * 2**stage, stride))
                before = 4 * width * 2**stage
            self.add_module(f"layer{stage + 1}", torch.nn.Sequential(*blocks))
        self.fc = torch.nn.Linear(before, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`."""
        x = functional.relu(self.bn1(self.conv1(images)))
        x = functional.max_pool2d(x, 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        return self.fc(x.mean((2, 3)))


class Attention(torch.nn.Module):
    """Self-attention by PyTorch's fused kernels."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = torch.nn.Linear(width, 3 * width)
        self.proj = torch.nn.Linear(width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens after attention."""
        batch, count, width = tokens.shape
        parts = self.qkv(tokens).view(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(*parts.unbind(0))
        return self.proj(mixed.transpose(1, 2).reshape(batch, count, width))


class MLP(torch.nn.Module):
    """Two dense layers with GELU between them."""

    def __init__(self, width: int):
        super().__init__()
        self.fc1 = torch.nn.Linear(width, 4 * width)
        self.fc2 = torch.nn.Linear(4 * width, width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens, each by itself."""
        return self.fc2(functional.gelu(self.fc1(tokens)))


class Block(torch.nn.Module):
    """Attention and an MLP, each behind its normalization and beside a shortcut."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.norm1 = torch.nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = torch.nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """The tokens after the block."""
        tokens = tokens + self.attn(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))


class VisionTransformer(torch.nn.Module):
    """A vision transformer with the names of timm."""

    def __init__(self, patch: int, width: int, depth: int, heads: int, size: int, classes: int):
        super().__init__()
        self.patch_embed = torch.nn.Sequential()
        self.patch_embed.add_module("proj", torch.nn.Conv2d(3, width, patch, patch))
        self.cls_token = torch.nn.Parameter(0.02 * torch.randn(1, 1, width))
        places = (size // patch) ** 2 + 1
        self.pos_embed = torch.nn.Parameter(0.02 * torch.randn(1, places, width))
        self.blocks = torch.nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = torch.nn.LayerNorm(width, eps=1e-6)
        self.head = torch.nn.Linear(width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits of images `[batch, channels, height, width]`."""
        tokens = self.patch_embed(images).flatten(2).transpose(1, 2)
        first = self.cls_token.expand(len(tokens), -1, -1)
        tokens = torch.cat([first, tokens], 1) + self.pos_embed
        return self.head(self.norm(self.blocks(tokens))[:, 0])


def make(name: str, sizes: Sizes) -> tuple[torch.nn.Module, str]:
    """The twin of a student, and whose names its parameters have."""
    makers: dict[str, Callable[[], tuple[torch.nn.Module, str]]] = {
        "resnet50": lambda: (ResNet(sizes.classes), "torchvision"),
        "vit_small_patch16": lambda: (
            VisionTransformer(16, 384, 12, 6, sizes.image_size, sizes.classes),
            "timm",
        ),
        "vit": lambda: (VisionTransformer(8, 8, 4, 2, sizes.image_size, sizes.classes), "timm"),
    }
    return makers[name]()
