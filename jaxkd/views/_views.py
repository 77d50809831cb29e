"""Views that can be replayed: every random choice is a function of `(example_id, v)`."""

import dataclasses
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

# Pinned, not left to the user's configuration: another generator renders other views.
_PRNG = "threefry2x32"
# Each use of an example's key folds in a number of its own; small ones are for the transforms.
_PARTNER, _PARTNER_VIEW, _MIX = 1 << 16, 1 << 17, 1 << 18


@dataclasses.dataclass(frozen=True)
class Views:
    """What is done to an example before a network sees it, replayable by `(example_id, v)`.

    `Views()` is the identity. Transforms that take one image run first, in the order given; at most
    one mixing transform (`Mixup`, `Cutmix`) may stand at the end, and its partner goes through the
    same transforms with choices of its own.

    Attributes:
      transforms: frozen dataclasses called as `transform(key, image)`, or, where the class says
        `mixes = True`, as `transform(key, image, partner) -> (image, weight)`. A class that says
        `random = False` does not use its key. Their fields are
        the specification that a cache keeps, so one's own transform is a dataclass too.
      seed: seed of the root key.

    Raises:
      TypeError: a transform that is not a hashable dataclass.
      ValueError: a mixing transform that is not the last one, a seed that is no integer of 32 bits.

    Example:
      >>> import numpy as np
      >>> from jaxkd.views import Normalize, RandomCrop, RandomFlip
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
        if not isinstance(self.seed, int | np.integer) or not 0 <= self.seed < 2**32:
            raise ValueError(
                f"the seed of views must be an integer from 0 to 2³² − 1, not {self.seed!r}, which "
                "would be wrapped to another one, or fail while a view is rendered"
            )
        object.__setattr__(self, "seed", int(self.seed))
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

    @property
    def random(self) -> bool:
        """Whether a view may depend on the seed, of a transform that does not deny it."""
        return any(getattr(transform, "random", True) for transform in self.transforms)

    def partners(self, ids: jax.Array, views: jax.Array, pool: int) -> jax.Array:
        """Samples the example that each one is mixed with, as a position among the sorted ids.

        Args:
          ids: example ids `[batch]`.
          views: view numbers `[batch]`.
          pool: number of examples in the data set.

        Returns:
          int32 `[batch]` in `[0, pool)`.
        """

        def partner(key):
            return jax.random.randint(jax.random.fold_in(key, _PARTNER), (), 0, pool)

        return jax.vmap(partner)(self._keys(ids, views))

    def render(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Turns raw examples into views. Pure; runs inside the compiled step.

        Args:
          batch: `"id"` and `"view"` int `[batch]`, `"inputs"` `[batch, ...]`, optionally `"labels"`
            int `[batch]` (-1: unlabeled); where views mix also `"partner_inputs"` and
            `"partner_labels"`. Other entries pass through.

        Returns:
          The batch with `"inputs"` rendered. Where views mix, `"labels"` become distributions
          `[batch, num_classes]`, and `"labeled"` says in which rows both labels were known.

        Raises:
          ValueError: views that mix, and a batch without partners.
        """
        batch = dict(batch)
        inputs, partners = batch["inputs"], batch.pop("partner_inputs", None)
        chex.assert_equal_shape_prefix((batch["id"], batch["view"], *jax.tree.leaves(inputs)), 1)
        keys = self._keys(batch["id"], batch["view"])
        plain = self.transforms[:-1] if self.mixes else self.transforms

        def transform_all(key, image):
            # One key a transform, by its position: the crop does not depend on a later flip.
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
        """Returns everything that decides what a view looks like, as plain data for a contract."""
        return {
            "transforms": [specification(transform) for transform in self.transforms],
            "seed": self.seed,
            "prng": _PRNG,
            "prng_partitionable": bool(jax.threefry_partitionable.value),
        }

    def probe(self, inputs: np.ndarray, second: np.ndarray | None = None) -> list[float]:
        """Summarizes a few rendered views, by which a cache recognizes another way of rendering.

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
            # Any partners do, as long as they are the same ones at writing and at reading.
            batch["partner_inputs"] = batch["inputs"][::-1].copy()
        rendered = np.asarray(_renderer(self)(batch)["inputs"], np.float64)
        pixels = rendered.reshape(len(ids), -1)
        # With unequal weights, since a plain sum is the same for a shifted or mirrored image.
        return [float(x) for x in pixels @ np.sqrt(1.0 + np.arange(pixels.shape[1]))]

    def _keys(self, ids: Any, views: Any) -> jax.Array:
        root = jax.random.key(self.seed, impl=_PRNG)
        return jax.vmap(lambda i, v: jax.random.fold_in(jax.random.fold_in(root, i), v))(
            jnp.asarray(ids), jnp.asarray(views)
        )


def specification(transform: Any) -> dict[str, Any]:
    """Returns the name of a dataclass and its fields, as plain data for a contract."""
    fields = dataclasses.asdict(transform)
    if "name" in fields:  # that of the class stays; no field is called with a space
        fields["field name"] = fields.pop("name")
    return {"name": type(transform).__name__, **fields}


@functools.lru_cache(maxsize=32)
def _renderer(views: Views) -> Any:
    # Compiled once: every cache that is opened with these views renders the same probe.
    return jax.jit(views.render)


def _mixes(transform: Any) -> bool:
    return getattr(transform, "mixes", False)
