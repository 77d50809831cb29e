"""The section on examples that teacher and student predict differently, shown as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxkd.study._differing import Differing, Example, differing
from jaxkd.study.pictures import Picture
from jaxkd.study.report import Section
from jaxkd.study.tables import Cell, Column, Table

if TYPE_CHECKING:
    from jaxkd.study.results import StudyResults

TITLE = "Where teacher and student differ"


def differing_section(results: StudyResults, arm: str) -> Section | None:
    """Makes the section, from the logits of the teacher and of an arm's first seed.

    Args:
      results: results of the study.
      arm: the arm that the report is about.

    Returns:
      How often each of the two is right; examples as pictures, or in a table where they are not
      images. None where labels are not classes, or the outputs of the teacher are not known.
    """
    found = differing(results, arm)
    if found is None:
        return None
    pictures, rows = [], []
    for example in found.examples:
        shown = results.shown_inputs.get(example.position)
        lines = _lines(results, example)
        if isinstance(shown, str):
            rows.append([f"{example.position + 1}", example.case, *lines.values(), shown])
        elif shown is not None:
            texts = [f"{name}: {value}" for name, value in lines.items()]
            pictures.append(Picture(shown, example.case, texts))
    tables = [_counts(found)]
    if rows:
        tables.append(Table("Examples", ["Row", "Who is right", *_NAMES, "Input"], rows))
    total = sum(found.counts.values())
    text = f"""On {found.differ:,} of the {total:,} labeled {results.shown_part} examples the
        teacher and the student ({arm}, seed {results.seeds[0]}) predict different classes."""
    if pictures or rows:
        where = "Pictures show" if pictures else "The second table shows"
        text += f""" {where} {len(pictures or rows)} of them, of each case those on which the one
            that is wrong is the most confident, with the probabilities of the predicted classes."""
    return Section(TITLE, text, tables=tables, pictures=pictures)


_NAMES = ("Label", "Teacher", "Student")


def _lines(results: StudyResults, example: Example) -> dict[str, str]:
    """What a reader needs to know of an example."""
    names = results.class_names

    def name(label: int) -> str:
        return names[label] if label < len(names) else str(label)

    teacher, student = (
        f"{name(label)}, {confidence:.0%}"
        for label, confidence in (example.teacher, example.student)
    )
    return dict(zip(_NAMES, (name(example.label), teacher, student), strict=True))


def _counts(found: Differing) -> Table:
    total = max(1, sum(found.counts.values()))
    rows: list[list[Cell]] = [[case, n, n / total] for case, n in found.counts.items()]
    return Table(
        "Who is right", ["Case", Column("Examples", "count"), Column("Share", "percent")], rows
    )
