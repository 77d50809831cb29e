"""Distills a teacher into a student: a report, the student's weights and files for devices.

Killed anywhere and started again with the same command, it goes on.
"""

import argparse
import pathlib
from collections.abc import Sequence

from jaxkd._command_line._options import (
    add_study_options,
    named_value,
    number_or_text,
    out_folder,
)
from jaxkd._parser import Parser, add_list

_EXAMPLE = (
    "example: jaxkd distill --data pets/ --teacher teacher.onnx --student mobilenet_v3_small "
    "--out runs/pets"
)
_FORMATS = ("stablehlo", "tflite", "tflite-int8", "onnx", "safetensors")


def make_parser(prog: str = "jaxkd distill") -> Parser:
    """Returns the parser of the command."""
    parser = Parser(prog=prog, description=__doc__, epilog=_EXAMPLE)
    add_study_options(parser, seeds=3)
    method = parser.add_argument_group("method")
    method.add_argument("--method", default="kd", help="name of a recipe or strategy")
    method.add_argument("--temperature", type=float, help="of the method (default: its own, 4)")
    method.add_argument("--alpha", type=float, help="weight of the teacher (default: 0.9 of kd)")
    method.add_argument(
        "--option",
        action="append",
        type=named_value,
        default=[],
        metavar="NAME=VALUE",
        help="a further option of the method; may be repeated",
    )
    method.add_argument(
        "--no-compare",
        action="store_true",
        help="train no student on labels alone: half the time, and no word whether it helps",
    )
    add_list(
        parser,
        "--format",
        choices=_FORMATS,
        default=["safetensors"],
        help=f"files to export besides the weights: {', '.join(_FORMATS)}",
    )
    return parser


def main(arguments: Sequence[str], prog: str = "jaxkd distill") -> int:
    """Runs the command; returns the exit status."""
    given = make_parser(prog).parse_args(arguments)
    _run(given, arguments)
    return 0


def _run(given: argparse.Namespace, arguments: Sequence[str]) -> None:
    # Imported once it is known that there is something to do.
    import jaxkd
    from jaxkd._command_line import _outcome
    from jaxkd._command_line._study import opened
    from jaxkd.study import Arm
    from jaxkd.study._report_packages import check_report_packages

    out = out_folder(given)
    arm = Arm(given.method, method_options(given))
    check_report_packages()
    _outcome.check_formats(out, given.format)
    title = given.title or f"{given.student} on {given.data.rstrip('/').rpartition('/')[2]}"
    what = opened(given, out)
    _outcome.record_command(out, "distill", arguments, title)
    distilled = jaxkd.distill(
        what.student,
        what.teacher,
        what.parts,
        method=arm,
        compare=not given.no_compare,
        workdir=out / "study",
        title=title,
        progress=not given.quiet,
        **what.options,
    )
    _outcome.write_report(out, distilled.report, distilled.results.document())
    held_out = what.parts.get("test", what.parts["validation"])
    card = _outcome.card_of(
        given.student, given.teacher, pathlib.Path(given.data).name, arm.name, distilled.results,
        len(what.parts["train"]),
    )  # fmt: skip
    folder = _outcome.export_student(
        out, distilled.network, held_out, what.views, given.format, card
    )
    distilled.report.print()
    print(f"\nThe report: {out / 'report.html'}\nThe student: {folder}")


def method_options(given: argparse.Namespace) -> dict[str, object]:
    """Returns the options of the method, those that were given."""
    options = {name: number_or_text(value) for name, value in given.option}
    for name in ("temperature", "alpha"):
        if getattr(given, name) is not None:
            options[name] = getattr(given, name)
    return options
