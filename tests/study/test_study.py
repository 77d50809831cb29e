import dataclasses
import json
import math
import re
import shutil

import jax
import numpy as np
import pytest
from studies import (
    assert_same,
    linear,
    make_data,
    make_student,
    make_study,
    make_teacher,
    run_killed,
    without_seconds,
)

from jaxkd import Objective, Term, from_function, metrics, recipes
from jaxkd.data import Dataset
from jaxkd.metrics.in_step import Accuracy, MeanSquaredError
from jaxkd.study import Arm, Evaluator, Runtime, Study
from jaxkd.study._differing_section import TITLE
from jaxkd.study._saved_results import read_results
from jaxkd.targets import Dense
from jaxkd.teachers import from_callable
from jaxkd.training import Partitioning, make_mesh
from jaxkd.views import Normalize


def mine(study, seed, *, alpha=0.5):
    return study.training(seed, recipes.kd(alpha=alpha))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("study"))
    return study, study.run(progress=False)


def test_every_number_of_the_results_follows_from_the_logits_on_disk(finished):
    study, results = finished
    document = json.loads((study.workdir / "results.json").read_text(encoding="utf-8"))
    assert document["seeds"] == [0, 1] and document["metric"]["name"] == "accuracy"
    mean = {}
    for name, arm in document["arms"].items():
        for part, file in (("validation", "result.npz"), ("test", "test.npz")):
            for seed in (0, 1):
                with np.load(study.workdir / name / f"seed{seed}" / file) as stored:
                    logits = stored["logits"]
                labels = study.data[part].labels
                scores = {metric: each[seed] for metric, each in arm["scores"][part].items()}
                assert scores["accuracy"] == pytest.approx(metrics.accuracy(logits, labels))
                loss = metrics.negative_log_likelihood(logits, labels)
                assert scores["cross_entropy"] == pytest.approx(loss, rel=1e-5)
        mean[name] = np.mean(arm["scores"]["validation"]["accuracy"])
        assert arm["curve"]["steps"][-1] == arm["steps"] == 4
        assert arm["curve"]["values"][1][-1] == arm["scores"]["validation"]["accuracy"][1]
    assert document["chosen"] == max(mean, key=mean.get) == results.chosen
    gain = np.subtract(
        *(document["arms"][n]["scores"]["test"]["accuracy"] for n in ("kd", "labels"))
    )
    assert document["arms"]["kd"]["against_baseline"]["mean"] == pytest.approx(gain.mean())


def test_a_trained_student_and_its_teacher_are_those_of_the_numbers(finished):
    study, results = finished
    logits = Evaluator(study.data["test"], study.eval_views, study.runtime).logits(
        results.network("kd", 1)
    )
    np.testing.assert_array_equal(logits, results["kd"].logits["test"][1])
    assert results.teacher["test"]["accuracy"] == 1.0
    assert "The teacher has 100.00 %" in results.table().caption


def test_all_arms_read_one_cache_and_a_second_run_computes_nothing(finished):
    study, results = finished
    assert len(list((study.workdir / "caches").iterdir())) == 1
    again = study.replace(make_student=make_student)
    before = {f: f.stat().st_mtime_ns for f in study.workdir.glob("*/*/*.npz")}
    assert len(before) == 2 * 2 * 3
    assert without_seconds(again.run(progress=False).document()) == without_seconds(
        results.document()
    )
    assert {f: f.stat().st_mtime_ns for f in before} == before


def test_the_report_says_what_was_chosen_and_how_often_the_test_examples_were_seen(finished):
    study, results = finished
    text = results.report("Largest").to_html()
    assert f"{results.chosen} was chosen on the validation examples" in text
    assert "they were evaluated once" in " ".join(text.split())
    assert results.test_evaluations == 1
    assert study.replace(arms=["labels"]).run(progress=False).test_evaluations == 1


def test_one_arm_alone_is_compared_with_none(finished):
    _, results = finished
    alone = dataclasses.replace(results, arms={"kd": results["kd"]})
    assert "Against" not in alone.table().to_markdown()
    assert "Against labels" in results.table().to_markdown()


