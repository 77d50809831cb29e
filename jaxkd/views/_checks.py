"""What transforms of views say of themselves, and which orders of them make sense."""

import dataclasses
from typing import Any

import numpy as np


def mixes(transform: Any) -> bool:
    """Whether a transform needs a second example."""
    return getattr(transform, "mixes", False)


def on_host(transform: Any) -> bool:
    """Whether a transform runs in NumPy, when examples are read."""
    return getattr(transform, "host", False)


def kind(transform: Any) -> str | None:
    """Returns `"geometric"`, `"photometric"` or `"normalize"`; None where it does not say."""
    return getattr(transform, "kind", None)


def takes_pixels(transform: Any) -> bool:
    """Whether a transform takes the values of an 8-bit image, 0 to 255."""
    return getattr(transform, "takes", "any") != "any"


def check_transforms(transforms: tuple[Any, ...]) -> None:
    """Refuses what is no transform, and transforms in an order that makes no sense.

    Args:
      transforms: the transforms.

    Raises:
      TypeError: a transform that is not a hashable dataclass.
      ValueError: one that mixes and is not the last, one of the host that is not the first, one
        that takes pixels after a `Normalize`.
    """
    for transform in transforms:
        if not dataclasses.is_dataclass(transform) or isinstance(transform, type):
            raise TypeError(
                f"a transform is a frozen dataclass, {transform!r} is not" + _wrapped(transform)
            )
        try:
            hash(transform)
        except TypeError as error:
            raise TypeError(
                f"{transform!r} cannot be hashed: make it a frozen dataclass whose fields are "
                "numbers, strings and tuples"
            ) from error
    for transform in transforms[:-1]:
        if mixes(transform):
            raise ValueError(f"{transform} mixes examples: it must be the last transform")
    _check_order(transforms)


def _wrapped(transform: Any) -> str:
    if isinstance(transform, type):
        return f": write {transform.__name__}(…), an object of it"
    if callable(transform):
        name = getattr(transform, "__name__", type(transform).__name__)
        return (
            f": wrap a function of key and image, jaxkd.views.Augment({name}, …), or one of NumPy, "
            f"jaxkd.views.OnHost({name})"
        )
    return ""


def _check_order(transforms: tuple[Any, ...]) -> None:
    first = sorted(transforms, key=lambda transform: not on_host(transform))
    for given, wanted in zip(transforms, first, strict=True):
        if given is not wanted:
            raise ValueError(
                f"{wanted} runs on the host when examples are read, before {given} in the compiled "
                f"step: write Views({_listed(first)})"
            )
    normalize = None
    for transform in transforms:
        if kind(transform) == "normalize":
            normalize = transform
        elif normalize is not None and takes_pixels(transform):
            pixels = [t for t in transforms if kind(t) != "normalize" and not mixes(t)]
            rest = [t for t in transforms if kind(t) == "normalize" or mixes(t)]
            raise ValueError(
                f"{transform} takes pixels from 0 to 255, and stands after {normalize}, which "
                f"gives other values: write Views({_listed([*pixels, *rest])})"
            )


def _listed(transforms: list[Any]) -> str:
    return f"({', '.join(map(repr, transforms))},)"


def check_maps(maps: tuple[Any, ...], transforms: tuple[Any, ...]) -> None:
    """Refuses names of maps that no batch has, and transforms that may or may not move them.

    Args:
      maps: dotted names, or pairs of a name and the value outside of the image.
      transforms: the transforms.

    Raises:
      ValueError: another field than inputs and labels, a transform that does not say its kind, a
        geometric one that has no rule for maps.
    """
    for entry in maps:
        name = entry[0] if isinstance(entry, tuple) else entry
        if not isinstance(name, str) or name.split(".")[0] not in ("inputs", "labels"):
            raise ValueError(
                f"maps are named as fields of a batch, such as 'labels', 'labels.mask' or "
                f"'inputs.mask', not {name!r}"
            )
    for transform in transforms if maps else ():
        if kind(transform) is None and not mixes(transform):
            raise ValueError(
                f"the views have maps {maps}, and {transform} does not say whether it moves "
                "pixels: give its class kind: ClassVar[str] = 'photometric', or 'geometric' and a "
                "method on_map(key, label_map, fill); of Augment and OnHost, kind='photometric' "
                "or 'geometric'"
            )
        if moves(transform) and not hasattr(transform, "on_map"):
            raise ValueError(
                f"{transform} moves pixels and has no method on_map(key, label_map, fill), which "
                f"moves the maps {maps} in the same way"
            )


def moves(transform: Any) -> bool:
    """Whether a transform moves pixels."""
    return kind(transform) == "geometric"


def check_pixels(image: np.ndarray, transform: Any) -> None:
    """Refuses raw images that a transform of pixels cannot take.

    Args:
      image: raw images of some examples.
      transform: one that takes values from 0 to 255.

    Raises:
      ValueError: another type of integers than uint8, values outside of 0 to 255, or all within 0
        to 1 and not whole.
    """
    if image.dtype == np.uint8 or not image.size:
        return
    if image.dtype.kind != "f":
        raise ValueError(
            f"{transform} takes images of uint8, or floats from 0 to 255, not {image.dtype}: "
            "convert them first"
        )
    low, high = float(image.min()), float(image.max())
    is_unit = high <= 1 and bool(((image > 0) & (image < 1)).any())
    if low < 0 or high > 255 or is_unit:
        raise ValueError(
            f"{transform} takes images of uint8, or floats from 0 to 255, and these have values "
            f"from {low:.4g} to {high:.4g}: give the data set the pixels, images * 255, and have "
            "Normalize() as the last transform before any mixing"
        )


def check_image(image: Any, transform: Any, channels: tuple[int, ...] = ()) -> None:
    """Refuses what is no image, inside of a transform.

    Args:
      image: one image, `[height, width, channels]`.
      transform: the transform, for the message.
      channels: numbers of channels that it takes; empty: any.

    Raises:
      ValueError: another rank, another number of channels, integers other than uint8.
    """
    if image.ndim != 3 or (channels and image.shape[-1] not in channels):
        wanted = f"{' or '.join(map(str, channels))} channels" if channels else "channels"
        raise ValueError(
            f"{transform} takes images [height, width, {wanted}], not {list(image.shape)}"
        )
    if takes_pixels(transform) and image.dtype.kind != "f" and image.dtype != np.uint8:
        raise ValueError(
            f"{transform} takes images of uint8, or floats from 0 to 255, not {image.dtype}"
        )


def known_fill(fill: Any, transform: Any) -> Any:
    """Returns the value of a map outside of the image; refuses a map that has none."""
    if fill is None:
        raise ValueError(
            f"{transform} may show what lies outside of the image, and a map of floats has no "
            "value for it: name one, Views(…, maps={'labels': 0.0})"
        )
    return fill
