"""Fields of a batch by their dotted names, and which of them a view transforms."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_OF_PARTNERS = ("partner_inputs", "partner_labels", "partner_labeled")


def get(batch: Mapping[str, Any], name: str) -> Any:
    """Returns the field of a batch with a dotted name, such as `"labels.mask"`.

    Raises:
      ValueError: there is none; names those that there are.
    """
    value: Any = batch
    for part in name.split("."):
        if not isinstance(value, Mapping) or part not in value:
            top = name.split(".")[0]
            there = [path for path, _ in leaves(batch.get(top), top)]
            raise ValueError(f"the views name the field {name!r} of a batch, which has {there}")
        value = value[part]
    return value


def replaced(batch: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """Returns a copy of a batch with another value of one field; nothing is changed in place."""
    first, _, rest = name.partition(".")
    return {**batch, first: replaced(batch[first], rest, value) if rest else value}


def leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Yields the arrays in a field, each with its dotted name."""
    if isinstance(value, Mapping):
        for part, inner in value.items():
            yield from leaves(inner, f"{name}.{part}")
    else:
        yield name, value


def image_name(batch: Mapping[str, Any], image: str | None) -> str:
    """Returns the dotted name of the image in a batch.

    Args:
      batch: the batch.
      image: its name within dictionary inputs; None: the inputs are the image.

    Raises:
      ValueError: dictionary inputs without a name, or a name without dictionary inputs.
    """
    inputs = batch["inputs"]
    if isinstance(inputs, Mapping) and image is None:
        there = [path.removeprefix("inputs.") for path, _ in leaves(inputs, "inputs")]
        raise ValueError(
            f"the inputs are a dictionary of {there}: say which of them is the image, "
            f"Views(…, image={there[0]!r})"
        )
    if not isinstance(inputs, Mapping) and image is not None:
        raise ValueError(
            f"the views name the image {image!r} among the inputs, and these are one array "
            f"{list(np.shape(inputs))}: leave image= out"
        )
    return "inputs" if image is None else f"inputs.{image}"


def map_fills(batch: Mapping[str, Any], maps: tuple[Any, ...], image: str) -> dict[str, Any]:
    """Finds the label maps of a batch.

    Args:
      batch: the batch; it may lack labels, as where a teacher's inputs alone are rendered.
      maps: dotted names, or pairs of a name and the value outside of the image.
      image: dotted name of the image.

    Returns:
      Dotted name → value outside of the image, None where no value says that.

    Raises:
      ValueError: a map of another height or width than the image.
    """
    height_width, fills = np.shape(get(batch, image))[1:3], {}
    for entry in maps:
        name, fill = entry if isinstance(entry, tuple) else (entry, None)
        if name.split(".")[0] not in batch:
            continue
        value = get(batch, name)
        if isinstance(value, Mapping) or np.shape(value)[1:3] != height_width:
            shape = sorted(value) if isinstance(value, Mapping) else list(np.shape(value))
            raise ValueError(
                f"the views name {name!r} as a label map, [batch, height, width], and it is "
                f"{shape} beside images {list(np.shape(get(batch, image)))}"
            )
        if fill is None and value.dtype.kind in "iu":
            fill = -1
        if fill is None and value.dtype == bool:
            fill = False
        fills[name] = fill
    return fills


def check_undeclared(
    batch: Mapping[str, Any], maps: Mapping[str, Any], image: str, transform: Any
) -> None:
    """Refuses labels and inputs that look like maps, where the image is moved and they are not.

    Args:
      batch: the batch.
      maps: dotted names of the maps.
      image: dotted name of the image.
      transform: what moves the image, for the message.

    Raises:
      ValueError: such a field; says how to declare it.
    """
    height_width = np.shape(get(batch, image))[1:3]
    for top in ("inputs", "labels"):
        for name, value in leaves(batch.get(top), top):
            is_map = np.ndim(value) >= 3 and np.shape(value)[1:3] == height_width
            if is_map and name != image and name not in maps:
                raise ValueError(
                    f"{transform} moves the image {list(np.shape(get(batch, image)))}, and "
                    f"{name!r} {list(np.shape(value))} looks like a map of the same pixels, which "
                    f"would stay where it is: write Views(…, maps={(*maps, name)})"
                )


def split(batch: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Separates the fields of the partners, if there are any."""
    own = {name: value for name, value in batch.items() if name not in _OF_PARTNERS}
    partner = {name.removeprefix("partner_"): batch[name] for name in _OF_PARTNERS if name in batch}
    return own, partner if "inputs" in partner else None


def signed(values: Any) -> Any:
    """Returns a map whose values may be -1, which an unsigned integer cannot."""
    return values.astype(np.int32) if values.dtype.kind == "u" else values
