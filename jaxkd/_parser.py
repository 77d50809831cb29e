"""Arguments of the command line: real defaults in the help, near names in errors, lists."""

import argparse
import difflib
import itertools
import re
from collections.abc import Callable, Sequence
from typing import Any, NoReturn


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line that says which option may have been meant.

    Names may have hyphens or underscores, and are given whole: an abbreviation would change its
    meaning with the next option.

    Args:
      **options: as of `argparse.ArgumentParser`.
    """

    def __init__(self, **options: Any):
        super().__init__(**{"formatter_class": _Help, "allow_abbrev": False, **options})

    def error(self, message: str) -> NoReturn:
        """Prints one line and ends the process with the status 2."""
        if chosen := re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message):
            word, known = chosen[1], re.findall(r"[\w-]+", chosen[2])
            message = f"there is no {word!r}{meant(word, known)}; there are {', '.join(known)}"
        if value := re.search(r"invalid (int|float) value: (.*)", message):
            kind = {"int": "integer", "float": "number"}[value[1]]
            message = f"{message[: value.start()]}{value[2]} is no {kind}"
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses the arguments; none may be left over."""
        if args is not None:
            # What follows the first word may be for another parser.
            own = itertools.takewhile(lambda word: word.startswith("--"), args)
            count = len(list(own)) if self._passes_on() else len(args)
            args = [*self._checked(list(args[:count])), *args[count:]]
        found, extras = super().parse_known_args(args, namespace)
        if extras:
            self.error(f"there is nothing that {' '.join(extras)} could mean here")
        return found, extras

    def _passes_on(self) -> bool:
        """Whether what follows is for another parser."""
        rest = (argparse.REMAINDER, argparse.PARSER)
        return any(action.nargs in rest for action in self._actions)

    def _checked(self, args: list[str]) -> list[str]:
        """Spells the options as they are declared, and refuses others."""
        known = {name.replace("_", "-"): name for name in self._option_string_actions}
        end = args.index("--") if "--" in args else len(args)
        checked = []
        for arg in args[:end]:
            if not arg.startswith("--"):
                checked.append(arg)
                continue
            given, equals, value = arg.partition("=")
            name = known.get(given.replace("_", "-"))
            if name is None:
                self.error(f"there is no option {given}{meant(given, known.values())}")
            # More words may follow the first one of a list, which argparse takes after a space.
            is_list = isinstance(self._option_string_actions[name], _Extend)
            checked += [name, value] if equals and is_list else [name + equals + value]
        return checked + args[end:]


def meant(word: str, known: Any) -> str:
    """Returns the end of a message about an unknown name: the closest of the known ones, if any."""
    close = difflib.get_close_matches(word, list(known), n=2)
    return f" (did you mean {' or '.join(close)}?)" if close else ""


def add_list(
    parser: Any,
    name: str,
    convert: Callable[[str], Any] = str,
    *,
    choices: Sequence[str] = (),
    **options: Any,
) -> None:
    """Adds an option of several values, which commas or spaces separate.

    Args:
      parser: parser or group.
      name: name of the option.
      convert: what makes a value of a text.
      choices: the values that there are; empty for any.
      **options: as of `add_argument`.
    """

    kind = {float: "number", int: "integer"}.get(convert, "name")  # type: ignore[call-overload]

    def value_of(part: str) -> Any:
        try:
            return convert(part)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{part!r} is no {kind}") from error

    def split(text: str) -> list[Any]:
        values = [value_of(part) for part in text.split(",") if part]
        for value in values:
            if choices and value not in choices:
                raise argparse.ArgumentTypeError(
                    f"there is no {value!r}{meant(value, choices)}; there are {', '.join(choices)}"
                )
        return values

    parser.add_argument(name, nargs="+", type=split, action=_Extend, **options)


class _Extend(argparse.Action):
    """Joins the lists of all words that were given; they replace the default."""

    def __call__(self, parser: Any, namespace: Any, values: Any, option: Any = None) -> None:
        setattr(namespace, self.dest, [value for part in values for value in part])


class _Help(argparse.RawDescriptionHelpFormatter):
    """Shows the default of every option that has one."""

    def _get_help_string(self, action: argparse.Action) -> str:
        text, default = action.help or "", action.default
        nothing = default is None or default is False or default == []
        if nothing or default == argparse.SUPPRESS or "default" in text:
            return text
        if isinstance(default, list | tuple):
            default = " ".join(map(str, default))
        shown = str(default).replace("%", "%%")
        return f"{text} (default: {shown})" if action.option_strings else text
