"""Transforms that mix an example with another one, and their labels with them."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._batch_fields import get, leaves, replaced


class _Mix:
    """What the transforms that mix have in common: the classes that labels are distributions of."""

    mixes: ClassVar[bool] = True
    num_classes: Any

    def _check(self, **alphas: float) -> None:
        if isinstance(self.num_classes, Mapping):
            object.__setattr__(self, "num_classes", tuple(self.num_classes.items()))
        sets = self.num_classes
        for number in dict(sets).values() if isinstance(sets, tuple) else (sets,):
            if number is not None and number < 2:
                raise ValueError(f"num_classes must be at least 2, not {number}")
        for name, value in alphas.items():
            if not value > 0:
                raise ValueError(f"{name} must be positive, not {value}")


@dataclasses.dataclass(frozen=True)
class Mixup(_Mix):
    """Mixes an example with a partner, `w x + (1 - w) x'` with `w ~ Beta(alpha, alpha)`.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018. Each example has a partner and a
    weight of its own; partners are sampled from the whole data set.

    Attributes:
      num_classes: number of classes; labels become distributions over them. Of several label sets,
        `{"color": 5, "shape": 3}`; None for labels that are no class ids, multi-hot or floats.
      alpha: both parameters of the Beta distribution.

    Raises:
      ValueError: fewer than two classes, or an alpha that is not positive.

    Example:
      >>> mix = Mixup(10, alpha=1.0)
      >>> image, weight = mix(jax.random.key(0), jnp.ones((8, 8, 3)), jnp.zeros((8, 8, 3)))
      >>> bool(jnp.allclose(image, weight))
      True
    """

    num_classes: Any
    alpha: float = 0.2

    def __post_init__(self) -> None:
        self._check(alpha=self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mixed image and the weight of the first."""
        weight = jax.random.beta(key, self.alpha, self.alpha)
        return weight * image + (1 - weight) * partner, weight


