"""What all reports of the experiments share: rows of tables, and the files of a report."""

import dataclasses
import pathlib

from jaxkd.metrics import Spread
from jaxkd.study import Report
from jaxkd.study._conclusion import RULE
from jaxkd.study._provenance import provenance
from jaxkd.study.runner import file_name

Row = list[str | int | float | Spread]


def save(report: Report, workdir: pathlib.Path, rule: str = RULE) -> Report:
    """Writes `report.html`, one CSV file a table and one file a figure.

    Args:
      report: the report without its last section.
      workdir: folder of the files.
      rule: how its conclusion is drawn.

    Returns:
      The report as it was given: what the terminal shows leaves out how it was made.
    """
    last = dataclasses.replace(provenance(), text=rule if report.headline else "")
    whole = dataclasses.replace(report, sections=[*report.sections, last])
    whole.write_html(workdir / "report.html")
    for section in report.sections:
        for table in section.tables:
            table.write_csv(workdir / f"{file_name(table.title)}.csv")
        for index, figure in enumerate(section.figures):
            figure.write(workdir / f"{file_name(section.title)}_{index}.{figure.file_format}")
    return report
