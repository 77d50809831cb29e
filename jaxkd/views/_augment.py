"""Transforms from functions of other libraries and of one's own, in JAX."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from jaxkd.views._checks import check_image, known_fill

KINDS = (None, "photometric", "geometric")
_TAKES = ("0..1", "0..255", "any")


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class Augment:
    """Wraps a pure function of a key and an image, `function(key, image, **options)`.

    A cache knows the function by its name, its options and what it does: another function of the
    same name is refused by the views that it renders.

    Attributes:
      function: pure function of JAX, called inside the compiled step with one image `[height,
        width, channels]`.
      options: keyword arguments of every call, plain data. None of them can be one of the names
        below: bind such a one in a function of your own.
      kind: `"photometric"`: values change, pixels stay in place. `"geometric"`: label maps are
        handed to the function as well, with the key of their image. None: not said, which is
        refused where views have maps.
      takes: the values that the function is called with. `"0..1"`, as the functions of dm_pix:
        pixels from 0 to 255 are divided by 255, and the result is multiplied again. `"0..255"`:
        float32 as they are. Both clip the result to their range and give float32 from 0 to 255.
        `"any"`: the image as it is, such as after `Normalize`; the result is taken as it is.
      random: whether the function takes a key; False: `function(image, **options)`.
      on_maps: of a geometric function, the options that differ for maps, such as `{"order": 0}`
        for the nearest value.

    Raises:
      TypeError: no function, or options that are no plain data.
      ValueError: an unknown kind or range.

    Example:
      >>> def dimmed(key, image, most):
      ...     return image * (1 - most * jax.random.uniform(key))
      >>> dim = Augment(dimmed, most=0.5)
      >>> dim, dim(jax.random.key(0), jnp.full((4, 4, 3), 255, jnp.uint8)).dtype
      (Augment(dimmed, most=0.5), dtype('float32'))
    """

    host: ClassVar[bool] = False
    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]
    kind: str | None
    takes: str
    random: bool
    on_maps: tuple[tuple[str, Any], ...]

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        kind: str | None = None,
        takes: str = "0..1",
        random: bool = True,
        on_maps: Mapping[str, Any] | None = None,
        **options: Any,
    ):
        check_function(function, "Augment")
        if kind not in KINDS:
            raise ValueError(f"kind must be 'photometric' or 'geometric', not {kind!r}")
        if takes not in _TAKES:
            raise ValueError(f"takes must be one of {_TAKES}, not {takes!r}")
        plain, for_maps = plain_options(options, "Augment"), plain_options(on_maps or {}, "Augment")
        values = (function, plain, kind, takes, random, for_maps)
        for field, value in zip(dataclasses.fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    def __repr__(self) -> str:
        return shown("Augment", self, (("takes", "0..1"), ("random", True), ("on_maps", ())))

    def specification(self) -> dict[str, Any]:
        """Returns the name of the function, its options and how it is called, as plain data."""
        return {
            "name": "Augment",
            "function": self.function.__name__,
            "options": dict(self.options),
            "kind": self.kind,
            "takes": self.takes,
            "random": self.random,
            "on_maps": dict(self.on_maps),
        }

    def __call__(self, key: jax.Array, image: jax.Array) -> jax.Array:
        """Calls the function with one image."""
        check_image(image, self)
        if self.takes == "any":
            result = self._called(key, image)
        else:
            scale = 255.0 if self.takes == "0..1" else 1.0
            pixels = image.astype(jnp.float32) / scale
            result = jnp.clip(self._called(key, pixels) * scale, 0, 255)
        if result.ndim != 3 or (self.kind == "photometric" and result.shape != image.shape):
            raise ValueError(
                f"{self} made {list(result.shape)} of an image {list(image.shape)}"
                + (": it is not photometric, kind='geometric'" if result.ndim == 3 else "")
            )
        return result

    def on_map(self, key: jax.Array, label_map: jax.Array, fill: float | None) -> jax.Array:
        """Calls a geometric function with a map `[height, width, channels]`, as floats.

        Zero stands for what is outside of the image, since functions fill in zeros.

        Args:
          key: key of the image.
          label_map: the map.
          fill: its value outside of the image.

        Returns:
          The map moved, of the same dtype; integers are rounded.
        """
        outside = known_fill(fill, self)
        shifted = label_map.astype(jnp.float32) - outside
        moved = self._called(key, shifted, **dict(self.on_maps)) + outside
        whole = label_map.dtype.kind in "iub"
        return (jnp.round(moved) if whole else moved).astype(label_map.dtype)

    def _called(self, key: jax.Array, image: jax.Array, **changed: Any) -> jax.Array:
        options = dict(self.options) | changed
        arguments = (key, image) if self.random else (image,)
        return jnp.asarray(self.function(*arguments, **options))


def check_function(function: Any, wrapper: str) -> None:
    """Refuses what is no function with a name.

    Args:
      function: what was given.
      wrapper: name of the class that wraps it.

    Raises:
      TypeError: no function, or an object without a name.
    """
    if isinstance(function, type) or not callable(function):
        raise TypeError(f"{wrapper} wraps a function, not {function!r:.80}")
    if not hasattr(function, "__name__"):
        raise TypeError(
            f"{wrapper} knows a function by its name, which {function!r:.80} does not have: call "
            f"it in a function of your own, and give options by name, {wrapper}(function, name=…)"
        )


def plain_options(options: Mapping[str, Any], wrapper: str) -> tuple[tuple[str, Any], ...]:
    """Returns options sorted by name, lists as tuples; refuses what a cache cannot keep.

    Args:
      options: keyword arguments.
      wrapper: name of the class that has them.

    Raises:
      TypeError: values that are no plain data.
    """
    try:
        json.dumps(dict(options))
    except TypeError as error:
        raise TypeError(
            f"options of {wrapper} are numbers, texts and tuples, which a cache can keep, not "
            f"{dict(options)!r:.120}: {error}"
        ) from error
    return tuple((name, _frozen(value)) for name, value in sorted(options.items()))


def shown(name: str, transform: Any, fields: tuple[tuple[str, Any], ...]) -> str:
    """Returns the call that makes a transform: its function, options and what is not usual."""
    parts = [transform.function.__name__, *(f"{k}={v!r}" for k, v in transform.options)]
    for field, usual in (("kind", None), *fields):
        value = getattr(transform, field)
        if value != usual:
            parts.append(f"{field}={dict(value) if field == 'on_maps' else value!r}")
    return f"{name}({', '.join(parts)})"


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list | tuple) else value
