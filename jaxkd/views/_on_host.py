"""Transforms of NumPy, which run on the host when examples are read."""

import dataclasses
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import numpy as np

from jaxkd.views import _batch_fields as _fields
from jaxkd.views import _checks
from jaxkd.views._augment import KINDS, check_function, plain_options, shown

# Functions keep their random state between seeding and drawing, as a pipeline of albumentations.
_ONE_AT_A_TIME = threading.Lock()


@dataclasses.dataclass(frozen=True, init=False, repr=False)
class OnHost:
    """Wraps a function of NumPy, `function(rng, image, **options)`, such as albumentations'.

    It runs when examples are read, for a loader as for a cache that is built, and its random
    numbers are a function of the views' seed, the example's id and the view's number. So it comes
    before all transforms in JAX. Of the threads of a process one calls it at a time, so that it may
    keep a state that it seeds from `rng`; `Loader(workers=…)` runs it in several processes. A cache
    knows it by its name, its options and the views that it renders.

    Attributes:
      function: called with a `numpy.random.Generator`, from which all its random choices must come,
        and one image `[height, width, channels]` as it was read; returns an image of any size and
        type that is the same for all. Of views with maps, a geometric one is called as
        `function(rng, image, maps)`, with their names and arrays, and returns both.
      options: keyword arguments of every call, plain data.
      kind: `"photometric"` or `"geometric"`, which views with maps need to know; None: not said.

    Raises:
      TypeError: no function with a name, or options that are no plain data.
      ValueError: an unknown kind.

    Example:
      >>> from jaxkd.views import Normalize, Views
      >>> def speckle(rng, image, amount):
      ...     noisy = image + rng.normal(0, amount, image.shape)
      ...     return np.clip(noisy, 0, 255).astype(np.uint8)
      >>> Views((OnHost(speckle, amount=8.0), Normalize())).transforms[0]
      OnHost(speckle, amount=8.0)
    """

    host: ClassVar[bool] = True
    function: Callable[..., Any]
    options: tuple[tuple[str, Any], ...]
    kind: str | None

    def __init__(self, function: Callable[..., Any], *, kind: str | None = None, **options: Any):
        check_function(function, "OnHost")
        if kind not in KINDS:
            raise ValueError(f"kind must be 'photometric' or 'geometric', not {kind!r}")
        values = (function, plain_options(options, "OnHost"), kind)
        for field, value in zip(dataclasses.fields(self), values, strict=True):
            object.__setattr__(self, field.name, value)

    def __repr__(self) -> str:
        return shown("OnHost", self, ())

    def specification(self) -> dict[str, Any]:
        """Returns the name of the function, its options and its kind, as plain data."""
        return {
            "name": "OnHost",
            "function": self.function.__name__,
            "options": dict(self.options),
            "kind": self.kind,
        }

    def on_map(self, *_: Any) -> Any:
        """Is not called: the function gets image and maps at once."""
        raise NotImplementedError


def render_on_host(
    transforms: Iterable[Any], batch: dict[str, Any], image: str, maps: Mapping[str, Any], seed: Any
) -> dict[str, Any]:
    """Runs the transforms of the host on all rows of a batch.

    Args:
      transforms: all transforms of the views, by their position.
      batch: raw batch, with `"id"` and `"view"`.
      image: dotted name of the image.
      maps: dotted names of the maps.
      seed: numbers that the seed of every row begins with.

    Returns:
      The batch with image and maps replaced.

    Raises:
      ValueError: a result that is not of one shape for all, or of another kind than declared.
    """
    for position, transform in enumerate(transforms):
        if not _checks.on_host(transform):
            break
        moved = tuple(maps) if _checks.moves(transform) else ()
        rows = [
            _run(transform, batch, row, image, moved, (*seed, position))
            for row in range(len(batch["id"]))
        ]
        for name in (image, *moved):
            batch = _fields.replaced(batch, name, _stacked([row[name] for row in rows], transform))
    return batch


def _run(
    transform: OnHost,
    batch: Mapping[str, Any],
    row: int,
    image: str,
    maps: tuple[str, ...],
    seed: tuple[int, ...],
) -> dict[str, np.ndarray]:
    example_id, view = int(batch["id"][row]), int(batch["view"][row])
    # The stream of this bit generator is guaranteed; what a Generator makes of it, nearly.
    rng = np.random.Generator(np.random.PCG64((*seed, example_id, view)))
    # A copy, since a function may write into what it is given.
    pixels = np.array(_fields.get(batch, image)[row])
    given = {name: np.array(_fields.get(batch, name)[row]) for name in maps}
    with _ONE_AT_A_TIME:
        result = transform.function(
            rng, pixels, *([given] if maps else []), **dict(transform.options)
        )
    if maps:
        if not isinstance(result, tuple) or len(result) != 2 or set(result[1]) != set(maps):
            raise ValueError(
                f"{transform} is geometric, and the views have maps: it is called as "
                f"function(rng, image, maps) and returns (image, maps) with {maps}"
            )
        return {image: np.asarray(result[0]), **{n: np.asarray(result[1][n]) for n in maps}}
    result = np.asarray(result)
    if transform.kind == "photometric" and result.shape != pixels.shape:
        raise ValueError(
            f"{transform} made {list(result.shape)} of an image {list(pixels.shape)}: it is not "
            "photometric, kind='geometric'"
        )
    return {image: result}


def _stacked(rows: list[np.ndarray], transform: OnHost) -> np.ndarray:
    kinds = {(row.shape, row.dtype) for row in rows}
    if len(kinds) > 1 or any(row.dtype.hasobject for row in rows):
        raise ValueError(
            f"{transform} must make arrays of one shape and type of all images, not "
            + " and ".join(sorted(f"{dtype}{list(shape)}" for shape, dtype in kinds))
        )
    return np.stack(rows)