@dataclasses.dataclass(frozen=True)
class Cutmix(_Mix):
    """Pastes a rectangle of a partner into an image `[height, width, channels]`.

    Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019. The rectangle
    covers about `1 - w` of the image, `w ~ Beta(alpha, alpha)`, and is clipped at the border; the
    weight returned is the true share of pixels left. Of label maps the same rectangle is pasted.

    Attributes:
      num_classes: number of classes, as of `Mixup`.
      alpha: both parameters of the Beta distribution.

    Raises:
      ValueError: fewer than two classes, or an alpha that is not positive.

    Example:
      >>> cut = Cutmix(10, alpha=1.0)
      >>> image, weight = cut(jax.random.key(0), jnp.ones((8, 8, 1)), jnp.zeros((8, 8, 1)))
      >>> bool(jnp.allclose(image.mean(), weight)), sorted({*image.ravel().tolist()} - {0.0, 1.0})
      (True, [])
    """

    num_classes: Any
    alpha: float = 1.0

    def __post_init__(self) -> None:
        self._check(alpha=self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the patched image and the share of its own pixels that are left."""
        inside = self._inside(key, image)
        return jnp.where(inside[..., None], partner, image), 1 - inside.mean(dtype=jnp.float32)

    def on_map(self, key: jax.Array, label_map: jax.Array, partner: jax.Array) -> jax.Array:
        """Pastes the same rectangle of a partner's map `[height, width, channels]`."""
        return jnp.where(self._inside(key, label_map)[..., None], partner, label_map)

    def _inside(self, key: jax.Array, image: jax.Array) -> jax.Array:
        height, width = image.shape[:2]
        k_weight, k_center = jax.random.split(key)
        side = jnp.sqrt(1 - jax.random.beta(k_weight, self.alpha, self.alpha))
        center = jax.random.uniform(k_center, (2,)) * jnp.array([height, width])
        half = side * jnp.array([height, width]) / 2
        low, high = center - half, center + half
        rows, columns = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
        return ((rows >= low[0]) & (rows < high[0]))[:, None] & (
            (columns >= low[1]) & (columns < high[1])
        )


@dataclasses.dataclass(frozen=True)
class MixupOrCutmix(_Mix):
    """Mixes an example by `Mixup`, by `Cutmix` or not at all, each with its probability.

    The values of timm's recipes for ImageNet (Touvron et al., Training data-efficient image
    transformers, 2021), with a choice of its own for each example.

    Attributes:
      num_classes: number of classes, as of `Mixup`.
      mixup_probability: probability of Mixup.
      cutmix_probability: probability of Cutmix; what both leave stays unmixed.
      mixup_alpha: both parameters of the Beta distribution of Mixup.
      cutmix_alpha: both parameters of the Beta distribution of Cutmix.

    Raises:
      ValueError: as of `Mixup`, or probabilities that are negative or add up to more than 1.

    Example:
      >>> mix = MixupOrCutmix(10, mixup_probability=0.25, cutmix_probability=0.5)
      >>> image, weight = mix(jax.random.key(0), jnp.ones((8, 8, 3)), jnp.zeros((8, 8, 3)))
      >>> bool(jnp.allclose(image.mean(), weight))
      True
    """

    num_classes: Any
    mixup_probability: float = 0.5
    cutmix_probability: float = 0.5
    mixup_alpha: float = 0.8
    cutmix_alpha: float = 1.0

    def __post_init__(self) -> None:
        self._check(mixup_alpha=self.mixup_alpha, cutmix_alpha=self.cutmix_alpha)
        one, other = self.mixup_probability, self.cutmix_probability
        if min(one, other) < 0 or one + other > 1 + 1e-9:
            raise ValueError(
                "mixup_probability and cutmix_probability must not be negative and add up to at "
                f"most 1, not {one} and {other}"
            )

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """Returns the mixed image and the weight of the first."""
        k_choice, k_mix = jax.random.split(key)
        choice = jax.random.uniform(k_choice)
        by_mixup = choice < self.mixup_probability
        by_cutmix = ~by_mixup & (choice < self.mixup_probability + self.cutmix_probability)
        blended, one = Mixup(None, self.mixup_alpha)(k_mix, image, partner)
        pasted, other = Cutmix(None, self.cutmix_alpha)(k_mix, image, partner)
        mixed = jnp.where(by_mixup, blended, jnp.where(by_cutmix, pasted, image))
        return mixed, jnp.where(by_mixup, one, jnp.where(by_cutmix, other, 1.0))


def check_mixed(mix: Any, batch: Mapping[str, Any], image: str, maps: Mapping[str, Any]) -> None:
    """Refuses fields of a batch that cannot be mixed.

    Args:
      mix: the transform.
      batch: the batch.
      image: dotted name of the image.
      maps: dotted names of the maps.

    Raises:
      ValueError: inputs beside the image that are no maps, maps that would be blended.
    """
    others = [n for n, _ in leaves(batch["inputs"], "inputs") if n != image and n not in maps]
    if others:
        raise ValueError(
            f"{mix} mixes the image, and the inputs {others} have no rule for it: name those that "
            f"are maps of the image, Views(…, maps={tuple(others)}), or leave the mixing out"
        )
    if maps and not hasattr(mix, "on_map"):
        raise ValueError(
            f"{mix} blends two examples, and the maps {tuple(maps)} cannot be blended: write "
            "Cutmix(num_classes), which pastes a part of the partner's map"
        )


def with_mixed_labels(
    mix: Any,
    weight: jax.Array,
    batch: dict[str, Any],
    partner: Mapping[str, Any],
    maps: Mapping[str, Any],
) -> dict[str, Any]:
    """Mixes the labels of a batch that are no maps with those of partners.

    Args:
      mix: the transform.
      weight: weight of the first `[batch]`.
      batch: the batch.
      partner: labels of the partners.
      maps: dotted names of the maps.

    Returns:
      The batch with its labels mixed, and `"labeled"`.
    """
    if "labels" not in batch:
        return batch
    known = {}
    for name, labels in leaves(batch["labels"], "labels"):
        if name not in maps:
            others = get(partner, name)
            mixed, known[name] = _mixed_labels(mix, weight, labels, others, name)
            batch = replaced(batch, name, mixed)
    for side in (batch, partner):
        for name, labeled in leaves(side["labeled"], "labels") if "labeled" in side else ():
            known[name] = known[name] & labeled if name in known else labeled
    if not known:
        return batch
    by_name = {name.removeprefix("labels."): value for name, value in known.items()}
    return batch | {"labeled": by_name.get("labels", by_name)}


def _mixed_labels(
    mix: Any, weight: jax.Array, labels: Any, others: Any, name: str
) -> tuple[jax.Array, jax.Array]:
    """One label set, as floats, and in which rows all that is mixed is known."""
    labels, others = jnp.asarray(labels), jnp.asarray(others)
    classes = _classes(mix, name)
    shares = weight.reshape(-1, *(1,) * (max(labels.ndim, 2) - 1))
    known = jnp.ones(labels.shape[:1], bool)
    if labels.dtype.kind == "f":
        shares = shares.reshape(-1, *(1,) * (labels.ndim - 1))
        return shares * labels + (1 - shares) * others, known
    if labels.ndim == 2 and (classes in (None, labels.shape[1])):
        # A mean of what is known and what is not is unknown, and floats have no mark for it.
        known = ((labels >= 0) & (others >= 0)).all(axis=1)
        return shares * labels + (1 - shares) * others, known
    if labels.ndim == 1 and classes is not None:
        one, other = jax.nn.one_hot(labels, classes), jax.nn.one_hot(others, classes)
        return shares * one + (1 - shares) * other, (labels >= 0) & (others >= 0)
    if labels.ndim == 1:
        raise ValueError(
            f"{mix} does not know the number of classes of {name!r} {list(labels.shape)}: write "
            + _with_classes(mix, name)
        )
    raise ValueError(
        f"{mix} mixes class ids [batch], multi-hot labels [batch, num_classes] and floats, and "
        f"{name!r} are {labels.dtype}{list(labels.shape)}. If they are a map of the image, write "
        f"Views(…, maps=({name!r},)), with Cutmix"
    )


def _classes(mix: Any, name: str) -> int | None:
    own = name.removeprefix("labels").removeprefix(".")
    if isinstance(mix.num_classes, tuple):
        sets = dict(mix.num_classes)
        if not own:
            raise ValueError(
                f"{mix} names label sets, and the labels are one array: write "
                f"{type(mix).__name__}(num_classes)"
            )
        return sets.get(own)
    if own and mix.num_classes is not None:
        raise ValueError(
            f"the labels are a dictionary, with {own!r}, and {mix} has one number of classes: "
            f"write {_with_classes(mix, name)}"
        )
    return mix.num_classes


def _with_classes(mix: Any, name: str) -> str:
    own = name.removeprefix("labels").removeprefix(".")
    number = "{" + repr(own) + ": num_classes, …}" if own else "num_classes"
    return f"{type(mix).__name__}({number})"