def test_earlier_evaluations_on_test_examples_are_said_where_these_are_left_out(finished, tmp_path):
    study, _ = finished
    shutil.copytree(study.workdir, tmp_path / "copy")
    report = study.replace(workdir=tmp_path / "copy").run(test=False, progress=False).report()
    text = " ".join(report.to_html().split())
    assert "have no part in this report; they were evaluated 1 time before" in text


def test_an_arm_that_there_is_not_is_named_with_those_that_there_are(finished):
    _, results = finished
    for names in (("mine",), ("kd", "mine")):
        with pytest.raises(ValueError, match="no arm 'mine'; the arms are labels, "):
            results.compare(*names)
    for ask in (results.values, results.network, results.__getitem__):
        with pytest.raises(ValueError, match="no arm 'mine'; the arms are labels, "):
            ask("mine")


def test_the_report_is_the_same_from_the_files_alone(finished):
    study, results = finished
    results.save()  # A smaller study ran in this folder.
    again = read_results(study.workdir)
    assert again.report("Largest").to_html() == results.report("Largest").to_html()
    titles = [section.title for section in again.report().sections]
    assert titles == ["Arms", "By class", TITLE, "How this was made"]


def test_an_arm_without_a_number_is_never_the_best(finished, tmp_path):
    _, results = finished
    nothing = {"accuracy": np.array([0.5, np.nan]), "cross_entropy": np.array([np.nan, 1.0])}
    arms = {
        name: dataclasses.replace(arm, validation=nothing) if name == "labels" else arm
        for name, arm in results.arms.items()
    }
    changed = dataclasses.replace(results, arms=arms, workdir=tmp_path)
    assert changed.best("validation") == "kd"
    changed.save()
    document = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert document["arms"]["labels"]["scores"]["validation"]["accuracy"] == [0.5, None]


@pytest.mark.slow
def test_an_arm_of_phases_has_a_point_at_the_end_of_all(tmp_path):
    arms = [Arm("born_again", {"generations": 1})]
    results = make_study(tmp_path, arms=arms, seeds=1).run(progress=False)
    (result,) = results.arms.values()
    assert result.curve_steps.tolist() == [2 * 4]
    np.testing.assert_array_equal(result.curve[:, 0], result.validation["accuracy"])


@pytest.mark.slow
def test_arms_that_are_added_after_the_test_are_counted(tmp_path):
    study = make_study(tmp_path, arms=["labels"], seeds=1)
    assert study.run(progress=False).test_evaluations == 1
    more = study.replace(arms=["labels", Arm(mine)]).run(progress=False)
    assert more.test_evaluations == 2
    assert "evaluated 2 times" in " ".join(more.report().to_html().split())
    assert study.run(progress=False).test_evaluations == 2


@pytest.mark.slow
def test_without_the_test_examples_all_numbers_are_of_validation(tmp_path):
    study = make_study(tmp_path, seeds=1)
    results = study.run(test=False, progress=False)
    assert results.shown_part == "validation" and results["kd"].test is None
    assert not list(tmp_path.rglob("test*"))
    assert "The test examples were not evaluated" in results.report().to_html()
    with pytest.raises(ValueError, match=r"not evaluated on 'test': write study.run\(test=True\)"):
        results.values("kd", "test")
    data = make_data()
    bare = study.replace(data={n: data[n] for n in ("train", "test")}, workdir=tmp_path / "b")
    assert bare.run(progress=False).chosen is None


def test_a_killed_run_ends_in_the_same_numbers(finished, tmp_path, monkeypatch):
    study, results = finished
    short = study.replace(arms=["labels"], seeds=1, workdir=tmp_path)
    killed = run_killed(monkeypatch, short, at=(2, 5))["labels"]
    assert killed.steps == 4 and np.isnan(killed.seconds).all()
    for part in ("validation", "test"):
        np.testing.assert_array_equal(killed.logits[part][0], results["labels"].logits[part][0])


