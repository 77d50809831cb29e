"""A whole study: all runs, the choice on validation, and then the test examples, once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd._files import read_json, write_atomically
from jaxkd.networks import Network
from jaxkd.study._arm_runs import ArmRuns
from jaxkd.study._chance import warn_of_chance
from jaxkd.study._conclusion import subject_of
from jaxkd.study._costs import PREFIX as COST
from jaxkd.study._costs import kept_costs
from jaxkd.study._differing import differing
from jaxkd.study._diverged import result_or_none, with_nan
from jaxkd.study._made_of import check_measurement, check_start
from jaxkd.study._pipeline_runs import runs_of
from jaxkd.study._populations import train_together
from jaxkd.study._readable import check_readable
from jaxkd.study._shown_inputs import Shown, shown_inputs
from jaxkd.study._study_arguments import check_codec
from jaxkd.study._teacher_outputs import is_evaluated, teacher_outputs
from jaxkd.study._wording import budget_of
from jaxkd.study.arms import Arm
from jaxkd.study.measures import measure_of
from jaxkd.study.pipelines import Pipeline
from jaxkd.study.results import RESULTS, TEST_EVALUATIONS, ArmResult, StudyResults
from jaxkd.training import is_main_process, own_workdir, sync_processes

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_PREFIX = "metric."
# What a run keeps besides the arrays of its evaluator.
_OTHERS = (_PREFIX, COST, "curve", "seconds")


def run_study(
    study: Study, *, test: bool, progress: bool, keep_diverged: bool = False
) -> StudyResults:
    """Runs a study, as `Study.run` says.

    Args:
      study: the study.
      test: as of `Study.run`.
      progress: as of `Study.run`.
      keep_diverged: whether a run that diverges is one of nan, in place of the end of all.

    Returns:
      The results.
    """
    study.caches.progress = progress
    study.workdir.mkdir(parents=True, exist_ok=True)
    with own_workdir(study.workdir):
        check_codec(study)
        if not (study.workdir / RESULTS).exists():
            held_out = [study.part, *(["test"] if test and "test" in study.data else [])]
            check_readable(study.data[part] for part in held_out)
        check_measurement(study, study.part)
        shown_inputs(study.data[study.part], [0], study.show)
        if not is_evaluated(study, study.part):  # otherwise it was said before
            warn_of_chance(study.teacher, study.data["train"], study.eval_views)
        runs = runs_of(study, progress)
        for seed in study.seeds:
            if not all(run.is_finished(seed) for run in runs.values()):
                check_start(study, seed)
        train_together(study, runs, progress, keep_diverged=keep_diverged)
        kept = _trained(study, runs, keep_diverged)
        results = _results(study, runs, kept, tested={}, evaluations=0)
        if test and study.part != "test" and "test" in study.data:
            check_measurement(study, "test")
            # What is chosen is on disk before the first number of the test examples is.
            evaluations = _record_test(study, results.chosen)
            tested = {name: [run.test(seed) for seed in study.seeds] for name, run in runs.items()}
            results = _results(study, runs, kept, tested, evaluations)
        if is_main_process():
            results.save()
    return results


def _trained(
    study: Study, runs: Mapping[str, ArmRuns], keep_diverged: bool
) -> dict[str, list[dict[str, np.ndarray]]]:
    """Trains the students that are not trained yet, and reads what all gave."""
    if not keep_diverged:
        return {name: [run.result(seed) for seed in study.seeds] for name, run in runs.items()}
    known = {
        name: [result_or_none(run, seed) for seed in study.seeds] for name, run in runs.items()
    }
    return with_nan(known)


def _results(
    study: Study,
    runs: Mapping[str, ArmRuns],
    kept: Mapping[str, list[dict[str, np.ndarray]]],
    tested: Mapping[str, list[dict[str, np.ndarray]]],
    evaluations: int,
) -> StudyResults:
    def network(name: str, seed: int) -> Network:
        return runs[name].network(seed)

    parts = [study.part, *(["test"] if tested else [])]
    taught = {part: teacher_outputs(study, part) for part in parts}
    results = StudyResults(
        arms={name: _arm_result(study, runs[name], kept[name], tested.get(name)) for name in runs},
        seeds=study.seeds,
        measure=study.measure,
        part=study.part,
        chosen=None,
        teacher={part: scores for part, (scores, _) in taught.items() if scores},
        test_evaluations=evaluations,
        workdir=study.workdir,
        make_network=network,
        percents=_percents(study, next(iter(kept.values()))),
        configuration=_configuration(study),
        labels={part: labels for part in parts if (labels := _labels(study, part)) is not None},
        class_names=_class_names(study),
        teacher_logits={part: x for part, (_, x) in taught.items() if x is not None},
    )
    if study.part != "test" and len(runs) > 1:
        results = dataclasses.replace(results, chosen=results.best(study.part))
    return dataclasses.replace(results, shown_inputs=_shown_inputs(study, results))


def _shown_inputs(study: Study, results: StudyResults) -> dict[int, Shown]:
    """Returns pictures or texts of the examples that the report shows."""
    found = differing(results, subject_of(results))
    positions = [each.position for each in found.examples] if found else []
    return shown_inputs(study.data[results.shown_part], positions, study.show)


def _percents(study: Study, kept: list[dict[str, np.ndarray]]) -> frozenset[str]:
    """Names of the metrics that are fractions."""
    names = [*_scores(kept)]
    measures = [measure_of(name, study.metrics, "max", others=names) for name in names]
    return frozenset(measure.name for measure in measures if measure.is_fraction)


def _labels(study: Study, part: str) -> np.ndarray | None:
    labels = getattr(study.data[part], "labels", None)
    return labels if isinstance(labels, np.ndarray) else None


def _class_names(study: Study) -> tuple[str, ...]:
    names = getattr(study.data["train"], "class_names", ())
    return () if isinstance(names, Mapping) else tuple(names)


def _configuration(study: Study) -> dict[str, Any]:
    """What was chosen for the study, as its report says it."""
    teacher = study.teacher
    optimizer = "of one's own" if study._make_optimizer else "AdamW under a cosine"
    return {
        "Data": ", ".join(f"{name} {len(part):,}" for name, part in study.data.items()),
        "Teacher": "none" if teacher is None else getattr(teacher, "name", type(teacher).__name__),
        "Arms": "; ".join(arm.name for arm in study.arms),
        "Seeds": ", ".join(map(str, study.seeds)),
        "Budget of a student": budget_of(study.steps, study.seconds),
        "Batch size": study.batch_size,
        "Optimizer": f"{optimizer}, peak learning rate {study.learning_rate:g}",
        "Views": f"{study.views!r}, {study.num_views or 'new ones in every epoch'}",
    }


def _arm_result(
    study: Study,
    run: ArmRuns,
    kept: list[dict[str, np.ndarray]],
    tested: list[dict[str, np.ndarray]] | None,
) -> ArmResult:
    arrays = {study.part: _arrays(kept)}
    if tested is not None:
        arrays["test"] = _arrays(tested)
    logits = {part: each.pop("logits") for part, each in arrays.items() if "logits" in each}
    return ArmResult(
        arm=run.arm,
        steps=run.steps,
        validation=_scores(kept),
        test=None if tested is None else _scores(tested),
        curve_steps=kept[0]["curve_steps"],
        curve=np.stack([each["curve"] for each in kept]),
        seconds=np.array([float(each["seconds"]) for each in kept]),
        logits=logits,
        arrays=arrays,
        costs=kept_costs(kept),
        has_own_teacher=_has_own_teacher(study, run.arm),
    )


def _has_own_teacher(study: Study, arm: Arm) -> bool:
    """Whether an arm, or a training inside of it, names another teacher than the study's."""
    inside: list[Any] = [arm]
    if isinstance(arm, Pipeline):
        inside = [arm.first, *(stage.method for stage in arm.stages)]
    own = [each.teacher for each in inside if isinstance(each, Arm)]
    return any(teacher is not None and teacher is not study.teacher for teacher in own)


def _arrays(kept: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Returns what evaluators keep of all students, with an axis of seeds in front."""
    names = [name for name in kept[0] if not name.startswith(_OTHERS)]
    return {n: np.stack([each[n] for each in kept]) for n in names if all(n in e for e in kept)}


def _scores(kept: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    names = [name for name in kept[0] if name.startswith(_PREFIX)]
    return {
        name.removeprefix(_PREFIX): np.array([float(each[name]) for each in kept]) for name in names
    }


def _record_test(study: Study, chosen: str | None) -> int:
    """Counts an evaluation on the test examples of other arms or seeds than before."""
    file = study.workdir / TEST_EVALUATIONS
    entries: list[dict[str, Any]] = read_json(file) if file.exists() else []
    seen = {(arm, seed) for entry in entries for arm in entry["arms"] for seed in entry["seeds"]}
    wanted = {(arm.name, seed) for arm in study.arms for seed in study.seeds}
    if not wanted <= seen:
        arms = [arm.name for arm in study.arms]
        entries.append({"chosen": chosen, "arms": arms, "seeds": list(study.seeds)})
        if is_main_process():
            write_atomically(file, json.dumps(entries, indent=2) + "\n")
    sync_processes(str(file))
    return len(entries)
