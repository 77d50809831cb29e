"""The compression experiment, whole, on scikit-learn's digits."""

import json
import subprocess
import sys

import numpy as np
import pytest
from experiment_runs import chosen, kill_in, run, table, uninterrupted

from experiments.compress.__main__ import main
from experiments.compress.config import Config
from experiments.compress.pipelines import parse
from experiments.compress.report import pareto_front
from experiments.compress.run import run as run_pipelines
from jaxkd import weights
from jaxkd.study.runtime import Runtime

OPTIONS = (
    "--config.dataset=digits", "--config.batch_size=32", "--config.learning_rate=0.01",
    "--config.teacher.channels=8", "--config.teacher.hidden=32", "--config.teacher_epochs=3",
    "--config.student.channels=4", "--config.student.hidden=16", "--config.epochs=3",
    "--config.tuning_epochs=1", "--config.qat_epochs=1", "--config.seeds=1", "--config.repeats=10",
    "--config.views.flip=False",
)  # fmt: skip
CHOSEN = "labels,distil,labels-prune,distil-sparse,distil-sparse-qat,distil-low_rank,distil-int8"


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """The work directory of a complete run."""
    folder = tmp_path_factory.mktemp("compress") / "run"
    main(chosen(Config(), [*OPTIONS, f"--config.pipelines={CHOSEN}"]), folder, Runtime())
    return folder


@pytest.mark.slow
def test_every_network_is_in_the_table_with_its_cost(workdir):
    rows = {row["Steps"]: row for row in table(workdir / "compression.csv")}
    assert len(rows) == 8 and "distil · sparse · qat" in rows

    def number(steps, column):
        (name,) = (name for name in rows[steps] if name.startswith(column))
        return float(rows[steps][name].replace(",", ""))

    for cheaper, than in (("labels", "teacher"), ("labels · prune", "labels")):
        for column in ("Weights not zero", "Bytes of the weights", "Forward pass"):
            assert number(cheaper, column) < number(than, column)
    assert number("distil · sparse", "Weights not zero") < 0.35 * number(
        "distil", "Weights not zero"
    )
    assert number("distil · int8", "Bytes") < 0.4 * number("distil", "Bytes")
    assert number("distil · int8", "Forward pass") == number("distil", "Forward pass")
    assert all(number(steps, "Accuracy mean") > 0.15 for steps in rows)
    for name in ("report.html", "with_and_without_the_teacher.csv", "exported_files.csv"):
        assert (workdir / name).stat().st_size > 100


@pytest.mark.slow
def test_resources_of_floating_networks(workdir):
    rows = {row["Steps"]: row for row in table(workdir / "resources.csv")}
    assert list(rows) == [
        "teacher", "labels", "distil", "labels · prune", "distil · sparse", "distil · low rank"
    ]  # fmt: skip

    def numbers(column):
        (name,) = (name for name in rows["teacher"] if name.startswith(column))
        return {steps: float(row[name].replace(",", "")) for steps, row in rows.items()}

    peak, seconds = numbers("Peak memory"), numbers("Computed or")
    assert peak["teacher"] > peak["labels"] > peak["labels · prune"] > 0
    assert seconds["teacher"] > seconds["labels"] > 0
    assert numbers("Speed relative to the teacher")["teacher"] == 1.0
    assert all(number > 0 for number in numbers("Images a second").values())
    assert {row["Bound by"] for row in rows.values()} <= {"compute", "memory"}


@pytest.mark.slow
def test_masked_weights_stay_zero_in_int8(workdir):
    """The share of zeros, and the position of each, behind one more training."""
    before, after = (
        {
            path: np.asarray(kernel, np.float32) == 0
            for path, kernel in read(next((workdir / "exported").glob(f"*/{name}"))).items()
            if path.endswith("kernel")
        }
        for name in ("distil-sparse", "distil-sparse-qat")
    )
    assert sum(zeros.sum() for zeros in before.values()) >= 0.79 * sum(
        zeros.size for zeros in before.values()
    )
    for path, zeros in before.items():
        assert after[path][zeros].all(), path


