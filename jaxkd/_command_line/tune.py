"""Chooses temperature, weight and method on validation, and confirms the choice on fresh seeds.

Killed anywhere and started again with the same command, it goes on.
"""

import argparse
from collections.abc import Sequence
from typing import Any

from jaxkd._command_line._options import (
    add_study_options,
    named_value,
    number_or_text,
    out_folder,
)
from jaxkd._parser import Parser, add_list

_EXAMPLE = (
    "example: jaxkd tune --data pets/ --teacher teacher.onnx --student mobilenet_v3_small "
    "--out runs/tuned --temperature 1,2,4 --alpha 0.5,0.9 --epochs 30 --tuning-epochs 5"
)


def make_parser(prog: str = "jaxkd tune") -> Parser:
    """Returns the parser of the command."""
    parser = Parser(prog=prog, description=__doc__, epilog=_EXAMPLE)
    add_study_options(parser, seeds=3)
    grid = parser.add_argument_group("what is tried")
    add_list(grid, "--method", default=["kd"], help="names of recipes")
    add_list(grid, "--temperature", float, default=[1.0, 2.0, 4.0, 8.0], help="temperatures")
    add_list(grid, "--alpha", float, default=[0.5, 0.9, 1.0], help="weights of the teacher")
    grid.add_argument(
        "--option",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUES",
        help="values of a further option, which commas separate; may be repeated",
    )
    grid.add_argument("--samples", type=int, help="settings to try, at random (default: all)")
    grid.add_argument(
        "--tuning-seeds", type=int, default=2, help="seeds of each setting, other than --seeds"
    )
    shorter = grid.add_mutually_exclusive_group()
    shorter.add_argument(
        "--tuning-epochs",
        type=float,
        help="passes over the training examples of each setting (default: as long as the "
        "confirming trainings, --epochs, --steps or --seconds)",
    )
    shorter.add_argument("--tuning-steps", type=int, help="the same as a number of updates")
    return parser


def main(arguments: Sequence[str], prog: str = "jaxkd tune") -> int:
    """Runs the command; returns the exit status."""
    given = make_parser(prog).parse_args(arguments)
    _run(given, arguments)
    return 0


def _run(given: argparse.Namespace, arguments: Sequence[str]) -> None:
    # Imported once it is known that there is something to do.
    from jaxkd._command_line import _outcome
    from jaxkd._command_line._study import opened
    from jaxkd.study import Study
    from jaxkd.study._report_packages import check_report_packages
    from jaxkd.study._study_arguments import checked_seeds
    from jaxkd.study.tuning import settings_of

    out = out_folder(given)
    check_report_packages()
    axes = _axes(given)
    # Before a teacher is trained.
    settings_of(given.method, dict(sorted(axes.items())), given.samples)
    checked_seeds(given.tuning_seeds)
    title = given.title or f"Tuning {given.student} on {given.data.rstrip('/').rpartition('/')[2]}"
    what = opened(given, out)
    _outcome.record_command(out, "tune", arguments, title)
    study = Study(
        what.parts, what.student, what.teacher, arms=["labels"], workdir=out / "study",
        **what.options,
    )  # fmt: skip
    tuning = study.tune(
        given.method,
        samples=given.samples,
        seeds=given.tuning_seeds,
        steps=given.tuning_steps,
        epochs=given.tuning_epochs,
        progress=not given.quiet,
        **axes,
    )
    report = tuning.report(title)
    document = {
        "chosen": tuning.chosen.document(),
        "tried": tuning.tried.document(),
        "confirmed": tuning.confirmed.document(),
    }
    _outcome.write_report(out, report, document)
    report.print()
    print(f"\nThe report: {out / 'report.html'}")


def _axes(given: argparse.Namespace) -> dict[str, Any]:
    """Returns the values to try by option; the defaults only of what a method takes."""
    from jaxkd.study import Arm

    axes = {name: [number_or_text(part) for part in text.split(",")] for name, text in given.option}
    parser = make_parser()
    taken = frozenset[str]().union(*(Arm(method).option_names for method in given.method))
    for name in ("temperature", "alpha"):
        values = getattr(given, name)
        if name in taken or values != parser.get_default(name):
            axes[name] = values
    return axes
