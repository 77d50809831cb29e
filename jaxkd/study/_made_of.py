"""What runs and numbers of a study are made of: kept in its folder, and compared when it runs."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from jaxkd._files import read_json, write_atomically
from jaxkd.cache import _contract
from jaxkd.data._fields import map_arrays
from jaxkd.metrics.in_step._defaults import by_name
from jaxkd.networks._architecture import describe, describe_code
from jaxkd.networks._trace import trace
from jaxkd.study._study_arguments import weights_digest
from jaxkd.study._teacher_caches import digest
from jaxkd.training import is_main_process, sync_processes
from jaxkd.training._run_fields import as_document, differences_of, run_fields

if TYPE_CHECKING:
    from jaxkd.study._arm_runs import ArmRuns
    from jaxkd.study.study import Study

_PROGRAM = "program"
Fields = dict[str, Any]
Differences = Callable[[Mapping[str, Any], Fields], dict[str, str]]


def check_arm(runs: ArmRuns, seed: int) -> None:
    """Refuses an arm that makes of its names and numbers something else than its folder holds.

    What is compared is what `jaxkd.training.fit` compares when it resumes: data, teacher, the
    programs of student, objective and optimizer, and the student's initial variables.

    Args:
      runs: the runs of the arm.
      seed: that by which the arm is known where the folder is new.

    Raises:
      ValueError: each field that differs, with both values.
    """
    file = runs.folder / "made_of.json"
    if file.exists():
        seed = int(read_json(file)["seed"])
    training = runs.untrained(seed)
    fields: Fields = {"deployed": describe_code(training.deploy)}
    if not training.steps:
        fields |= training.student.fingerprint()
        del fields["parameters"]  # rounded by the device
    elif training.phases:
        # Each makes a step of its own once those before it have ended.
        fields["phases"] = [f"{p.name}: {p.objective!r}, {p.steps} steps" for p in training.phases]
        method = runs.arm.method
        fields["function"] = describe_code(method) if callable(method) else method
    else:
        step = runs.make_step(training)
        state = step.init(seed, student=training.student, objective=training.objective)
        with runs.loader(training, seed) as loader:
            fields |= run_fields(step, state, loader, loader[0])
    _check(file, fields, differences_of, seed=seed)


def check_measurement(study: Study, part: str) -> None:
    """Refuses other metrics, views or examples than those that numbers in the folder are of.

    Args:
      study: the study.
      part: name of the held-out data.

    Raises:
      ValueError: no metric for the data, not the one that arms are compared by, or each field that
        differs, with both values.
    """
    network, evaluator = study.make_student(study.seeds[0]), study.evaluator(part)
    names, compared = evaluator.names(network), study.metric_name
    if compared not in names:
        raise ValueError(
            f"arms are compared by {compared!r}, which {evaluator.examples} has no labels for: its "
            f"metrics are {names}. Write metrics={{…}} for all held-out examples"
        )
    fields: Fields = {"metric": compared, "examples": digest(study.data[part].ids)}
    fields |= _contract.of_dataset(study.data[part])
    fields["labels"] = map_arrays(_digest_of, study.data[part].labels)
    known = by_name(study.metrics)
    if study.make_evaluator is not None:
        kind = type(evaluator)
        fields["evaluator"] = f"{describe_code(kind.scores)} {describe_code(kind.results)}"
        known = {}
    for name in names:
        metric = known.get(name)
        code = "" if metric is None else describe_code(type(metric).compute)
        fields[f"metrics.{name}"] = f"{describe(metric)} {code}"
    fields |= {f"eval_views.{k}": v for k, v in study.eval_views.specification().items()}
    step = evaluator.step_of_one_device(network)
    given = (network.params, network.state), step.frozen, next(iter(evaluator.batches()))
    fields[_PROGRAM] = trace(step.function, *jax.tree.map(_shape, given)).digest
    _check(study.workdir / f"measured_{part}.json", fields, _differences)


def check_start(study: Study, seed: int) -> None:
    """Refuses initial weights of a seed that are not those which other arms began with.

    Args:
      study: the study.
      seed: seed of a run that is about to begin.

    Raises:
      ValueError: `make_student` makes other weights of the seed than it did.
    """
    file = study.workdir / "starts.json"
    known = read_json(file) if file.exists() else {}
    digest, platform = weights_digest(study.make_student(seed)), as_document({})["platform"]
    there = known.get(str(seed), {"weights": digest, "platform": platform})
    if there["platform"] == platform and digest != there["weights"]:
        raise ValueError(
            f"make_student({seed}) makes other weights than those which runs of this seed in "
            f"{study.workdir} began with: make the same ones, choose another workdir, or delete "
            "this one"
        )
    if str(seed) not in known and is_main_process():
        write_atomically(file, json.dumps({**known, str(seed): there}, indent=2) + "\n")
    sync_processes(str(file))


def _check(file: pathlib.Path, fields: Fields, compare: Differences, **others: Any) -> None:
    """Keeps fields in a new file, or compares them with those that it has."""
    plain = json.loads(json.dumps(fields))
    if not file.exists() and is_main_process():
        write_atomically(file, json.dumps({**as_document(plain), **others}, indent=2) + "\n")
    sync_processes(str(file))
    if differing := compare(read_json(file), plain):
        lines = [f"  {name}: {difference}" for name, difference in differing.items()]
        raise ValueError(
            f"the folder {file.parent} holds results of something else:\n"
            + "\n".join(lines)
            + "\nRun the study with what it began with, choose another workdir, or delete this one"
        )


def _differences(document: Mapping[str, Any], now: Fields) -> dict[str, str]:
    """Returns the fields that differ; the program where the others do not, on one platform."""
    there = document["fields"]
    names = [name for name in {**there, **now} if there.get(name) != now.get(name)]
    if names != [_PROGRAM]:
        names = [name for name in names if name != _PROGRAM]
    elif document["platform"] != as_document({})["platform"]:
        names = []
    return {n: f"{there.get(n, 'nothing')} there, {now.get(n, 'nothing')} now" for n in names}


def _shape(leaf: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype)


def _digest_of(labels: np.ndarray) -> str:
    return f"{labels.shape} {digest(labels)}"
