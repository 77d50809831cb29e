"""What a command leaves behind: the report in three formats, and files for devices."""

import json
import pathlib
import shlex
import shutil
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxkd._files import escape_markdown, read_json, write_atomically
from jaxkd.data import Examples
from jaxkd.export import ModelCard
from jaxkd.networks import Network
from jaxkd.study import Report, StudyResults
from jaxkd.study._wording import counted
from jaxkd.views import Normalize, Views

FORMATS = {
    "stablehlo": "stablehlo",
    "tflite": "litert",
    "tflite-int8": "litert_int8",
    "onnx": "onnx",
    "safetensors": "safetensors",
}
STUDENT = "student"
_COMMAND = "command.json"
_EXAMPLES = 64


def record_command(out: pathlib.Path, command: str, arguments: Sequence[str], title: str) -> None:
    """Writes what was called, for the report that is made again."""
    out.mkdir(parents=True, exist_ok=True)
    line = shlex.join(["jaxkd", command, *arguments])
    document = {"command": command, "line": line, "title": title}
    write_atomically(out / _COMMAND, json.dumps(document, indent=2) + "\n")


def recorded_command(out: pathlib.Path) -> dict[str, Any]:
    """Reads what was called in a folder.

    Args:
      out: the folder.

    Returns:
      What `record_command` wrote.

    Raises:
      FileNotFoundError: nothing was.
    """
    file = out / _COMMAND
    if not file.exists():
        raise FileNotFoundError(
            f"{out} is no folder of jaxkd distill or jaxkd tune: {_COMMAND} is not there"
        )
    return dict(read_json(file))


def write_report(out: pathlib.Path, report: Report, document: dict[str, Any]) -> None:
    """Writes `report.html`, `report.md` and `report.json`.

    Args:
      out: their folder.
      report: the report.
      document: all numbers, as plain data.
    """
    report.write_html(out / "report.html")
    write_atomically(out / "report.md", _markdown(report))
    text = json.dumps(document, indent=2, allow_nan=False)
    write_atomically(out / "report.json", text + "\n")


def _markdown(report: Report) -> str:
    lines = [report.headline, *_lines(report.summary)]
    parts = [f"# {escape_markdown(report.title)}", *map(escape_markdown, lines)]
    for section in report.sections:
        parts.append(f"## {escape_markdown(section.title)}")
        parts += map(escape_markdown, section.paragraphs)
        parts += [f"- {escape_markdown(finding.text)}" for finding in section.findings]
        for table in section.tables:
            parts += [table.to_markdown(), escape_markdown(table.caption)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _lines(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split("\n\n")]


def check_formats(out: pathlib.Path, formats: Sequence[str]) -> None:
    """Refuses files that could not be made at the end.

    Raises:
      ImportError: a package is missing; names the extra.
      ValueError: the student is exported already, in other formats.
    """
    from jaxkd.export import _export

    directory = out / STUDENT
    if not directory.exists():
        _export._check_request(directory, _own(formats), {"litert_batch": 1})
    elif missing := [name for name in formats if not _file(directory, name).exists()]:
        raise ValueError(
            f"{directory} was exported without {', '.join(missing)}: delete it, and the same "
            "command writes it again"
        )


def card_of(
    student: str, teacher: str, data: str, arm: str, results: StudyResults, examples: int
) -> ModelCard:
    """Says on a model card how the exported student, that of the first seed, came about.

    Args:
      student: its name, as it was given.
      teacher: the teacher, as it was given.
      data: the data, as they were given.
      arm: name of its arm.
      results: results of the study.
      examples: number of training examples.

    Returns:
      The card, without the licenses, which only people know.
    """
    result = results[arm]
    part, scores = results.part, result.validation
    if result.test is not None:
        part, scores = "test", result.test
    share = results.teacher.get(part, {}).get("accuracy")
    return ModelCard(
        name=student,
        teacher=teacher if share is None else f"{teacher}, accuracy {100 * share:.2f} % ({part})",
        data=f"{data}, {counted(examples, 'training example')}",
        method=f"{arm}, {counted(result.steps, 'step')}, seed {results.seeds[0]}",
        accuracy={part: scores["accuracy"][0]} if "accuracy" in scores else None,
        task="image-classification",
    )


def export_student(
    out: pathlib.Path,
    network: Network,
    test: Examples,
    views: Views,
    formats: Sequence[str],
    card: ModelCard,
) -> pathlib.Path:
    """Exports the student; its programs take pixels, and normalize them.

    Args:
      out: folder in which the folder of the files is made, unless it is there.
      network: the student.
      test: examples that the files are verified on.
      views: how the student saw them.
      formats: names in `FORMATS`.
      card: what its card says.

    Returns:
      The folder.

    Raises:
      ValueError: it holds another student, of another method or other seeds.
    """
    from jaxkd.export import export

    directory = out / STUDENT
    for partial in out.glob(f".{STUDENT}.partial.*"):  # of an export that was killed
        shutil.rmtree(partial)
    if not directory.exists():
        normalize = next(t for t in views.transforms if isinstance(t, Normalize))
        ids = test.ids[:_EXAMPLES]
        labels = np.asarray(test.labels)[: len(ids)]
        export(
            directory,
            network,
            np.asarray(test.read(ids, 0 * ids)),
            labels=labels if (labels >= 0).all() else None,
            formats=_own(formats),
            preprocess=lambda images: normalize(jax.random.key(0), images),
            card=card,
        )
        return directory
    known = read_json(directory / "card.json")
    there, parameters = known["stated"]["method"], known["fingerprint"]["parameters"]
    # Students of few steps may be equal; what the card says of them is not.
    if there != card.method or parameters != network.fingerprint()["parameters"]:
        raise ValueError(
            f"{directory} holds another student ({there}), and this one is not written "
            f"({card.method}): delete or move {directory}, and the same command writes it"
        )
    return directory


def _own(formats: Sequence[str]) -> list[str]:
    return [FORMATS[name] for name in dict.fromkeys(["safetensors", *formats])]


def _file(directory: pathlib.Path, name: str) -> pathlib.Path:
    from jaxkd.export._export import FORMATS as FILES

    return directory / FILES[FORMATS[name]]
