"""The command line of the rooms that have one: `jaxkd cache …` is `python -m jaxkd.cache …`."""

import argparse
import importlib
import sys
from collections.abc import Sequence

_ROOMS = {
    "cache": "look after caches: info, verify, stats, merge, subset, build",
    "export": "a network as StableHLO, for LiteRT, as safetensors, with a card",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a room's command; returns its exit status."""
    parser = argparse.ArgumentParser(
        prog="jaxkd",
        description="Knowledge distillation in JAX and Flax.",
        epilog="\n".join(f"{room}: {what}" for room, what in _ROOMS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("room", choices=list(_ROOMS), help="whose command; each has its own --help")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the command")
    given = parser.parse_args(arguments)
    # Only the room that is asked for: each imports much.
    room = importlib.import_module(f"jaxkd.{given.room}.__main__")
    return int(room.main(given.arguments, prog=f"jaxkd {given.room}"))


if __name__ == "__main__":
    sys.exit(main())
