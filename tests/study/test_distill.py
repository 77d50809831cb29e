import sys

import jax.numpy as jnp
import numpy as np
import pytest
from studies import linear, make_data, make_student, make_study, make_teacher

import jaxkd
from jaxkd import from_function
from jaxkd.study import Arm
from jaxkd.study._saved_results import read_tuning
from jaxkd.study.results import StudyResults


@pytest.mark.slow
def test_one_call_gives_network_history_and_report(tmp_path):
    student = from_function(linear, jnp.zeros((4, 4)))
    options = {"steps": 20, "learning_rate": 0.1, "progress": False}
    distilled = jaxkd.distill(student, make_teacher(), make_data(), workdir=tmp_path, **options)
    inputs = make_data()["test"].inputs
    logits = np.asarray(distilled.network(inputs)["logits"])
    np.testing.assert_allclose(logits, distilled.results["kd"].logits["test"][0], atol=1e-5)
    assert [row["step"] for row in distilled.history] == [*range(2, 21, 2)]
    score = distilled.results["kd"].validation["accuracy"][0]
    assert distilled.history[-1]["accuracy"] == score
    text = " ".join((tmp_path / "report.html").read_text(encoding="utf-8").split())
    assert "There is no other arm to compare it with" in text
    again = jaxkd.distill(make_student, None, make_data(), method="labels", **options)
    assert again.results.workdir.exists() and list(again.results.arms) == ["labels"]


@pytest.mark.slow
def test_compared_with_labels_it_says_whether_it_helps():
    distilled = jaxkd.distill(
        make_student,
        make_teacher(),
        make_data(),
        method=Arm("kd", name="mine"),
        options={"alpha": 1.0},
        compare=True,
        seeds=2,
        steps=3,
        progress=False,
    )
    assert list(distilled.results.arms) == ["labels", "mine"]
    assert "over 2 paired seeds" in distilled.report.to_html()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    study = make_study(tmp_path_factory.mktemp("tuned"), seeds=2, steps=3, population=None)
    options = {"temperature": [1.0, 4.0], "alpha": [0.5, 0.9], "steps": 2, "progress": False}
    return study, study.tune(["kd", "logit_mse"], seeds=1, **options)


@pytest.mark.slow
def test_settings_are_chosen_on_validation_and_confirmed_on_fresh_seeds(tuned):
    study, tuning = tuned
    tried, confirmed = tuning.tried, tuning.confirmed
    assert tried.seeds == (1000,) and confirmed.seeds == (0, 1)
    assert tried.test_evaluations == 0 and confirmed.test_evaluations == 1
    assert len([n for n in tried.arms if n.startswith("kd ")]) == 4
    assert len(tried.arms) > 4
    best = max(tried.arms, key=lambda name: tried.values(name).mean())
    assert tuning.chosen.options == tried[best].arm.options
    assert set(confirmed.arms) == {"labels", "kd (alpha=0.9, temperature=4)", tuning.chosen.name}
    assert not list((study.workdir / "tune").rglob("test*"))
    assert len(list((study.workdir / "caches").iterdir())) == 1
    assert tuning.seconds[0] > 0
    assert {each.steps for each in tried.arms.values()} == {2}
    assert {each.steps for each in confirmed.arms.values()} == {3}


@pytest.mark.slow
def test_the_report_shows_a_heat_map_and_what_it_cost(tuned):
    _, tuning = tuned
    maps = tuning.heat_maps()
    assert "alpha by temperature" in maps[0].alt
    text = " ".join(tuning.report().to_html().split())
    assert "were tried on the validation examples, with 1 training of 2 steps each" in text
    assert "fresh seeds" in text and "seconds" in text
    report = tuning.report()
    assert "distill" in report.headline or report.headline.startswith("More")
    assert report.sections[-1].title == "How this was made"
    marked = [str(row[0]) for row in report.sections[0].tables[0].rows if "(chosen)" in str(row[0])]
    assert marked == [f"{tuning.chosen.name} (chosen)"]
    for name in tuning.confirmed.arms:  # whatever the fresh seeds would choose
        (row,) = [r for r in tuning.confirmed.table(chosen=name).rows if "(chosen)" in str(r[0])]
        assert row[0] == f"{name} (chosen)"
    table = dict(report.sections[-1].tables[0].rows)
    assert table["Budget of a setting"] == "2 steps" and table["Budget of a student"] == "3 steps"
    again = read_tuning(tuning.tried.workdir.parent)
    assert again.report().to_html() == report.to_html()


