"""The report of an experiment: one HTML file that needs nothing else, and its terminal form."""

import dataclasses
import html
import importlib.resources
import os
import re
from collections.abc import Sequence

from jaxkd._files import print_any_text
from jaxkd.study._files import write_file
from jaxkd.study._provenance import TITLE
from jaxkd.study._report_packages import check_report_packages
from jaxkd.study._terms import terms_in
from jaxkd.study._wording import unbroken, with_minus
from jaxkd.study.comparison import Finding
from jaxkd.study.figures._figure import Figure
from jaxkd.study.pictures import Picture
from jaxkd.study.tables import Table

# The label and the color of each kind of finding. The label says the same as the color.
_LABELS = {"gain": "Gain", "none": "No difference shown", "loss": "Worse"}
_STYLES = {"gain": "green", "none": "yellow", "loss": "red"}


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a report; its contents appear in the order of the attributes.

    Attributes:
      title: heading of the section.
      text: plain text; an empty line starts a new paragraph.
      findings: results of this section.
      tables: tables.
      figures: figures, each with its own caption.
      pictures: pictures of single examples.

    Example:
      >>> helps = Finding("gain", "Distillation helps.")
      >>> section = Section("Accuracy", text="Three seeds each.", findings=[helps])
      >>> section.paragraphs, section.findings[0].kind
      (['Three seeds each.'], 'gain')
    """

    title: str
    text: str = ""
    findings: Sequence[Finding] = ()
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    pictures: Sequence[Picture] = ()

    @property
    def paragraphs(self) -> list[str]:
        """The paragraphs of the text."""
        return _paragraphs(self.text)


@dataclasses.dataclass(frozen=True)
class Report:
    """The report of a study.

    Attributes:
      title: title of the page.
      summary: summary of the experiment and its results. Plain text; an empty line starts a new
        paragraph.
      sections: sections of the page.
      headline: the conclusion as one sentence, which is shown first.

    Example:
      >>> report = Report(
      ...     title="Distilling on Fashion-MNIST",
      ...     summary="Unlabeled images help.",
      ...     sections=[
      ...         Section("Accuracy", findings=[Finding("gain", "Distillation helps.")]),
      ...     ],
      ... )
      >>> "<h1>Distilling on Fashion-MNIST</h1>" in report.to_html()
      True
    """

    title: str
    summary: str
    sections: Sequence[Section]
    headline: str = ""

    def __repr__(self) -> str:
        names = ", ".join(section.title for section in self.sections)
        return f"Report({self.title!r}; sections: {names or 'none'})"

    def to_html(self) -> str:
        """Returns the page, with style, tables and figures inside; it loads nothing."""
        check_report_packages()
        import jinja2

        environment = jinja2.Environment(
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        folder = importlib.resources.files("jaxkd.study")
        template = environment.from_string((folder / "report.html.j2").read_text(encoding="utf-8"))
        return template.render(
            report=self,
            summary=_paragraphs(self.summary),
            labels=_LABELS,
            terms=terms_in(self._words()),
            unbroken=unbroken,
            evidence=self._count_evidence(),
        )

    def _count_evidence(self) -> int:
        """How many sections come before that on how the report was made, which is the last."""
        titles = [section.title for section in self.sections]
        return len(titles) - (titles[-1:] == [TITLE])

    def _words(self) -> list[str]:
        """All text in which a term may stand."""
        words = [self.headline, self.summary]
        for section in self.sections:
            words += [section.text, *(finding.text for finding in section.findings)]
            for table in section.tables:
                words += [table.caption, *table.headings]
            words += [f"{figure.alt} {figure.caption}" for figure in section.figures]
        return words

    def _repr_html_(self) -> str:
        """What a notebook shows: the page in a frame of its own, whose style stays there."""
        page = html.escape(self.to_html())
        return f'<iframe srcdoc="{page}" style="width:100%;height:40em;border:0"></iframe>'

    def write_html(self, path: str | os.PathLike[str]) -> None:
        """Writes the page to a file atomically.

        Args:
          path: path of the file; an older one is replaced.
        """
        write_file(path, self.to_html())

    def print(self) -> None:
        """Prints text, findings and tables to the terminal."""
        from rich.console import Console
        from rich.text import Text

        print_any_text()
        console = Console()
        console.rule(Text(self.title, style="bold"))
        if self.headline:
            console.print(Text(self.headline, style="bold"))
        for paragraph in _paragraphs(self.summary):
            console.print(Text(paragraph))
        for section in self.sections:
            console.print()
            console.print(Text(section.title, style="bold underline"))
            for paragraph in section.paragraphs:
                console.print(Text(paragraph))
            for finding in section.findings:
                text = finding.label or _LABELS[finding.kind]
                label = Text(text, style=f"bold {_STYLES[finding.kind]}")
                console.print(label + Text(f"  {finding.text}"))
            for table in section.tables:
                table.print()
            for picture in section.pictures:
                console.print(Text(picture.alt))


def _paragraphs(text: str) -> list[str]:
    parts = re.split(r"\n\s*\n", with_minus(text))
    return [" ".join(part.split()) for part in parts if part.strip()]
