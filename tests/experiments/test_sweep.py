import pathlib
import re

import numpy as np
import pytest
from experiment_runs import chosen, run, run_until, runtime, table

from experiments.sweep import report as sweep_report
from experiments.sweep.__main__ import main
from experiments.sweep.config import Config
from experiments.sweep.results import SweepResults
from jaxkd.study import Arm, ArmResult, StudyResults
from jaxkd.study._conclusion import ACCURACY

TINY = [
    "--config.temperatures=1,4",
    "--config.alphas=0.5,0.9",
    "--config.seeds=2",
    "--config.width=16",
    "--config.epochs=15",
    "--config.teacher_epochs=3",
]


@pytest.mark.slow
def test_a_sweep_from_end_to_end_killed_on_the_way(tmp_path):
    """Four students on two devices, then four more, killed before the latter are trained."""
    options = [*TINY, "--config.chunk=4"]
    run_until("rate_0.005/kd*/seed*/result.npz", "sweep", tmp_path, *options, devices=2)
    before = {file: file.read_bytes() for file in tmp_path.glob("rate_0.005/*/seed*/result.npz")}
    assert 2 < len(before) < 10 and not (tmp_path / "report.html").exists()

    resumed = run("sweep", tmp_path, *options, devices=2)
    assert resumed.returncode == 0, resumed.stderr
    assert all(file.read_bytes() == content for file, content in before.items())
    logs = [table(file) for file in tmp_path.glob("rate_0.005/together/*/train.csv")]
    assert sorted(len({row["member"] for row in log}) for log in logs) == [2, 4, 4]
    every = table(tmp_path / "every_setting.csv")
    assert len(every) == 4
    accuracies = [float(row["Validation mean"]) for row in every]
    assert accuracies == sorted(accuracies, reverse=True)
    assert accuracies[0] > 0.5 and every[0]["Within one deviation of the best"] == "yes"
    three = table(tmp_path / "chosen__default__labels_alone.csv")
    assert [row["Setting"].split(":")[0] for row in three] == ["labels alone", "default", "chosen"]
    best = every[0]
    assert three[2]["Setting"] == f"chosen: T {float(best['T']):g}, alpha {best['alpha']}"
    assert three[2]["Test mean"] == best["Test mean"]
    # Two heat maps; gains, confusion and reliability of the classes.
    assert len(list(tmp_path.glob("the_choice_*.svg"))) == 5
    assert "Heat map of Validation accuracy (%)" in (tmp_path / "report.html").read_text(
        encoding="utf-8"
    )
    assert "Chosen on validation examples: T" in resumed.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config.dataset=mnist"], "dataset must be one of digits, fashion_mnist, not 'mnist'"),
        (["--config.regime=some"], "regime must be one of few, all, not 'some'"),
        (["--config.temperatures=0,4"], "temperatures must be a positive number, not 0"),
        (["--config.alphas=0.5,1.5"], "alphas must lie in [0, 1], not 1.5"),
        (["--config.alphas=0.5,high"], "alphas must be numbers separated by commas"),
        (["--config.alphas=0.5,0.5"], "none twice, not (0.5, 0.5)"),
        (["--config.seeds=-1"], "seeds must be at least 1, not -1"),
        (["--config.validation_per_class=1000"], "fewer than per_class=1000"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_trained(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        main(chosen(Config(), options), tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def result_of(arm, validation):
    values = np.array(validation)
    scores = {"accuracy": values, "cross_entropy": np.ones(len(values))}
    test = {**scores, "accuracy": values - 0.01}
    logits = np.random.default_rng(0).normal(size=(len(values), 8, 3))
    seconds = np.full(len(values), np.nan)
    curve = np.array([960]), values[:, None]
    return ArmResult(arm, 960, scores, test, *curve, seconds, {"test": logits})


def sweep_results(accuracies, seeds=3, rates=(0.1,)):
    """A sweep of T 1 and 4, alpha 0.5 and 0.9 with these validation accuracies of each seed."""
    settings = [{"temperature": t, "alpha": alpha} for t in (1.0, 4.0) for alpha in (0.5, 0.9)]
    studies = {}
    for rate, values in zip(rates, np.split(np.array(accuracies), len(rates)), strict=True):
        results = [result_of(Arm("labels"), (0.51,) * seeds)]
        results += [result_of(Arm("kd", s), v) for s, v in zip(settings, values, strict=True)]
        studies[rate] = StudyResults(
            arms={result.arm.name: result for result in results},
            seeds=tuple(range(seeds)),
            measure=ACCURACY,
            part="validation",
            chosen=None,
            teacher={"test": {"accuracy": 0.99}},
            test_evaluations=1,
            workdir=pathlib.Path(),
            make_network=None,
            labels={"test": np.arange(8) % 3},
        )
    sizes = {"train": 1000, "labeled": 30, "validation": 400, "test": 8}
    return SweepResults(Config(seeds=seeds, learning_rates=rates), studies, sizes)


def test_the_best_on_validation_is_chosen_with_all_that_may_be_as_good():
    result = sweep_results(
        [[0.80, 0.81, 0.82], [0.88, 0.90, 0.92], [0.89, 0.89, 0.89], [0.7, 0.7, 0.7]]
    )
    assert result.chosen.name == "T 1, alpha 0.9"
    np.testing.assert_allclose(result.chosen.test, [0.87, 0.89, 0.91])
    assert [setting.name for setting in result.as_good] == ["T 1, alpha 0.9", "T 4, alpha 0.5"]
    assert result.default.name == "T 4, alpha 0.9"
    assert result.chosen_labels.name == "labels alone"


def test_the_report_says_no_more_than_the_seeds_can_show(tmp_path):
    wide = [[0.80, 0.81, 0.82], [0.88, 0.90, 0.92], [0.89, 0.89, 0.89], [0.7, 0.7, 0.7]]
    report = sweep_report.write(sweep_results(wide), tmp_path)
    assert "Of 4 settings 2 lie within one standard deviation of the best" in report.summary
    assert "T from 1 to 4, alpha from 0.5 to 0.9" in report.summary
    assert "a smaller T and a larger alpha may do better still" in report.summary
    narrow = sweep_report.write(sweep_results([[0.80], [0.9], [0.89], [0.7]], seeds=1), tmp_path)
    assert "A single seed cannot say which settings differ" in narrow.summary


def test_a_map_for_each_learning_rate_and_one_of_the_test_set(tmp_path):
    sweep_report.write(
        sweep_results([[0.8] * 3, [0.9] * 3, [0.7] * 3, [0.6] * 3] * 2, rates=(0.1, 0.2)), tmp_path
    )
    # Three maps; gains, confusion and reliability of the classes.
    assert len(list(tmp_path.glob("the_choice_*.svg"))) == 6
    every = table(tmp_path / "every_setting.csv")
    assert {row["Learning rate"] for row in every} == {"0.1", "0.2"} and len(every) == 8
