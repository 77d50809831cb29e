"""The help of an experiment: its options with their defaults and ranges, and errors of one line."""

import dataclasses
import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NoReturn

from absl import flags

_HELP = ("-h", "--help", "-help", "--helpshort", "-helpshort")
_RANGES = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}


def parse(arguments: list[str], config: Any, modules: list[Any]) -> list[str]:
    """Parses the flags of an experiment; `--help` and a wrong flag end the process.

    Args:
      arguments: of the process, its name first.
      config: the default configuration.
      modules: those whose flags are shown, the one with the experiment's text first.

    Returns:
      What is no flag.
    """
    given = [each for each in arguments[1:] if each.startswith("-")]
    if any(each in _HELP for each in given):
        print(text(config, modules))
        sys.exit(0)
    try:
        return list(flags.FLAGS(arguments))
    except flags.UnrecognizedFlagError as error:
        # "--alpha" is meant for "--config.alpha", too.
        known = {name.rpartition(".")[2].lstrip("-"): name for name, _ in options(config, modules)}
        near = difflib.get_close_matches(error.flagname, known, n=2)
        refuse(f"there is no option --{error.flagname}{_meant([known[each] for each in near])}")
    except flags.Error as error:
        refuse(" ".join(str(error).split()))


def check_fields(arguments: Sequence[str], config: Any) -> None:
    """Ends the process at a flag of a field that the configuration does not have.

    Args:
      arguments: of the process.
      config: the default configuration.
    """
    known = [name for name, _ in _fields(config, "--config.")]
    for each in arguments:
        name = "--" + each.lstrip("-").partition("=")[0]
        if each.startswith("-") and name.startswith("--config.") and name not in known:
            near = difflib.get_close_matches(name, known, n=2)
            refuse(f"there is no option {name}{_meant(near)}")


def text(config: Any, modules: list[Any]) -> str:
    """Returns the help.

    Args:
      config: the default configuration.
      modules: as of `parse`.

    Returns:
      What the experiment is, and its options.
    """
    lines = [(modules[0].__doc__ or "").strip(), "", "Options:"]
    for name, what in options(config, modules):
        lines.append(f"  {name}")
        if what:
            lines.append(f"      {what}")
    return "\n".join(lines)


def options(config: Any, modules: list[Any]) -> Iterator[tuple[str, str]]:
    """Yields the options of an experiment: name, and default with range or what it is for.

    Args:
      config: the default configuration.
      modules: as of `parse`.

    Yields:
      Name and text.
    """
    yield from _fields(config, "--config.")
    for module in modules:
        for flag in flags.FLAGS.get_flags_for_module(module.__name__):
            if flag.name != "config":
                shown = "" if flag.default is None else f" (default: {flag.default})"
                yield f"--{flag.name}", f"{flag.help}{shown}"


def module_name() -> str:
    """Returns the name under which `python -m` started this process."""
    specification = getattr(sys.modules["__main__"], "__spec__", None)
    return specification.name.removesuffix(".__main__") if specification else sys.argv[0]


def _fields(config: Any, prefix: str) -> Iterator[tuple[str, str]]:
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            yield from _fields(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name, f"default: {value!r}{_range(field.metadata)}"


def _range(metadata: Mapping[str, Any]) -> str:
    limits = [f"{sign} {metadata[name]:g}" for name, sign in _RANGES.items() if name in metadata]
    if choices := metadata.get("choices"):
        several = "some of " if metadata.get("several") else "one of "
        limits.append(several + ", ".join(map(str, choices)))
    return f"; {' and '.join(limits)}" if limits else ""


def _meant(near: Sequence[str]) -> str:
    return f" (did you mean {' or '.join(near)}?)" if near else ""


def refuse(message: str) -> NoReturn:
    """Ends the process with one line and the exit code of a wrong option."""
    print(f"{message}; see --help", file=sys.stderr)
    sys.exit(2)
