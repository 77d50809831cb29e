"""How ImageNet students are trained in the papers: optimizer, schedule, views, options.

Every schedule is laid out in shares of the training, so that a short run goes through all of it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from jaxkd.views import Cutmix, Mixup, Normalize

WEIGHT_DECAY = 1e-4


@dataclasses.dataclass(frozen=True)
class MixupOrCutmix:
    """For each example one of the two, by the toss of a coin.

    (timm, whose training DeiT uses, tosses it for each batch.)

    Attributes:
      num_classes: labels become distributions over this many classes.
      mixup: alpha of mixup.
      cutmix: alpha of cutmix.
      share: of the examples that cutmix gets.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    mixup: float = 0.8
    cutmix: float = 1.0
    share: float = 0.5

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The mixed image and the weight of the first."""
        toss, draw = jax.random.split(key)
        patch = jax.random.bernoulli(toss, self.share)
        mixed = Mixup(self.num_classes, self.mixup)(draw, image, partner)
        patched = Cutmix(self.num_classes, self.cutmix)(draw, image, partner)
        return jnp.where(patch, patched[0], mixed[0]), jnp.where(patch, patched[1], mixed[1])


@dataclasses.dataclass(frozen=True)
class Protocol:
    """One way of training.

    Attributes:
      method: the recipe that the paper uses.
      epochs: passes over the training examples.
      batch_size: that the learning rate belongs to; another one scales it in proportion.
      optimizer: from the number of steps and that factor.
      options: of recipes on ImageNet, where they are not the recipes' defaults.
      mix: from the number of classes to what stands at the end of the views; None for nothing.
      interpolation: of the crops.
    """

    method: str
    epochs: int
    batch_size: int
    optimizer: Callable[[int, float], optax.GradientTransformation]
    options: Mapping[str, Mapping[str, Any]]
    mix: Callable[[int], Any] | None = None
    interpolation: str = "bilinear"


def tenths(steps: int, factor: float) -> optax.Schedule:
    """A rate of 0.1, a tenth of it after 30, 60 and 90 % of the steps."""
    marks = {max(1, round(share * steps)): 0.1 for share in (0.3, 0.6, 0.9)}
    return optax.piecewise_constant_schedule(0.1 * factor, marks)


def sgd(steps: int, factor: float) -> optax.GradientTransformation:
    """Momentum 0.9 and weight decay 1e-4 at rate 0.1, a tenth of it after 30, 60 and 90 %."""
    decay = optax.add_decayed_weights(WEIGHT_DECAY)
    return optax.chain(decay, optax.sgd(tenths(steps, factor), momentum=0.9))


def clipped_adam(steps: int, factor: float) -> optax.GradientTransformation:
    """Adam at 0.03 with clipped gradients, a cosine, and weight decay that no rate multiplies."""
    warmup = min(5_000, max(1, steps // 10))
    shape = optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, max(steps, warmup + 1))
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.scale_by_adam(mu_dtype=jnp.bfloat16),
        optax.scale(0.03 * factor),
        optax.add_decayed_weights(3e-4 * factor, mask=_kernels),
        optax.scale_by_schedule(shape),
        optax.scale(-1.0),
    )


def adamw(steps: int, factor: float) -> optax.GradientTransformation:
    """AdamW at 1e-3 under a cosine that 5 of 300 epochs warm up."""
    warmup = max(1, round(steps * 5 / 300))
    rate = optax.warmup_cosine_decay_schedule(
        1e-6, 1e-3 * factor, warmup, max(steps, warmup + 1), end_value=1e-5
    )
    return optax.adamw(rate, weight_decay=0.05, mask=_kernels)


def _kernels(params: Any) -> Any:
    """Kernels alone are decayed: not biases, scales, tokens or positions."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.tree_util.keystr(path[-1:], simple=True).endswith("kernel"), params
    )


PROTOCOLS = {
    "torchvision": Protocol(
        "kd",
        epochs=100,
        batch_size=256,
        optimizer=sgd,
        options={
            "kd": {"alpha": 0.5, "temperature": 1.0},
            # The authors warm up for 1 of 100 epochs here.
            "dkd": {"beta": 0.5, "temperature": 1.0, "warmup_share": 0.01},
            "dist": {"temperature": 1.0},
            "dot": {"alpha": 0.5, "temperature": 1.0, "delta": 0.09},
        },
    ),
    # Beyer et al., CVPR 2022: the teacher alone, on the very view that the student sees.
    "function_matching": Protocol(
        "kd",
        epochs=300,
        batch_size=4096,
        optimizer=clipped_adam,
        options={"kd": {"alpha": 1.0, "temperature": 1.0}},
        mix=lambda num_classes: Mixup(num_classes, alpha=1.0),
    ),
    # Touvron et al., ICML 2021.
    "deit": Protocol(
        "deit",
        epochs=300,
        batch_size=1024,
        optimizer=adamw,
        options={"deit": {"label_smoothing": 0.1}, "labels": {"label_smoothing": 0.1}},
        mix=MixupOrCutmix,
        interpolation="bicubic",
    ),
}
NORMALS = {
    "imagenet": Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": Normalize((0.5,), (0.5,)),
}
