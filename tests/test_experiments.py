import csv
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import pytest
from flagged import chosen

from experiments import digits, fashion_mnist

ROOT = pathlib.Path(__file__).parents[1]
TINY = [
    "--config.seeds=2",
    "--config.short_epochs=2",
    "--config.long_epochs=3",
    "--config.few_epochs=3",
    "--config.teacher_epochs=3",
    "--config.student.width=16",
]


def command(workdir, *options, module="experiments.digits"):
    return [sys.executable, "-m", module, f"--workdir={workdir}", *TINY, *options]


def run(*arguments, **options):
    return subprocess.run(
        command(*arguments, **options), cwd=ROOT, capture_output=True, text=True, check=False
    )


def table(file: pathlib.Path) -> list[dict[str, str]]:
    return list(csv.DictReader(file.open()))


def test_digits_from_end_to_end_killed_on_the_way(tmp_path):
    views = ["--config.views.crop=1", "--config.views.num_views=2", "--config.codec=top4"]
    process = subprocess.Popen(
        command(tmp_path, *views), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    deadline = time.monotonic() + 300
    # Killed while students train: after the first result is there, before the last.
    while not list(tmp_path.glob("short/*/seed0/result.npz")) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = {f: f.stat().st_mtime_ns for f in tmp_path.glob("*/*/*/result.npz")}
    assert before and not (tmp_path / "report.html").exists()

    resumed = run(tmp_path, *views)
    assert resumed.returncode == 0, resumed.stderr
    assert {f: f.stat().st_mtime_ns for f in before} == before
    report = (tmp_path / "report.html").read_text()
    assert "Few labels and a large unlabelled pool" in report
    arms = [row["Student"] for row in table(tmp_path / "few_labels.csv")]
    assert len(arms) == 6 and "control: teacher of few labels" in arms
    for name in ("networks", "the_cache", "confidence_and_calibration"):
        assert table(tmp_path / f"{name}.csv")
    assert "distilled on the pool, cached" in " ".join(resumed.stdout.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--config.temperature=0.0"], "temperature"),
        (["--config.alpha=nan"], "must be finite, not nan"),
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
def test_a_bad_configuration_ends_before_anything_is_trained(tmp_path, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        digits.main(chosen(digits.Config(), [*TINY, *options]), tmp_path / "w")
    assert not (tmp_path / "w").exists()


def test_an_unknown_flag_is_refused(tmp_path):
    refused = run(tmp_path, "--config.nothing=1")
    assert refused.returncode != 0
    assert "nothing" in refused.stderr + refused.stdout


def test_a_work_directory_of_another_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"alpha": 0.5}\n')
    with pytest.raises(ValueError, match=r"alpha: 0.5 there, 0.9 now"):
        digits.main(chosen(digits.Config(), TINY), tmp_path)


def test_fashion_mnist_refuses_unknown_names_and_missing_data(tmp_path):
    for option, message in [
        ("--config.student.name=vit", "student.name must be mlp, cnn or convnet, not 'vit'"),
        ("--config.teacher.name=vgg", "not 'vgg'"),
        (f"--config.data_dir={tmp_path / 'nothing'}", "prepare"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError), match=re.escape(message)):
            fashion_mnist.main(chosen(fashion_mnist.Config(), [option]), tmp_path / "w")