@pytest.mark.slow
def test_killed_anywhere_a_study_ends_in_the_same_numbers(finished, tmp_path, monkeypatch):
    study, results = finished
    assert_same(run_killed(monkeypatch, study.replace(workdir=tmp_path)), results)


@pytest.mark.slow
def test_students_killed_together_end_in_the_same_numbers(tmp_path, monkeypatch):
    arms = ["labels", Arm("kd", {"alpha": 0.5}), Arm("kd", {"alpha": 0.9})]
    study = make_study(tmp_path / "whole", arms=arms, population=True)
    whole = study.run(progress=False)
    assert_same(run_killed(monkeypatch, study.replace(workdir=tmp_path / "killed")), whole)


def test_arms_that_train_alone_leave_the_others_the_batches_of_each_seed(tmp_path):
    arms = ["labels", Arm(mine, name="mine")]
    make_study(tmp_path, arms=arms, population=None).run(test=False, progress=False)
    assert not (tmp_path / "together").exists()


def test_an_arm_that_joins_later_begins_with_the_weights_of_the_others(tmp_path):
    make_study(tmp_path, arms=["labels"]).run(test=False, progress=False)

    def other(seed):  # the same only of the first seed
        return make_student(3 * seed)

    with pytest.raises(ValueError, match=r"make_student\(1\) makes other weights than those which"):
        make_study(tmp_path, student=other).run(test=False, progress=False)
    assert not (tmp_path / "kd/seed0").exists()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("labels/seed0/network.npz", "network.npz is damaged .*: delete it and result.npz beside"),
        ("labels_test.npy", "labels_test.npy is damaged .*: start the study's command again"),
        ("shown_inputs.npz", "shown_inputs.npz is damaged"),
        ("teacher_test.npz", "teacher_test.npz is damaged .*: delete it, and the same command"),
        ("kd/seed1/test.npz", "test.npz is damaged .*: delete it, and the same command"),
        ("test_evaluations.json", "test_evaluations.json cannot be read as JSON"),
        ("kd/made_of.json", "made_of.json cannot be read as JSON"),
        ("measured_validation.json", "measured_validation.json cannot be read as JSON"),
    ],
)
def test_a_damaged_file_of_a_finished_study_is_named(finished, tmp_path, file, message):
    study, _ = finished
    shutil.copytree(study.workdir, tmp_path / "copy")
    path = tmp_path / "copy" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=message):
        read_results(tmp_path / "copy")
        study.replace(workdir=tmp_path / "copy").run(progress=False).network("labels")


def test_a_value_of_the_teacher_that_is_no_number_is_kept(finished, tmp_path):
    study, results = finished
    shutil.copytree(study.workdir, tmp_path / "copy")
    metric = results.measure.name
    teacher = {part: {**scores, metric: math.nan} for part, scores in results.teacher.items()}
    dataclasses.replace(results, workdir=tmp_path / "copy", teacher=teacher).save()
    read = read_results(tmp_path / "copy").teacher
    assert {part: math.isnan(scores[metric]) for part, scores in read.items()} == dict.fromkeys(
        teacher, True
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("population", "seeds", "sizes"),
    [(2, 1, [2]), (3, 2, [3, 3])],  # the third one alone; the second part begins with seed 1
)
def test_no_more_students_than_were_asked_for_train_in_one_program(
    tmp_path, population, seeds, sizes
):
    arms = [Arm("kd", {"alpha": alpha}) for alpha in (0.5, 0.7, 0.9)]
    study = make_study(tmp_path / "parts", arms=arms, population=population, seeds=seeds)
    parts, whole = (
        each.run(test=False, progress=False)
        for each in (study, study.replace(workdir=tmp_path / "all", population=True))
    )
    members = (tmp_path / "parts/together").glob("*/members.json")
    assert [len(json.loads(file.read_text(encoding="utf-8"))) for file in members] == sizes
    for name in whole.arms:
        np.testing.assert_allclose(whole.values(name), parts.values(name), atol=1e-6)


