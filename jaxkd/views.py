"""Views that can be replayed: every random choice is a function of `(example_id, v)`.

A view's key is folded in from the example's id and the view's number, so that the crop, the flip,
the mixing partner and the mixing weight are the same for teacher and student, in any order, batch
size, process or year. Nothing about a view needs storing.
"""

import dataclasses
import functools
from typing import Any, ClassVar

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Pinned, not left to the user's configuration: another generator means other views.
_PRNG = "threefry2x32"
# Each use of an example's key folds in a number of its own.
_PARTNER, _PARTNER_VIEW, _MIX = 1 << 16, 1 << 17, 1 << 18


@dataclasses.dataclass(frozen=True)
class Normalize:
    """`(x / scale - mean) / std`, with one mean and standard deviation for each channel.

    Attributes:
      mean: of the scaled channels, by default 0.
      std: of the scaled channels, by default 1.
      scale: the value that becomes 1, by default 255 for 8-bit images.
    """

    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    scale: float = 255.0

    def __post_init__(self):
        if not self.scale > 0 or not all(value > 0 for value in self.std):
            raise ValueError(f"scale and std must be positive, not {self.scale} and {self.std}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Normalizes one image; the key is not used."""
        del key
        scaled = image.astype(jnp.float32) / self.scale
        return (scaled - jnp.asarray(self.mean)) / jnp.asarray(self.std)


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """Pads an image `[height, width, channels]` on every side and cuts its own size out of it.

    Attributes:
      padding: pixels on every side.
      fill: the value outside of the image.
    """

    padding: int = 4
    fill: float = 0.0

    def __post_init__(self):
        if self.padding < 1:
            raise ValueError(f"padding must be at least 1 pixel, not {self.padding}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Crops one image."""
        pad = ((self.padding, self.padding),) * 2 + ((0, 0),)
        padded = jnp.pad(image, pad, constant_values=self.fill)
        top, left = jax.random.randint(key, (2,), 0, 2 * self.padding + 1)
        return jax.lax.dynamic_slice(padded, (top, left, 0), image.shape)


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Mirrors an image `[height, width, channels]` left to right.

    Attributes:
      probability: of the mirroring.
    """

    probability: float = 0.5

    def __post_init__(self):
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must lie in [0, 1], not {self.probability}")

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Flips one image, or not."""
        return jnp.where(jax.random.bernoulli(key, self.probability), image[:, ::-1], image)


@dataclasses.dataclass(frozen=True)
class Mixup:
    """Mixes an example with a partner, `w x + (1 - w) x'` with `w ~ Beta(alpha, alpha)`.

    Zhang et al., mixup: Beyond Empirical Risk Minimization, 2018. Each example has a partner and a
    weight of its own, drawn from the whole data set.

    Attributes:
      num_classes: labels become distributions over this many classes.
      alpha: of the Beta distribution.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    alpha: float = 0.2

    def __post_init__(self):
        _check_mix(self.num_classes, self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The mixed image and the weight of the first."""
        weight = jax.random.beta(key, self.alpha, self.alpha)
        return weight * image + (1 - weight) * partner, weight


@dataclasses.dataclass(frozen=True)
class Cutmix:
    """Pastes a rectangle of a partner into an image `[height, width, channels]`.

    Yun et al., CutMix: Regularization Strategy to Train Strong Classifiers, 2019. The rectangle
    covers about `1 - w` of the image, `w ~ Beta(alpha, alpha)`, and is clipped at the border; the
    weight returned is the true share of pixels left.

    Attributes:
      num_classes: labels become distributions over this many classes.
      alpha: of the Beta distribution.
    """

    mixes: ClassVar[bool] = True
    num_classes: int
    alpha: float = 1.0

    def __post_init__(self):
        _check_mix(self.num_classes, self.alpha)

    def __call__(
        self, key: jax.Array, image: jax.Array, partner: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The patched image and the share that is still its own."""
        height, width = image.shape[:2]
        k_weight, k_center = jax.random.split(key)
        side = jnp.sqrt(1 - jax.random.beta(k_weight, self.alpha, self.alpha))
        center = jax.random.uniform(k_center, (2,)) * jnp.array([height, width])
        half = side * jnp.array([height, width]) / 2
        low, high = center - half, center + half
        rows, columns = jnp.arange(height) + 0.5, jnp.arange(width) + 0.5
        inside = ((rows >= low[0]) & (rows < high[0]))[:, None] & (
            (columns >= low[1]) & (columns < high[1])
        )
        return jnp.where(inside[..., None], partner, image), 1 - inside.mean(dtype=jnp.float32)


def _check_mix(num_classes: int, alpha: float) -> None:
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, not {num_classes}")
    if not alpha > 0:
        raise ValueError(f"alpha must be positive, not {alpha}")


@dataclasses.dataclass(frozen=True)
class Views:
    """What is done to an example before a network sees it, replayable by `(example_id, v)`.

    `Views()` is the identity. Transforms that take one image run first, in the order given; at most
    one mixing transform (`Mixup`, `Cutmix`) may stand at the end, and its partner goes through the
    same transforms with choices of its own.

    Attributes:
      transforms: frozen dataclasses called as `transform(key, image)`, or, where the class says
        `mixes = True`, as `transform(key, image, partner) -> (image, weight)`. Their fields are
        the specification that a cache keeps, so one's own transform is a dataclass too.
      seed: of the root key.

    Example:
      >>> import numpy as np
      >>> views = Views((RandomCrop(2), RandomFlip(), Normalize()), seed=1)
      >>> batch = {"id": np.array([7, 3]), "view": np.array([0, 0]),
      ...          "inputs": np.zeros((2, 8, 8, 1), np.uint8), "labels": np.array([1, 0])}
      >>> views.render(batch)["inputs"].shape
      (2, 8, 8, 1)
    """

    transforms: tuple[Any, ...] = ()
    seed: int = 0

    def __post_init__(self):
        object.__setattr__(self, "transforms", tuple(self.transforms))
        for transform in self.transforms:
            if not dataclasses.is_dataclass(transform) or isinstance(transform, type):
                raise TypeError(f"a transform is a frozen dataclass, {transform!r} is not")
            try:
                hash(transform)
            except TypeError as error:
                raise TypeError(
                    f"{transform!r} cannot be hashed: make it a frozen dataclass whose fields are "
                    "numbers, strings and tuples"
                ) from error
        for transform in self.transforms[:-1]:
            if _mixes(transform):
                raise ValueError(f"{transform} mixes examples: it must be the last transform")

    @property
    def mixes(self) -> bool:
        """Whether a view needs a second example."""
        return bool(self.transforms) and _mixes(self.transforms[-1])

    def partners(self, ids: jax.Array, views: jax.Array, pool: int) -> jax.Array:
        """Which example each one is mixed with, as a position among the sorted ids of the data set.

        Args:
          ids: example ids `[batch]`.
          views: view numbers `[batch]`.
          pool: number of examples in the data set.

        Returns:
          int32 `[batch]` in `[0, pool)`.
        """

        def one(key):
            return jax.random.randint(jax.random.fold_in(key, _PARTNER), (), 0, pool)

        return jax.vmap(one)(self._keys(ids, views))

    def render(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Turns raw examples into views. Pure; runs inside the compiled step.

        Args:
          batch: `"id"` and `"view"` int `[batch]`, `"inputs"` `[batch, ...]`, optionally `"labels"`
            int `[batch]` (-1: unlabeled); where views mix also `"partner_inputs"` and
            `"partner_labels"`. Other entries pass through.

        Returns:
          The batch with `"inputs"` rendered. Where views mix, `"labels"` become distributions
          `[batch, num_classes]`, and `"labeled"` says in which rows both labels were known.
        """
        batch = dict(batch)
        inputs, partners = batch["inputs"], batch.pop("partner_inputs", None)
        chex.assert_equal_shape_prefix((batch["id"], batch["view"], inputs), 1)
        keys = self._keys(batch["id"], batch["view"])
        plain = self.transforms[:-1] if self.mixes else self.transforms

        def transform_all(key, image):
            for index, transform in enumerate(plain):
                image = transform(jax.random.fold_in(key, index), image)
            return image

        batch["inputs"] = jax.vmap(transform_all)(keys, inputs) if plain else inputs
        if not self.mixes:
            return batch
        if partners is None:
            raise ValueError(
                f"{self.transforms[-1]} mixes examples, and the batch has no 'partner_inputs': "
                "evaluate with views that do not mix"
            )
        mix = self.transforms[-1]
        partners = jax.vmap(
            lambda key, x: transform_all(jax.random.fold_in(key, _PARTNER_VIEW), x)
        )(keys, partners)
        batch["inputs"], weight = jax.vmap(
            lambda key, a, b: mix(jax.random.fold_in(key, _MIX), a, b)
        )(keys, batch["inputs"].astype(jnp.float32), partners.astype(jnp.float32))
        if "labels" in batch:
            labels, others = batch["labels"], batch.pop("partner_labels")
            batch["labels"] = weight[:, None] * jax.nn.one_hot(labels, mix.num_classes) + (
                1 - weight[:, None]
            ) * jax.nn.one_hot(others, mix.num_classes)
            batch["labeled"] = (labels >= 0) & (others >= 0)
        return batch

    def specification(self) -> dict[str, Any]:
        """Everything that decides what a view looks like, as plain data for a cache's contract."""
        return {
            "transforms": [
                {"name": type(t).__name__, **dataclasses.asdict(t)} for t in self.transforms
            ],
            "seed": self.seed,
            "prng": _PRNG,
            "prng_partitionable": bool(jax.threefry_partitionable.value),
        }

    def probe(self, inputs: np.ndarray, second: np.ndarray | None = None) -> list[float]:
        """Numbers that tell whether this JAX and this code render as those that wrote a cache did.

        Args:
          inputs: a few raw examples `[n, ...]`, the same at writing and at reading.
          second: these examples as they are read for view 1, by default as for view 0.

        Returns:
          A weighted sum of the pixels of each of their views 0 and 1, compared with a tolerance,
          since the last digits of a float may differ between processors.
        """
        ids = np.tile(np.arange(len(inputs), dtype=np.int32), 2)
        view = np.repeat(np.arange(2, dtype=np.int32), len(inputs))
        batch = {
            "id": ids,
            "view": view,
            "inputs": np.concatenate([inputs, inputs if second is None else second]),
        }
        if self.mixes:
            batch["partner_inputs"] = batch["inputs"][::-1].copy()
        rendered = np.asarray(_renderer(self)(batch)["inputs"], np.float64)
        pixels = rendered.reshape(len(ids), -1)
        # Weights that no shift, mirror or swap of pixels leaves unchanged.
        return [float(x) for x in pixels @ np.sqrt(1.0 + np.arange(pixels.shape[1]))]

    def _keys(self, ids: Any, views: Any) -> jax.Array:
        root = jax.random.key(self.seed, impl=_PRNG)
        return jax.vmap(lambda i, v: jax.random.fold_in(jax.random.fold_in(root, i), v))(
            jnp.asarray(ids), jnp.asarray(views)
        )


@functools.lru_cache(maxsize=32)
def _renderer(views: Views) -> Any:
    # Kept, since each loader of a cache asks for the same probe.
    return jax.jit(views.render)


def _mixes(transform: Any) -> bool:
    return getattr(transform, "mixes", False)
