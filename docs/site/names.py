"""The public names of jaxkd: what packages that are reached without underscores list."""

import dataclasses
import importlib
import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import jaxkd


@dataclasses.dataclass(frozen=True)
class PublicName:
    """One public object.

    Attributes:
      name: its shortest dotted path, `jaxkd.losses.dkd`.
      value: the object.
      aliases: longer paths to the same object.
    """

    name: str
    value: Any
    aliases: tuple[str, ...] = ()

    @property
    def package(self) -> str:
        """Dotted name of the package or module that has it."""
        return self.name.rpartition(".")[0]

    @property
    def definition(self) -> Any:
        """The class or function of this library behind it, or None: a constant, a type alias."""
        value = inspect.unwrap(getattr(self.value, "fun", self.value))
        code = inspect.isclass(value) or inspect.isfunction(value)
        return value if code and value.__module__.startswith("jaxkd.") else None

    @property
    def doc(self) -> str:
        """Its docstring without the indentation, empty for constants and type aliases."""
        return "" if self.definition is None else inspect.getdoc(self.definition) or ""


def modules() -> dict[str, ModuleType]:
    """The public packages and modules by dotted name, `jaxkd` itself first."""
    return dict(_walk("jaxkd", jaxkd))


def public_names() -> list[PublicName]:
    """Every public object once, sorted by its shortest path."""
    paths: dict[int, list[str]] = {}
    values: dict[int, Any] = {}
    for package, module in modules().items():
        for name in _listed(module):
            value = getattr(module, name)
            if not isinstance(value, ModuleType):
                values[id(value)] = value
                paths.setdefault(id(value), []).append(f"{package}.{name}")
    found = []
    for key, all_paths in paths.items():
        shortest, *others = sorted(all_paths, key=lambda path: (path.count("."), path))
        found.append(PublicName(shortest, values[key], tuple(others)))
    return sorted(found, key=lambda public: public.name)


def _walk(path: str, module: ModuleType) -> Iterator[tuple[str, ModuleType]]:
    yield path, module
    for name in _listed(module):
        value = getattr(module, name)
        if isinstance(value, ModuleType) and value.__name__.startswith("jaxkd."):
            yield from _walk(f"{path}.{name}", importlib.import_module(value.__name__))


def _listed(module: ModuleType) -> list[str]:
    """What a module lists, or what is defined in it, if it lists nothing."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return [name for name in listed if not name.startswith("_")]
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    ]