def read(folder):
    """The weights of an exported network."""
    return weights.read(folder / "weights.safetensors")


@pytest.mark.slow
def test_exported_networks_run_alone_and_have_cards(workdir, tmp_path):
    folder = next((workdir / "exported").glob("*/labels-prune"))
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    assert card["stated"]["method"] == "labels · prune" and card["missing"] != []
    (program,) = (f for f in folder.iterdir() if f.suffix in (".tflite", ".stablehlo"))
    assert card["checks"][program.name]["agreement"] == 1.0
    np.save(tmp_path / "x.npy", np.zeros((2, 8, 8, 1), np.uint8))
    done = subprocess.run(
        [sys.executable, folder / "run.py", program, tmp_path / "x.npy", "--repeats", "3"],
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0 and "latency" in done.stdout, done.stderr


@pytest.mark.slow
def test_a_finished_run_is_read_and_other_pipelines_join_it(workdir):
    files = sorted(workdir.glob("*/seed0/result.npz"))
    before = {file: file.stat().st_mtime_ns for file in files}
    assert len(files) == 7
    config = chosen(Config(), [*OPTIONS, "--config.pipelines=distil,distil-int4"])
    out = run_pipelines(config, workdir, Runtime())
    assert {file: file.stat().st_mtime_ns for file in files} == before
    assert list(out.results.arms) == ["distil", "distil-int4"]
    assert pareto_front(out, {"distil": 2.0, "distil-int4": 1.0})[0] == "distil-int4"
    other = chosen(Config(), [*OPTIONS, "--config.keep=0.5"])
    with pytest.raises(ValueError, match="keep"):
        run_pipelines(other, workdir, Runtime())


@pytest.mark.slow
def test_killed_in_training_and_resumed_it_gives_the_same_numbers(workdir, tmp_path):
    options = [*OPTIONS, "--config.pipelines=distil,distil-sparse"]
    cut = tmp_path / "cut"
    kill_in("distil_sparse/seed0", 30, "compress", cut, *options)
    done = run("compress", cut, *options)
    assert done.returncode == 0, done.stderr
    uninterrupted("distil_sparse/seed0", "compress", cut, *options)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels,labels", "^pipelines must name each pipeline once, not 'labels,labels'"),
        ("nonsense", r"^pipelines: 'nonsense': there is no step \['nonsense'\]"),
        ("prune", "must begin with labels or distil"),
        ("labels-squeeze", r"no step \['squeeze'\]; there are \['labels'"),
        ("labels-int8-prune", "^pipelines: nothing can follow 'quantize'"),
        ("labels-low_rank-prune", "write 'prune', 'low_rank'"),
        ("labels-sparse-low_rank", "write 'low_rank', 'sparsify'"),
    ],
)
def test_pipelines_that_make_no_sense_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse(Config(pipelines=text), 10)


def test_a_pipeline_has_the_numbers_of_the_configuration():
    config = Config(pipelines="distil-prune-labels-qat", keep=0.6, temperature=2.0)
    (arm,) = parse(config, 100)
    assert arm.first.options == {"alpha": 0.9, "temperature": 2.0}
    prune, train, qat = arm.stages
    assert prune.options["fraction"] == pytest.approx(0.4) and train.method.name == "labels"
    assert [stage.steps for stage in arm.stages] == [200, 200, 100]
    assert [stage.learning_rate for stage in arm.stages] == [1e-3, 1e-3, 3e-4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "mnist"}, "dataset must be one of fashion_mnist, digits, not 'mnist'"),
        ({"keep": 0.0}, r"keep must lie in \(0, 1\), not 0.0"),
        ({"sparsity": 1.5}, r"sparsity must lie in \(0, 1\)"),
        ({"qat_epochs": 0}, "qat_epochs must be at least 1"),
        ({"rank": 1.0}, r"rank must lie in \(0, 1\), not 1.0"),
        ({"dataset": "digits", "batch_size": 4096}, "batch_size=4096 is more than the"),
    ],
)
def test_a_bad_configuration_is_refused_before_anything_is_saved(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_pipelines(Config(**options), tmp_path / "run", Runtime())
    assert not (tmp_path / "run").exists()
