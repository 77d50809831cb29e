"""Views that can be replayed: every random choice is a function of `(example_id, v)`."""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np

from jaxkd.views import _batch_fields as _fields
from jaxkd.views import _checks
from jaxkd.views._mixing import check_mixed, with_mixed_labels
from jaxkd.views._on_host import render_on_host

# Pinned, not left to the user's configuration: another generator renders other views.
_PRNG = "threefry2x32"
# Each use of an example's key folds in a number of its own; small ones are for the transforms.
_PARTNER, _PARTNER_VIEW, _MIX = 1 << 16, 1 << 17, 1 << 18
# The field of a batch that transforms of the host have run on.
_PREPARED = "on_host"


@dataclasses.dataclass(frozen=True)
class Views:
    """What is done to an example before a network sees it, replayable by `(example_id, v)`.

    `Views()` is the identity. Transforms that take one image run first, in the order given; at most
    one mixing transform (`Mixup`, `Cutmix`, `MixupOrCutmix`) may stand at the end, and its partner
    goes through the same transforms with choices of its own.

    Attributes:
      transforms: frozen dataclasses called as `transform(key, image)`, or, where the class says
        `mixes = True`, as `transform(key, image, partner) -> (image, weight)`. A class that says
        `random = False` does not use its key. Their fields are
        the specification that a cache keeps, so one's own transform is a dataclass too. A class
        says `kind`, `"photometric"` or `"geometric"`, where views have maps; a geometric one has a
        method `on_map(key, label_map, fill)`, too.
      seed: seed of the root key.
      image: name of the image within dictionary inputs, dotted where they are nested; None: the
        inputs are the image.
      maps: dotted names of the fields of a batch that are maps of the image, `[batch, height,
        width, ...]`, such as `"labels"` or `"inputs.mask"`: geometric transforms move them as they
        move the image, without blending values. Outside of the image lies -1, which does not count
        as a label, or False; `{"labels": 0.0}` names another value, which maps of floats need.

    Raises:
      TypeError: a transform that is not a hashable dataclass.
      ValueError: a mixing transform that is not the last one, one that takes pixels after
        `Normalize`, a seed that is no integer of 32 bits, a map that no batch has, or that a
        transform cannot move.

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
    image: str | None = None
    maps: tuple[Any, ...] = ()

    def __post_init__(self):
        if not isinstance(self.transforms, Iterable) or isinstance(self.transforms, str):
            raise TypeError(
                f"transforms are several, one after the other, not {self.transforms!r}: write "
                "Views((RandomFlip(), Normalize()), seed=0)"
            )
        object.__setattr__(self, "transforms", tuple(self.transforms))
        if not isinstance(self.seed, int | np.integer) or not 0 <= self.seed < 2**32:
            raise ValueError(
                f"the seed of views must be an integer from 0 to 2³² − 1, not {self.seed!r}, which "
                "would be wrapped to another one, or fail while a view is rendered"
            )
        object.__setattr__(self, "seed", int(self.seed))
        if isinstance(self.maps, str):
            raise TypeError(f"maps are several names: write maps=({self.maps!r},)")
        items = self.maps.items() if isinstance(self.maps, Mapping) else self.maps
        object.__setattr__(self, "maps", tuple(items))
        _checks.check_transforms(self.transforms)
        _checks.check_maps(self.maps, self.transforms)

    def __repr__(self) -> str:
        extra = "".join(
            f", {name}={getattr(self, name)!r}" for name in ("image", "maps") if getattr(self, name)
        )
        return f"Views(transforms={self.transforms!r}, seed={self.seed!r}{extra})"

    @property
    def mixes(self) -> bool:
        """Whether a view needs a second example."""
        return bool(self.transforms) and _checks.mixes(self.transforms[-1])

    @property
    def random(self) -> bool:
        """Whether a view may depend on the seed, of a transform that does not deny it."""
        return any(getattr(transform, "random", True) for transform in self.transforms)

    @property
    def on_host(self) -> bool:
        """Whether a transform runs in NumPy, where examples are read (`prepare`)."""
        return bool(self.transforms) and _checks.on_host(self.transforms[0])

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

    def prepare(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Checks raw examples on the host, and runs the transforms that are of NumPy.

        Loaders and caches call it with what they read, before `render`.

        Args:
          batch: raw batch of NumPy arrays, as of `render`.

        Returns:
          The batch; where the views have `OnHost` transforms, with their images and maps.

        Raises:
          ValueError: images of other values than a transform takes, or what `OnHost` refuses.
        """
        pixels = next(filter(_checks.takes_pixels, self.transforms), None)
        if not self.on_host and pixels is None:
            return batch
        image = _fields.image_name(batch, self.image)
        batch, partner = _fields.split(batch)
        maps = _fields.map_fills(batch, self.maps, image)
        if self.on_host:
            self._check_declared(batch, maps, image)
            batch[_PREPARED] = np.ones(len(batch["id"]), bool)
            batch = render_on_host(self.transforms, batch, image, maps, (self.seed,))
        if self.on_host and partner is not None:
            numbers = {name: batch[name] for name in ("id", "view")}
            partner = render_on_host(
                self.transforms, partner | numbers, image, maps, (self.seed, _PARTNER_VIEW)
            )
        if pixels is not None:
            _checks.check_pixels(np.asarray(_fields.get(batch, image)), pixels)
        if partner is None:
            return batch
        whole = {name: value for name, value in partner.items() if name not in ("id", "view")}
        return batch | {f"partner_{name}": value for name, value in whole.items()}

    def render(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Turns raw examples into views. Pure; runs inside the compiled step.

        Args:
          batch: `"id"` and `"view"` int `[batch]`, `"inputs"` `[batch, ...]`, or a dictionary with
            an image in it, optionally `"labels"`, an array `[batch, ...]` or a dictionary of them
            (-1: unlabeled); where views mix also `"partner_inputs"` and `"partner_labels"`. Other
            entries pass through.

        Returns:
          The batch with `"inputs"` rendered, and the maps with them. Where views mix, class ids
          become distributions `[batch, num_classes]`, multi-hot labels and floats are averaged,
          and `"labeled"` says in which rows all labels of both were known: bool `[batch]`, or by
          name where labels are. Maps are pasted.

        Raises:
          ValueError: views that mix, and a batch without partners; transforms of the host, and a
            batch that they have not run on; maps that do not fit the image,
            or that are not declared; labels that cannot be mixed.
        """
        batch, partner = _fields.split(batch)
        prepared = batch.pop(_PREPARED, None)
        if self.on_host and prepared is None:
            raise ValueError(
                f"{self.transforms[0]} runs where examples are read, and this batch was read "
                "without it: give these views to Loader(dataset, views, size) or to "
                "eval_batches(dataset, size, views=views), or prepare it by views.prepare(batch)"
            )
        inputs = jax.tree.leaves(batch["inputs"])
        chex.assert_equal_shape_prefix((batch["id"], batch["view"], *inputs), 1)
        if not self.transforms:
            return batch
        keys = self._keys(batch["id"], batch["view"])
        image = _fields.image_name(batch, self.image)
        maps = _fields.map_fills(batch, self.maps, image)
        self._check_declared(batch, maps, image)
        rendered = self._transformed(keys, batch, image, maps)
        if not self.mixes:
            return rendered
        if partner is None:
            raise ValueError(
                f"{self.transforms[-1]} mixes examples, and the batch has no 'partner_inputs': "
                "evaluate with views that do not mix"
            )
        fold = functools.partial(jax.random.fold_in, data=_PARTNER_VIEW)
        partner = self._transformed(keys, partner, image, maps, fold)
        return self._mixed(keys, rendered, partner, image, maps)

    def _check_declared(self, batch: Mapping[str, Any], maps: Mapping[str, Any], name: str) -> None:
        moving = next(filter(_checks.moves, self.transforms), None)
        pasting = self.transforms[-1] if self.mixes else None
        if moving is not None or hasattr(pasting, "on_map"):
            _fields.check_undeclared(batch, maps, name, moving or pasting)

    def _transformed(
        self,
        keys: jax.Array,
        batch: dict[str, Any],
        image: str,
        maps: Mapping[str, Any],
        fold: Callable[[jax.Array], jax.Array] = lambda key: key,
    ) -> dict[str, Any]:
        """Applies the transforms that do not mix to the image and the maps of a batch."""
        plain = self.transforms[:-1] if self.mixes else self.transforms
        if not plain:
            return batch

        def transform_all(key: jax.Array, pixels: jax.Array) -> jax.Array:
            # One key a transform, by its position: the crop does not depend on a later flip.
            key = fold(key)
            for index, transform in enumerate(plain):
                if not _checks.on_host(transform):
                    pixels = transform(jax.random.fold_in(key, index), pixels)
            return pixels

        def move(key: jax.Array, label_map: jax.Array, fill: Any) -> jax.Array:
            key, shape = fold(key), label_map.shape
            label_map = label_map.reshape(*shape[:2], -1)
            for index, transform in enumerate(plain):
                if _checks.moves(transform) and not _checks.on_host(transform):
                    own = jax.random.fold_in(key, index)
                    label_map = transform.on_map(own, label_map, fill)
            return label_map.reshape(*label_map.shape[:2], *shape[2:])

        pixels = jax.vmap(transform_all)(keys, _fields.get(batch, image))
        batch = _fields.replaced(batch, image, pixels)
        for name, fill in maps.items():
            values = _fields.signed(_fields.get(batch, name))
            moved = jax.vmap(functools.partial(move, fill=fill))(keys, values)
            batch = _fields.replaced(batch, name, moved)
        return batch

    def _mixed(
        self,
        keys: jax.Array,
        batch: dict[str, Any],
        partner: dict[str, Any],
        image: str,
        maps: Mapping[str, Any],
    ) -> dict[str, Any]:
        mix = self.transforms[-1]
        check_mixed(mix, batch, image, maps)

        def mixed(function: Callable[..., Any], one: Any, other: Any) -> Any:
            return jax.vmap(lambda key, a, b: function(jax.random.fold_in(key, _MIX), a, b))(
                keys, one, other
            )

        pixels, weight = mixed(
            mix,
            _fields.get(batch, image).astype(jnp.float32),
            _fields.get(partner, image).astype(jnp.float32),
        )
        batch, unmixed = _fields.replaced(batch, image, pixels), batch
        for name in maps:
            one, other = (_fields.signed(_fields.get(side, name)) for side in (unmixed, partner))
            pair = (side.reshape(*side.shape[:3], -1) for side in (one, other))
            batch = _fields.replaced(batch, name, mixed(mix.on_map, *pair).reshape(one.shape))
        return with_mixed_labels(mix, weight, batch, partner, maps)

    def specification(self) -> dict[str, Any]:
        """Returns everything that decides what a view looks like, as plain data for a contract."""
        return {
            "transforms": [specification(transform) for transform in self.transforms],
            "seed": self.seed,
            "prng": _PRNG,
            "prng_partitionable": bool(jax.threefry_partitionable.value),
            # Left out by default, so that caches of earlier versions open.
            **({"image": self.image} if self.image is not None else {}),
            **({"maps": list(self.maps)} if self.maps else {}),
        }

    def probe(self, inputs: Any, second: Any = None) -> list[float]:
        """Summarizes a few rendered views, by which a cache recognizes another way of rendering.

        Args:
          inputs: a few raw examples `[n, ...]`, an array or a dictionary of them, the same at
            writing and at reading.
          second: these examples as they are read for view 1, by default as for view 0.

        Returns:
          A weighted sum of the pixels of each of their views 0 and 1, compared with a tolerance,
          since the last digits of a float may differ between processors.
        """
        number = len(jax.tree.leaves(inputs)[0])
        ids = np.tile(np.arange(number, dtype=np.int32), 2)
        view = np.repeat(np.arange(2, dtype=np.int32), number)
        both = jax.tree.map(
            lambda a, b: np.concatenate([a, b]), inputs, inputs if second is None else second
        )
        batch = {"id": ids, "view": view, "inputs": both}
        if self.mixes:
            # Any partners do, as long as they are the same ones at writing and at reading.
            batch["partner_inputs"] = jax.tree.map(lambda a: a[::-1].copy(), both)
        leaves = jax.tree.leaves(_renderer(self)(self.prepare(batch))["inputs"])
        flat = [np.asarray(leaf, np.float64).reshape(len(ids), -1) for leaf in leaves]
        pixels = np.concatenate(flat, axis=1)
        # With unequal weights, since a plain sum is the same for a shifted or mirrored image.
        return [float(x) for x in pixels @ np.sqrt(1.0 + np.arange(pixels.shape[1]))]

    def _keys(self, ids: Any, views: Any) -> jax.Array:
        root = jax.random.key(self.seed, impl=_PRNG)
        return jax.vmap(lambda i, v: jax.random.fold_in(jax.random.fold_in(root, i), v))(
            jnp.asarray(ids), jnp.asarray(views)
        )


def specification(transform: Any) -> dict[str, Any]:
    """Returns the name of a dataclass and its fields, as plain data for a contract."""
    if callable(own := getattr(transform, "specification", None)):
        return own()
    fields = dataclasses.asdict(transform)
    if "name" in fields:  # that of the class stays; no field is called with a space
        fields["field name"] = fields.pop("name")
    return {"name": type(transform).__name__, **fields}


@functools.lru_cache(maxsize=32)
def _renderer(views: Views) -> Any:
    # Compiled once: every cache that is opened with these views renders the same probe.
    return jax.jit(views.render)
