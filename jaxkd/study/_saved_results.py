"""Results of a study as they are on disk, without its data and networks."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from jaxkd._files import read_json
from jaxkd.study._shown_inputs import SHOWN_INPUTS, read_inputs
from jaxkd.study.arms import Arm
from jaxkd.study.measures import Measure
from jaxkd.study.pipelines import PIPELINE, Pipeline
from jaxkd.study.results import ArmResult, StudyResults
from jaxkd.study.runner import file_name, read_arrays
from jaxkd.study.tuning import Tuning, seconds_of

_PARTS = ("validation", "test")


def read_results(workdir: pathlib.Path) -> StudyResults:
    """Reads the results of a study whose arms have methods by name.

    Args:
      workdir: folder of the study.

    Returns:
      The results without networks.

    Raises:
      FileNotFoundError: the study is not finished.
      ValueError: an arm whose method has no name.
    """
    file = workdir / "results.json"
    if not file.exists():
        raise FileNotFoundError(
            f"{file} is not there: the study is not finished; start its command again to go on"
        )
    document = read_json(file)

    def network(name: str, seed: int) -> NoReturn:
        raise ValueError(f"the student {name!r} of seed {seed} is made by running the study again")

    make_network: Any = network
    return StudyResults(
        arms={n: _arm(workdir, n, entry, document) for n, entry in document["arms"].items()},
        seeds=tuple(document["seeds"]),
        measure=Measure(**document["metric"]),
        part=document["compared_on"],
        chosen=document["chosen"],
        teacher={
            part: dict(zip(scores, _array([*scores.values()]).tolist(), strict=True))
            for part, scores in document["teacher"].items()
        },
        test_evaluations=document["test_evaluations"],
        workdir=workdir,
        make_network=make_network,
        percents=frozenset(document["percents"]),
        configuration=document["configuration"],
        labels={p: _labels(f) for p in _PARTS if (f := workdir / f"labels_{p}.npy").exists()},
        teacher_logits=_teacher_logits(workdir, document["teacher"]),
        shown_inputs=read_inputs(workdir / SHOWN_INPUTS),
        class_names=tuple(read_json(workdir / "made.json")["configuration"]["class_names"]),
    )


def read_tuning(workdir: pathlib.Path) -> Tuning:
    """Reads what a study was tuned to.

    Args:
      workdir: folder of the study.

    Returns:
      The tuning.

    Raises:
      FileNotFoundError: it is not finished.
    """
    tried, confirmed = read_results(workdir / "tune"), read_results(workdir / "confirm")
    axes: dict[str, list[Any]] = {}
    for result in tried.arms.values():
        for name, value in result.arm.options.items():
            if value not in axes.setdefault(name, []):
                axes[name].append(value)
    chosen = tried[tried.best("validation")].arm
    return Tuning(tried, chosen, confirmed, axes, (seconds_of(tried), seconds_of(confirmed)))


def _arm(
    workdir: pathlib.Path, name: str, entry: dict[str, Any], document: dict[str, Any]
) -> ArmResult:
    part = document["compared_on"]
    scores = {
        where: {metric: _array(values) for metric, values in of_part.items()}
        for where, of_part in entry["scores"].items()
    }
    return ArmResult(
        arm=_arm_of(name, entry["method"], entry["options"]),
        steps=entry["steps"],
        validation=scores[part],
        test=scores.get("test") if part != "test" else None,
        curve_steps=np.array(entry["curve"]["steps"]),
        curve=np.stack([_array(values) for values in entry["curve"]["values"]]),
        seconds=_array(entry["seconds"]),
        logits=_logits(workdir / file_name(name), document),
        costs={cost: _array(values) for cost, values in entry.get("costs", {}).items()},
        has_own_teacher=entry.get("has_own_teacher", False),
    )


def _arm_of(name: str, method: str, options: dict[str, Any]) -> Arm:
    if method == PIPELINE:
        return Pipeline.from_document(options, name)
    return Arm(method, options, name=name)


def _logits(folder: pathlib.Path, document: dict[str, Any]) -> dict[str, np.ndarray]:
    """Reads the logits that the runs of an arm left."""
    files = {document["compared_on"]: "result.npz"}
    if document["test_evaluations"]:
        files["test"] = "test.npz"
    logits = {}
    for part, file in files.items():
        paths = [folder / f"seed{seed}" / file for seed in document["seeds"]]
        known = [read_arrays(path) for path in paths if path.exists()]
        if len(known) == len(paths) and all("logits" in each for each in known):
            logits[part] = np.stack([each["logits"] for each in known])
    return logits


def _teacher_logits(workdir: pathlib.Path, parts: Iterable[str]) -> dict[str, np.ndarray]:
    """Reads the logits of the teacher; none of a folder that was written before they were kept."""
    # Files of other parts may be those of an earlier teacher.
    logits: dict[str, np.ndarray] = {}
    for part in parts:
        if (file := workdir / f"teacher_{part}.npz").exists():
            stored = read_arrays(file)
            logits |= {part: stored["logits"]} if "logits" in stored else {}
    return logits


def _labels(file: pathlib.Path) -> np.ndarray:
    try:
        return np.asarray(np.load(file))
    except (EOFError, ValueError) as error:
        raise ValueError(
            f"{file} is damaged ({error}): start the study's command again, which writes it"
        ) from error


def _array(values: list[float | None]) -> np.ndarray:
    return np.array([math.nan if value is None else value for value in values])
