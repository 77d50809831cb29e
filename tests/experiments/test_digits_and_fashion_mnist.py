import re

import pytest
from experiment_runs import chosen, run, run_until, runtime, table

from experiments.digits import __main__ as digits
from experiments.fashion_mnist import __main__ as fashion_mnist

TINY = [
    "--config.seeds=2",
    "--config.short_epochs=2",
    "--config.long_epochs=3",
    "--config.few_epochs=3",
    "--config.teacher_epochs=3",
    "--config.student.width=16",
]


@pytest.mark.slow
def test_digits_from_end_to_end_killed_on_the_way(tmp_path):
    views = ["--config.views.crop=1", "--config.views.num_views=2", "--config.codec=top4"]
    # Killed while students train: after the first result is there, before the last.
    run_until("short/*/seed0/result.npz", "digits", tmp_path, *TINY, *views, devices=8)
    before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/*/*/result.npz")}
    assert before and not (tmp_path / "report.html").exists()

    resumed = run("digits", tmp_path, *TINY, *views, devices=8)
    assert resumed.returncode == 0, resumed.stderr
    assert {f: f.stat().st_mtime_ns for f in before} == before
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Few labels and a large unlabeled pool" in report
    arms = [row["Student"] for row in table(tmp_path / "few_labels.csv")]
    assert len(arms) == 6 and "control: teacher of few labels" in arms
    for name in ("networks", "the_cache", "confidence_and_calibration"):
        assert table(tmp_path / f"{name}.csv")
    assert "distilled on the pool, cached" in " ".join(resumed.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config.temperature=0.0"], "temperature"),
        (["--config.alpha=nan"], "alpha must lie in [0, 1], not nan"),
        (["--config.codec=zip"], "not 'zip'"),
        (["--config.codec=top16"], "k=16 classes, the teacher has 10"),
        (["--config.batch_size=0"], "batch_size must be at least 1, not 0"),
        (["--config.label_smoothing=2.0"], "label_smoothing must lie in [0, 1], not 2.0"),
        (["--config.views.num_views=0"], "views.num_views must be at least 1, not 0"),
        (["--config.views.mixup=0.2", "--config.views.cutmix=1.0"], "choose one"),
        (["--config.seeds=0"], "seeds must be at least 1, not 0"),
        (["--config.labels_per_class=1000"], "fewer than per_class=1000"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_trained(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        digits.main(chosen(digits.Config(), [*TINY, *options]), tmp_path / "w", runtime())
    assert not (tmp_path / "w").exists()


def test_an_unknown_flag_is_refused(tmp_path):
    refused = run("digits", tmp_path, *TINY, "--config.nothing=1")
    assert refused.returncode != 0
    assert "nothing" in refused.stderr + refused.stdout


def test_a_work_directory_of_another_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"alpha": 0.5}\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"alpha: 0.5 there, 0.9 now"):
        digits.main(chosen(digits.Config(), TINY), tmp_path, runtime())


def test_fashion_mnist_refuses_unknown_names_and_missing_data(tmp_path):
    for option, message in [
        ("--config.student.name=vit", "student.name must be one of mlp, cnn, convnet, not 'vit'"),
        ("--config.teacher.name=vgg", "not 'vgg'"),
        (f"--config.data_dir={tmp_path / 'nothing'}", "prepare"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
            fashion_mnist.main(chosen(fashion_mnist.Config(), [option]), tmp_path / "w", runtime())
