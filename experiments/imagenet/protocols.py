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
    """Mixes each example by mixup or by CutMix, chosen at random for the example.

    timm, whose training DeiT uses, chooses for each batch.

    Attributes:
      num_classes: labels become distributions over this many classes.
      mixup: concentration of the beta distribution of mixup's weights.
      cutmix: concentration of the beta distribution of CutMix's weights.
      share: share of the examples that are mixed by CutMix.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    mixup: float = 0.8
    cutmix: float = 1.0
    share: float = 0.5

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mixed image and the weight of the first of the two."""
        choice_key, mix_key = jax.random.split(key)
        patch = jax.random.bernoulli(choice_key, self.share)
        mixed = Mixup(self.num_classes, self.mixup)(mix_key, image, partner)
        patched = Cutmix(self.num_classes, self.cutmix)(mix_key, image, partner)
        return jnp.where(patch, patched[0], mixed[0]), jnp.where(patch, patched[1], mixed[1])


@dataclasses.dataclass(frozen=True)
class TrainingProtocol:
    """One way of training.

    Attributes:
      method: name of the recipe that the paper uses.
      epochs: number of passes over the training examples.
      batch_size: batch size that the learning rate is for; another one scales it in proportion.
      optimizer: function from the number of steps and that factor to the optimizer.
      options: options of recipes on ImageNet, where they are not the recipes' defaults.
      mix: function from the number of classes to the last transform of the views; None for none.
      interpolation: interpolation of the crops.
    """

    method: str
    epochs: int
    batch_size: int
    optimizer: Callable[[int, float], optax.GradientTransformation]
    options: Mapping[str, Mapping[str, Any]]
    mix: Callable[[int], Any] | None = None
    interpolation: str = "bilinear"


def tenfold_decay(steps: int, factor: float) -> optax.Schedule:
    """Makes a schedule of 0.1 that is divided by ten after 30, 60 and 90 % of the steps."""
    milestones = {max(1, round(share * steps)): 0.1 for share in (0.3, 0.6, 0.9)}
    return optax.piecewise_constant_schedule(0.1 * factor, milestones)


def sgd(steps: int, factor: float) -> optax.GradientTransformation:
    """Makes SGD with momentum 0.9, weight decay 1e-4 and the rate of `tenfold_decay`."""
    decay = optax.add_decayed_weights(WEIGHT_DECAY)
    return optax.chain(decay, optax.sgd(tenfold_decay(steps, factor), momentum=0.9))


def clipped_adam(steps: int, factor: float) -> optax.GradientTransformation:
    """Makes Adam at 0.03 with clipped gradients, a cosine and decoupled weight decay."""
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
    """Makes AdamW at 1e-3 under a cosine that warms up over 5 of 300 epochs."""
    warmup = max(1, round(steps * 5 / 300))
    rate = optax.warmup_cosine_decay_schedule(
        1e-6, 1e-3 * factor, warmup, max(steps, warmup + 1), end_value=1e-5
    )
    return optax.adamw(rate, weight_decay=0.05, mask=_kernels)


def _kernels(params: Any) -> Any:
    """Masks kernels, which alone are decayed: not biases, scales, tokens or positions."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jax.tree_util.keystr(path[-1:], simple=True).endswith("kernel"), params
    )


PROTOCOLS = {
    "torchvision": TrainingProtocol(
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
    "function_matching": TrainingProtocol(
        "kd",
        epochs=300,
        batch_size=4096,
        optimizer=clipped_adam,
        options={"kd": {"alpha": 1.0, "temperature": 1.0}},
        mix=lambda num_classes: Mixup(num_classes, alpha=1.0),
    ),
    # Touvron et al., ICML 2021.
    "deit": TrainingProtocol(
        "deit",
        epochs=300,
        batch_size=1024,
        optimizer=adamw,
        options={"deit": {"label_smoothing": 0.1}, "labels": {"label_smoothing": 0.1}},
        mix=MixupOrCutmix,
        interpolation="bicubic",
    ),
}
NORMALIZATIONS = {
    "imagenet": Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": Normalize((0.5,), (0.5,)),
}
