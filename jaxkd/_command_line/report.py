"""Makes the report of a folder again, from the numbers that are in it."""

import pathlib
from collections.abc import Sequence

from jaxkd._files import local_path
from jaxkd._parser import Parser


def make_parser(prog: str = "jaxkd report") -> Parser:
    """Returns the parser of the command."""
    parser = Parser(prog=prog, description=__doc__)
    parser.add_argument("folder", help="the --out of jaxkd distill or jaxkd tune")
    parser.add_argument("--title", help="title of the report (default: as before)")
    return parser


def main(arguments: Sequence[str], prog: str = "jaxkd report") -> int:
    """Runs the command; returns the exit status."""
    given = make_parser(prog).parse_args(arguments)
    _run(local_path(given.folder), given.title)
    return 0


def _run(out: pathlib.Path, title: str | None) -> None:
    from jaxkd._command_line import _outcome
    from jaxkd.study._report_packages import check_report_packages
    from jaxkd.study._saved_results import read_results, read_tuning

    called = _outcome.recorded_command(out)
    check_report_packages()
    title = title or called["title"]
    if called["command"] == "tune":
        tuning = read_tuning(out / "study")
        report = tuning.report(title)
        document = {
            "chosen": tuning.chosen.document(),
            "tried": tuning.tried.document(),
            "confirmed": tuning.confirmed.document(),
        }
    else:
        results = read_results(out / "study")
        report, document = results.report(title), results.document()
    _outcome.write_report(out, report, document)
    report.print()
    print(f"\nThe report: {out / 'report.html'}")