@pytest.mark.parametrize("population", [False, pytest.param(None, marks=pytest.mark.slow)])
def test_a_setting_that_diverges_has_no_number_and_does_not_end_the_tuning(tmp_path, population):
    study = make_study(tmp_path, seeds=1, steps=2, population=population, learning_rate=1.0)
    grid = {"weight": [1.0, 1e38], "label_weight": 0.5, "seeds": 1, "progress": False}
    tuning = study.tune("logit_mse", **grid)
    assert tuning.diverged == ["logit_mse (label_weight=0.5, weight=1e+38)"]
    assert tuning.chosen.options["weight"] == 1.0
    text = " ".join(tuning.report().to_html().split())
    assert "a time that is not known" not in text and np.isfinite(tuning.seconds).all()
    assert tuning.diverged[0] in " ".join(tuning.tried.report().to_html().split())
    assert "1 setting diverged" in text and "weight=1e+38" in text and "–" in text
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("diverged.json")}
    assert len(before) == 1
    again = study.replace().tune("logit_mse", **grid)
    assert again.diverged == tuning.diverged
    # Made again from the files alone, the report tells the same time.
    assert read_tuning(tmp_path).seconds == tuning.seconds
    assert {f: f.stat().st_mtime_ns for f in before} == before


@pytest.mark.slow
def test_settings_that_all_diverge_are_an_error(tmp_path):
    study = make_study(tmp_path, seeds=1, steps=2)
    with pytest.raises(FloatingPointError, match="all 2 settings diverge: logit_mse .*smaller"):
        study.tune("logit_mse", weight=[1e38, 2e38], seeds=1, progress=False)


def test_a_student_that_diverges_among_others_ends_the_study_once_they_are_saved(tmp_path):
    arms = [Arm("logit_mse", {"weight": weight}) for weight in (1.0, 1e38)]
    options = {"arms": arms, "seeds": 1, "steps": 2, "population": True, "learning_rate": 1.0}
    study = make_study(tmp_path, **options)
    for _ in range(2):
        with pytest.raises(FloatingPointError, match=r"of logit_mse \(weight=1e\+38\), seed 0\. "):
            study.replace().run(progress=False)
        assert [f.parts[-3] for f in tmp_path.rglob("result.npz")] == ["logit_mse__weight_1_"]


def test_labels_may_be_chosen(tmp_path, monkeypatch):
    monkeypatch.setattr(StudyResults, "best", lambda self, part: "labels")
    study = make_study(tmp_path, seeds=1, steps=1)
    tuning = study.tune(["labels", "kd"], seeds=1, progress=False)
    assert list(tuning.confirmed.arms) == ["labels", "kd (alpha=0.9, temperature=4)"]
    assert tuning.report().headline.startswith("No setting is better than labels alone")


@pytest.mark.slow
def test_the_defaults_may_be_chosen(tmp_path, monkeypatch):
    name = "kd (alpha=0.9, temperature=4)"
    monkeypatch.setattr(StudyResults, "best", lambda self, part: name)
    study = make_study(tmp_path, seeds=1, steps=1)
    tuning = study.tune(temperature=[4.0], alpha=[0.5, 0.9], seeds=1, progress=False)
    assert list(tuning.confirmed.arms) == ["labels", name]
    assert name in tuning.report().to_html()


def test_what_cannot_be_tuned_is_refused(tmp_path):
    study = make_study(tmp_path)
    with pytest.raises(ValueError, match=r"did you mean 'temperature'\?"):
        study.tune(temprature=[1.0, 2.0])
    with pytest.raises(ValueError, match="there is one setting, so nothing to choose"):
        study.tune(temperature=2.0)
    with pytest.raises(ValueError, match=r"seeds \[0, 1\] would choose a setting and confirm it"):
        study.tune(temperature=[1.0, 2.0], seeds=[0, 1])
    with pytest.raises(ValueError, match="samples must be at least 2 of 3 settings, not 1"):
        study.tune(temperature=[1.0, 2.0, 4.0], samples=1)
    # Of two settings of one name only the last one would be tried.
    with pytest.raises(ValueError, match=r"two settings would have the name 'kd \(alpha=0.123457"):
        study.tune(alpha=[0.1234567, 0.12345671])
    with pytest.raises(ValueError, match=r"no values of 'alpha' to try: write alpha="):
        study.tune(temperature=[1.0, 2.0], alpha=[])
    with pytest.raises(TypeError, match=r"the method of a tuning is a name, or a list of names"):
        study.tune(Arm("kd"), temperature=[1.0, 2.0])
    data = make_data()
    del data["validation"]
    with pytest.raises(ValueError, match="settings are chosen on validation examples"):
        make_study(tmp_path, data).tune(temperature=[1.0, 2.0])


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_what_the_report_needs_is_asked_for_before_anything_trains(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    line = rf"the report needs {package}: pip install 'jaxkd-distill\[experiments\]'"
    with pytest.raises(ImportError, match=line):
        jaxkd.distill(make_student, make_teacher(), make_data(), steps=3, workdir=tmp_path / "run")
    assert not (tmp_path / "run").exists()