@pytest.mark.slow
def test_students_that_train_together_share_the_devices(tmp_path):
    partitioning = Partitioning(make_mesh())
    devices = len(partitioning.mesh.devices.flat)
    study = make_study(tmp_path / "one", arms=["kd"], population=True, seeds=devices)
    several = study.replace(
        workdir=tmp_path / "several", runtime=Runtime(partitioning), batch_size=16
    )
    one, other = (each.run(test=False, progress=False) for each in (study, several))
    assert len(list((tmp_path / "several/together").iterdir())) == 1
    np.testing.assert_allclose(
        one["kd"].logits["validation"], other["kd"].logits["validation"], atol=1e-5
    )


@pytest.mark.slow
def test_students_that_train_together_end_where_they_end_alone(tmp_path):
    arms = ["labels", *(Arm("kd", {"alpha": alpha}) for alpha in (0.5, 0.9))]
    alone, together = (
        make_study(tmp_path / str(population), arms=arms, population=population).run(
            test=False, progress=False
        )
        for population in (False, None)
    )
    assert len(list((tmp_path / "None/together").iterdir())) == 2
    assert not (tmp_path / "False/together").exists()
    for name in alone.arms:  # of the first seed, whose order of batches all have
        one, other = (each[name].logits["validation"][0] for each in (alone, together))
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_arms_with_a_teacher_train_on_unlabeled_examples_too(tmp_path):
    data = make_data()
    few = data["train"].ids[:16]
    parts = {**data, "train": data["train"].select(few), "transfer": data["train"].with_labels(few)}
    study = make_study(tmp_path, parts)
    sizes = {arm.name: len(arm.training(study, 0).examples) for arm in study.arms}
    assert sizes == {"labels": 16, "kd": len(data["train"])}
    assert len(Arm("kd", data="train").training(study, 0).examples) == 16
    with pytest.raises(ValueError, match=r"no data 'pool' in the study; there are \['train'"):
        Arm("kd", data="pool").training(study, 0)
    # Both read the cache of all of these examples.
    assert len(list((tmp_path / "caches").iterdir())) == 1


@pytest.mark.slow
def test_a_teacher_outside_of_jax_is_cached_and_measured(tmp_path):
    teacher = from_callable(lambda x: {"logits": 5.0 * np.asarray(x)}, name="scale")
    study = make_study(tmp_path, teacher=teacher, arms=["kd"], seeds=1)
    results = study.run(progress=False)
    assert results.teacher["test"]["accuracy"] == 1.0
    with pytest.raises(TypeError, match=r"every step needs a teacher that is a network of JAX"):
        Arm("kd", online=True).training(study, 0)
    with pytest.raises(ValueError, match=r"the study has none: write Study\(data, make_student, t"):
        Arm("kd").training(make_study(tmp_path, teacher=None), 0)


class Distance:
    """A metric of one's own, whose direction nobody knows."""

    def __call__(self, outputs, batch):
        return MeanSquaredError()(outputs, batch)

    def compute(self, sums):
        return MeanSquaredError().compute(sums)


class Closeness(Distance):
    """One whose class says it."""

    higher_is_better, is_fraction = True, True


def squared(student, labels):
    return (student[..., 0] - labels) ** 2


def one_value(seed):
    weights = jax.random.normal(jax.random.key(seed), (4, 1))
    return from_function(linear, weights)


@pytest.mark.slow
def test_any_metric_is_compared_in_its_direction(tmp_path):
    data = {
        name: Dataset.from_arrays(
            part.inputs, part.inputs[:, 0], ids=part.ids, name="first", split=name
        )
        for name, part in make_data().items()
    }
    objective = Objective(error=Term(squared))
    arms = [Arm(objective, name=name, steps=steps) for name, steps in (("short", 1), ("long", 30))]
    options = {"arms": arms, "seeds": 1, "teacher": None}
    study = make_study(tmp_path, data, one_value, **options)
    results = study.run(progress=False)
    assert results.measure.name == "mean_squared_error" and results.chosen == "long"
    assert results.values("long")[0] < results.values("short")[0]


