"""Fields of a batch by dotted name, and the mask of one of several sets of labels."""

from collections.abc import Mapping
from typing import Any


def lookup_field(batch: Mapping[str, Any], path: str, who: str) -> Any:
    """Returns a field of a batch.

    Args:
      batch: fields by name, nested or not.
      path: name of the field, dotted where the batch is nested; a key may itself hold dots.
      who: who needs it, for the message.

    Raises:
      ValueError: the batch has no such field; names those that it has.
    """
    if path in batch:
        return batch[path]
    first, *rest = path.split(".")
    for cut in range(len(rest) + 1):
        inner = batch.get(".".join([first, *rest[:cut]]))
        if isinstance(inner, Mapping) and (value := _inside(inner, rest[cut:])) is not None:
            return value
    raise ValueError(f"{who} needs the field {path!r}; the batch has {_names(batch)}")


def labeled_of(batch: Mapping[str, Any], labels: str) -> dict[str, Any]:
    """Returns the mask of the labeled examples that belongs to one of several sets of labels.

    Args:
      batch: `"labeled"`, where it has one: a mask, or masks by dotted name of the set, of those
        sets that have one.
      labels: dotted name of the set, `"labels.color"`.

    Returns:
      `{"labeled": mask}` where there are masks of each set; empty where one mask is that of all.
    """
    masks = batch.get("labeled")
    if not isinstance(masks, Mapping):
        return {}
    return {"labeled": masks.get(labels.partition(".")[2])}


def _inside(tree: Any, names: list[str]) -> Any:
    for name in names:
        if not isinstance(tree, Mapping) or name not in tree:
            return None
        tree = tree[name]
    return tree


def _names(batch: Mapping[str, Any]) -> list[str]:
    """Returns the dotted names of all fields."""
    names = []
    for name, value in batch.items():
        inner = _names(value) if isinstance(value, Mapping) else []
        names += [f"{name}.{path}" for path in inner] or [name]
    return sorted(names)
