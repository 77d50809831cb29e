"""The command line: `jaxkd distill`, `tune`, `report`, `cache` and `export`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

from jaxkd._files import print_any_text
from jaxkd._guard import guarded
from jaxkd._parser import Parser, meant

_COMMANDS = {
    "distill": (
        "jaxkd._command_line.distill",
        "distill a teacher into a student: report, weights, files for devices",
    ),
    "tune": ("jaxkd._command_line.tune", "choose temperature, weight and method"),
    "report": ("jaxkd._command_line.report", "make the report of a folder again"),
    "cache": (
        "jaxkd.cache.__main__",
        "inspect and maintain caches: info, verify, stats, merge, subset, convert, build",
    ),
    "export": (
        "jaxkd.export.__main__",
        "write a network as StableHLO, for LiteRT, ONNX or as safetensors, with a model card",
    ),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
      arguments: name of the command and its arguments; None for those of the process.

    Returns:
      The exit status: 0, 1 after an error, 2 of a wrong option, 75 when SIGTERM stopped it and 130
      when Ctrl-C did; then the same command goes on.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    print_any_text()
    parser = Parser(
        prog="jaxkd",
        description="Knowledge distillation in JAX and Flax.",
        epilog="commands:\n"
        + "\n".join(f"{name}: {what}" for name, (_, what) in _COMMANDS.items())
        + "\n\njaxkd COMMAND --help lists the options of a command.",
    )
    parser.add_argument("--version", action="version", version=f"jaxkd {_version()}")
    parser.add_argument("command", metavar="COMMAND", nargs="?", help="see below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    parsed = parser.parse_args(arguments)
    if parsed.command is None:
        parser.error(f"name a command: {', '.join(_COMMANDS)}")
    if parsed.command not in _COMMANDS:
        near = meant(parsed.command, _COMMANDS)
        parser.error(f"invalid choice: there is no command {parsed.command}{near}")

    def run() -> int:
        # Only the command that is run: each imports much.
        module = importlib.import_module(_COMMANDS[parsed.command][0])
        return int(module.main(parsed.arguments, prog=f"jaxkd {parsed.command}"))

    return guarded(run, ["jaxkd", *arguments])


def _version() -> str:
    import jaxkd

    return str(jaxkd.__version__)


if __name__ == "__main__":
    sys.exit(main())