def test_the_direction_of_a_metric_is_known_or_said(tmp_path):
    own = make_study(tmp_path, metrics={"distance": Distance(), "right": Accuracy()})
    with pytest.raises(ValueError, match=r"write metric=\('distance', \"max\"\), or \"min\""):
        own.measure  # noqa: B018
    assert not own.replace(metric=("distance", "min")).measure.higher_is_better
    close = own.replace(metrics={"close": Closeness()}).measure
    assert close.higher_is_better and close.format == "percent"
    right = own.replace(metric="right").measure
    assert right.higher_is_better and right.difference == "points"
    with pytest.raises(ValueError, match="no metric 'rigth'; did you mean 'right'"):
        own.replace(metric="rigth").measure  # noqa: B018
    default = own.replace(metrics=None)
    assert not default.replace(metric="cross_entropy").measure.higher_is_better
    with pytest.raises(ValueError, match="no metric 'acuracy'; did you mean 'accuracy'"):
        default.replace(metric="acuracy").measure  # noqa: B018
    with pytest.raises(ValueError, match=r"metric=\('right', 'up'\) must end in 'min' or 'max'"):
        own.replace(metric=("right", "up")).measure  # noqa: B018


@pytest.mark.slow
def test_a_budget_of_time_is_measured_once(tmp_path):
    study = make_study(tmp_path, seconds=0.05, arms=["labels"], seeds=1)
    steps = study.run(progress=False)["labels"].steps
    assert steps >= 1
    file = tmp_path / "labels/budget.json"
    assert json.loads(file.read_text(encoding="utf-8"))["steps"] == steps
    assert study.run(progress=False)["labels"].steps == steps
    assert make_study(tmp_path, epochs=3).steps == 15


def test_examples_in_two_parts_are_named(tmp_path):
    data = make_data()
    everything = {"train": data["train"], "validation": data["train"], "test": data["test"]}
    with pytest.warns(
        UserWarning, match=r"81 of the 81 examples of data\['validation'\] are in .*'train"
    ):
        make_study(tmp_path, everything)
    same = {
        "train": data["train"],
        "validation": data["test"],
        "test": data["test"].select(data["test"].ids[:3]),
    }
    with pytest.warns(
        UserWarning, match=r"3 of the 3 examples of data\['test'\] .*'validation'\], too"
    ):
        make_study(tmp_path, same)


def test_what_would_be_ignored_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ValueError, match=r"'logit'; did you mean 'logits'\? The teacher has"):
        make_study(tmp_path, codec={"logit": Dense()}).run(progress=False)
    weights = iter(np.random.default_rng(0).normal(size=(9, 4, 4)).astype(np.float32))
    study = make_study(tmp_path, student=lambda seed: from_function(linear, next(weights)))
    with pytest.raises(ValueError, match=r"make_student\(0\) returned other weights than before"):
        study.run(progress=False)
    assert not (tmp_path / "labels").exists()


def test_an_objective_of_other_numbers_is_another_arm():
    one, other = (Arm(recipes.kd(alpha=alpha)) for alpha in (0.5, 0.9))
    assert one.name == other.name and one.document() != other.document()


@pytest.mark.parametrize("name", ["workdir", "caches"])
def test_a_file_in_place_of_a_folder_is_named(tmp_path, name):
    (tmp_path / "notes.txt").touch()
    for path in (tmp_path / "notes.txt", tmp_path / "notes.txt" / "below"):
        with pytest.raises(NotADirectoryError, match=f"{name}=.*notes.txt is a file: name another"):
            make_study(**{"workdir": tmp_path / "study", name: path})
    assert [each.name for each in tmp_path.iterdir()] == ["notes.txt"]


