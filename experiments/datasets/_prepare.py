"""The command line with which a data set is prepared from published files."""

import argparse
from collections.abc import Callable
from typing import Any

from jaxkd._files import print_any_text


def command_line(
    module: str,
    title: str,
    task: str,
    *,
    source: tuple[str, str],
    default: str | None,
    data_dir: str,
    prepare: Callable[..., Any],
    load: Callable[..., Any],
    done: str,
) -> None:
    """Runs `python -m experiments.datasets.<module> prepare` and prints the splits, read back.

    Args:
      module: name of the data set's module.
      title: what the data set is.
      task: what is done.
      source: the option that names the published files, and its help.
      default: where they are by default; None if the option must be given.
      data_dir: help of the option `--data_dir`.
      prepare: `prepare(source, data_dir)` returns where it wrote.
      load: `load(split, data_dir=…)`.
      done: what is printed, with `{path}` for where it wrote.

    Raises:
      SystemExit: 1, behind a message on stderr, if the files are not there or not what they should
        be, or a package is missing; 2 if the arguments are wrong.
    """
    print_any_text()
    parser = argparse.ArgumentParser(
        prog=f"python -m experiments.datasets.{module}", description=f"{title} for jaxkd."
    )
    command = parser.add_subparsers(required=True).add_parser("prepare", help=task)
    option, about = source
    command.add_argument(
        option, dest="source", default=default, required=default is None, help=about
    )
    command.add_argument("--data_dir", default=None, help=data_dir)
    args = parser.parse_args()
    try:
        path = prepare(args.source, args.data_dir)
        splits = [load(split, data_dir=args.data_dir) for split in ("train", "test")]
    except (ImportError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    print(done.format(path=path))
    print(*splits, sep="\n")
