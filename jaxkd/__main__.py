"""The command line of the packages that have one: `jaxkd cache …` is `python -m jaxkd.cache …`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

_PACKAGES = {
    "cache": "inspect and maintain caches: info, verify, stats, merge, subset, build",
    "export": "write a network as StableHLO, for LiteRT or as safetensors, with a model card",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command of a package.

    Args:
      arguments: name of the package and its arguments; None for those of the process.

    Returns:
      The exit status.
    """
    parser = argparse.ArgumentParser(
        prog="jaxkd",
        description="Knowledge distillation in JAX and Flax.",
        epilog="\n".join(f"{package}: {what}" for package, what in _PACKAGES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "package", choices=list(_PACKAGES), help="package whose command to run; see its --help"
    )
    parser.add_argument(
        "arguments", nargs=argparse.REMAINDER, help="arguments of the package's command"
    )
    parsed = parser.parse_args(arguments)
    # Only the package that is run: each imports much.
    package = importlib.import_module(f"jaxkd.{parsed.package}.__main__")
    return int(package.main(parsed.arguments, prog=f"jaxkd {parsed.package}"))


if __name__ == "__main__":
    sys.exit(main())