def test_an_arm_of_another_folder_is_refused(finished):
    study, _ = finished
    with pytest.raises(ValueError, match=r"options.alpha.*: choose another workdir"):
        study.replace(arms=[Arm("kd", {"alpha": 0.1}, name="kd")]).run(progress=False)
    with pytest.raises(ValueError, match=r"steps: 4 there, 5 now"):
        study.replace(steps=5).run(progress=False)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"steps": None}, ValueError, "steps, epochs or seconds; given: none. Write epochs=30"),
        ({"epochs": 1}, ValueError, "given: steps, epochs"),
        ({"data": {"train": 1}}, TypeError, "data['train'] must be examples, not"),
        ({"data": 3}, TypeError, "write jaxkd.data.split(dataset, {"),
        ({"make_student": make_teacher()}, TypeError, "write lambda seed: jaxkd.from_nnx("),
        ({"arms": ["labels", "labels"]}, ValueError, "needs a name of its own"),
        ({"arms": []}, ValueError, "a study needs an arm"),
        ({"arms": [recipes.kd()]}, TypeError, "an arm is a name or an Arm, not"),
        ({"seeds": [1, 1]}, ValueError, "each once, not [1, 1]"),
        ({"seeds": 0}, ValueError, "at least one"),
        ({"population": 1}, ValueError, "population must be at least 2 students of one program"),
        ({"evaluations": 0}, ValueError, "evaluations must be from 1 to 20, not 0"),
        ({"arms": "kd"}, TypeError, "arms must be a list, not 'kd': write arms="),
        ({"arms": {"kd": {"alpha": 0.5}}}, TypeError, 'options of a method as Arm("kd", {'),
        ({"arms": [Arm("kd", name=300 * "a")]}, ValueError, "has 300 bytes, and that of a folder"),
        ({"seeds": [-1]}, ValueError, "from 0 on, and each once, not [-1]: write seeds=3"),
        ({"seeds": None}, TypeError, "seeds must be an integer, not None"),
        ({"steps": None, "epochs": float("inf")}, ValueError, "epochs must be positive, not inf"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, not '0.1'"),
        ({"views": Normalize()}, TypeError, "write views=Views((Normalize(),))"),
        ({"metrics": {}}, ValueError, "metrics cannot be {}: write metrics={"),
        ({"metric": ("accuracy",)}, ValueError, "metric cannot be ('accuracy',): write metric="),
        ({"population": "no"}, TypeError, "population cannot be 'no': write population=False"),
        ({"make_student": from_callable(linear, name="t")}, TypeError, "write the student first"),
        ({"teacher": linear}, TypeError, "jaxkd.teachers.from_callable"),
    ],
)
def test_what_cannot_be_studied_is_refused_with_the_line_to_write(tmp_path, change, error, message):
    options = {"steps": 4, **change}
    data, student = options.pop("data", make_data()), options.pop("make_student", make_student)
    teacher = options.pop("teacher", None)
    with pytest.raises(error, match=re.escape(message)):
        Study(data, student, teacher, workdir=tmp_path / "w", **options)
    assert not (tmp_path / "w").exists()


def test_a_method_and_its_options_are_checked_by_name(tmp_path):
    with pytest.raises(ValueError, match=r"no method 'dkdd'; did you mean 'dkd'"):
        Arm("dkdd")
    with pytest.raises(ValueError, match=r"'temprature' of 'kd'; did you mean 'temperature'\?"):
        Arm("kd", {"temprature": 1.0})
    with pytest.raises(ValueError, match=r"'decy' of 'self_average'; did you mean 'decay'\?"):
        Arm("self_average", {"decy": 0.5})
    with pytest.raises(TypeError, match=r'not .*: write Arm\("kd"\)'):
        Arm(3)
    with pytest.raises(ValueError, match=r"at least 1, or None for the study's, not 0"):
        Arm("kd", steps=0)
    with pytest.raises(TypeError, match=r"online of an arm must be True, False or None, not 'no'"):
        Arm("kd", online="no")
    with pytest.raises(TypeError, match=r'options must be a Mapping.*write Arm\("kd", \{"alpha"'):
        Arm("kd", ["alpha"])
    with pytest.raises(TypeError, match=r"write return study.training\(seed, objective\)"):
        Arm(lambda study, seed: None, name="none").training(make_study(tmp_path), 0)
