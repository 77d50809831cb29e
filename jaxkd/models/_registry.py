"""Networks by name, and what is known of each before it is made."""

import dataclasses
import difflib
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp
from flax import nnx

from jaxkd.models._layers import make_norm


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network that can be made by name.

    Attributes:
      name: name for `create`.
      family: family of networks, such as `"resnet"`.
      make: `make(num_classes=, in_channels=, image_size=, norm=, rngs=)` returns the module.
      image_size: height and width of the images in the publication.
      num_classes: number of classes in the publication.
      parameters: published number of parameters with these; None where none was published.
      reference: paper and year.
      fixed_size: whether it takes only images of the size that it was made for.
      norms: normalizations that it can have, the published one first.

    Example:
      >>> def make(num_classes, in_channels, image_size, norm, rngs):
      ...     return nnx.Linear(image_size**2 * in_channels, num_classes, rngs=rngs)
      >>> entry = Entry("linear", "linear", make, 28, 10, 7850, "Own work, 2026")
      >>> entry.norms, entry.fixed_size
      (('batch', 'group'), False)
    """

    name: str
    family: str
    make: Callable[..., nnx.Module]
    image_size: int
    num_classes: int
    parameters: int | None
    reference: str
    fixed_size: bool = False
    norms: tuple[str, ...] = ("batch", "group")


def maker(network: Callable[..., nnx.Module], *leading: Any, **options: Any) -> Any:
    """Returns an `Entry.make` for a network that takes images of any size.

    Args:
      network: called as `network(*leading, in_channels, num_classes, norm=, rngs=, **options)`.
      *leading: arguments before these.
      **options: further keywords.
    """

    def make(
        *, num_classes: int, in_channels: int, image_size: int, norm: str, rngs: nnx.Rngs
    ) -> nnx.Module:
        del image_size
        return network(
            *leading, in_channels, num_classes, norm=make_norm(norm), rngs=rngs, **options
        )

    return make


class Registry:
    """Entries by name, in the order in which they were added."""

    def __init__(self, entries: Iterable[Entry]):
        self._entries: dict[str, Entry] = {}
        for entry in entries:
            if entry.name in self._entries:
                raise ValueError(f"two networks are called {entry.name!r}")
            self._entries[entry.name] = entry

    def names(self, family: str | None = None) -> list[str]:
        """Lists the names of all networks, or of one family."""
        return [e.name for e in self._entries.values() if family in (None, e.family)]

    def entry(self, name: str) -> Entry:
        """Returns the entry of a network.

        Raises:
          ValueError: there is no such name; the message lists those there are.
        """
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3)
            meant = f" (did you mean {' or '.join(near)}?)" if near else ""
            raise ValueError(
                f"there is no network {name!r}{meant}; there are {', '.join(self._entries)}"
            )
        return self._entries[name]

    def create(
        self,
        name: str,
        *,
        num_classes: int | None = None,
        in_channels: int = 3,
        image_size: int | None = None,
        norm: str | None = None,
        dtype: Any = None,
        rngs: nnx.Rngs,
    ) -> nnx.Module:
        """Makes a network by name; see `jaxkd.models.create`."""
        entry = self.entry(name)
        norm = entry.norms[0] if norm is None else norm
        if norm not in entry.norms:
            raise ValueError(f"{name} can have the norms {list(entry.norms)}, not {norm!r}")
        for what, value in {
            "num_classes": num_classes,
            "in_channels": in_channels,
            "image_size": image_size,
        }.items():
            if value is not None and value < 1:
                raise ValueError(f"{what} must be at least 1, not {value}")
        model = entry.make(
            num_classes=entry.num_classes if num_classes is None else num_classes,
            in_channels=in_channels,
            image_size=image_size or entry.image_size,
            norm=norm,
            rngs=rngs,
        )
        if dtype is not None:
            if not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(f"a network computes in floating point, not in {dtype}")
            model.set_attributes(dtype=jnp.dtype(dtype), raise_if_not_found=False)
        return model
