import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from rendered import write_images, write_teacher

from jaxkd import data
from jaxkd.__main__ import guarded, main
from jaxkd._command_line import distill, tune
from jaxkd.data import split
from jaxkd.training import Preempted

COMMANDS = ["distill", "tune", "report", "cache", "export"]


def status(*arguments):
    """Runs a command; returns its exit status, which argparse raises."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as ended:
        return ended.code


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "pets", 60)


def asked(pets, out, *more, teacher="none", student="mlp"):
    return [
        f"--data={pets}", f"--teacher={teacher}", f"--student={student}", f"--out={out}",
        "--size=8", "--batch-size=16", "--quiet", *map(str, more),
    ]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_help_lists_options_and_their_defaults(command, capsys):
    assert status(command, "--help") == 0
    out = capsys.readouterr().out
    assert f"usage: jaxkd {command}" in out
    if command in ("distill", "tune"):
        assert "(default: 0.001)" in out and "(default: 3)" in out and "(default: )" not in out


def test_the_version_and_all_commands(capsys):
    assert status("--version") == 0 and status("--help") == 0
    out = capsys.readouterr().out
    assert out.startswith("jaxkd ") and all(f"\n{name}: " in out for name in COMMANDS)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["distil"], "there is no command distil (did you mean distill?)"),
        (["distill", "--epohcs=3"], "there is no option --epohcs (did you mean --epochs"),
        (["tune", "--temprature", "3"], "there is no option --temprature (did you mean --temper"),
        (["distill", "--format", "onnx,tflit"], "there is no 'tflit' (did you mean tflite"),
        (["distill", "--data=x"], "required: --teacher, --student, --out"),
        (["distill", "--steps", "3", "--epochs", "2"], "not allowed with argument"),
        (["cache", "inf", "x"], "there is no 'inf' (did you mean info?)"),
        (["report", "a", "b"], "there is nothing that b could mean here"),
    ],
)
def test_a_wrong_option_is_one_line_that_says_which_was_meant(arguments, message, capsys):
    assert status(*arguments) == 2
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1 and "--help" in err


def test_lists_have_commas_or_spaces_and_names_hyphens_or_underscores():
    needed = ["--data=a", "--teacher=b", "--student=c", "--out=d"]
    for words in (["--seeds=1,2", "3"], ["--seeds", "1", "2", "3"], ["--seeds", "1,2,3"]):
        assert distill.make_parser().parse_args([*needed, *words]).seeds == [1, 2, 3]
    assert distill.make_parser().parse_args([*needed, "--batch_size", "8"]).batch_size == 8
    grid = tune.make_parser().parse_args([*needed, "--alpha", "0.5,", "1"])
    assert grid.alpha == [0.5, 1.0] and grid.method == ["kd"]


def test_errors_of_the_user_are_lines_without_a_traceback(pets, tmp_path, capsys):
    cases = {
        "there is no folder or file": asked("./nowhere", tmp_path),
        "did you mean mobilenet_v3_small": asked(pets, tmp_path, student="mobilnet_v3_small"),
        "name the weights of the teacher, mlp:weights.safetensors": asked(
            pets, tmp_path, teacher="mlp"
        ),
        "there is no file none.onnx": asked(pets, tmp_path, teacher="none.onnx"),
        "did you mean 'temperature'": asked(pets, tmp_path, "--option", "temprature=2"),
        "there is no function nowhere:make": asked(pets, tmp_path, student="nowhere:make"),
    }
    for message, arguments in cases.items():
        assert status("distill", *arguments) == 1
        err = capsys.readouterr().err
        assert err.startswith("error: ") and message in err and "Traceback" not in err, err
    assert status("report", tmp_path) == 1
    assert "is no folder of jaxkd distill" in capsys.readouterr().err


def test_a_teacher_of_other_classes_is_refused_before_training(pets, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    file = write_teacher(tmp_path / "four.onnx", classes=4)
    assert status("distill", *asked(pets, tmp_path / "out", teacher=file)) == 1
    assert "the teacher tells 4 classes apart" in capsys.readouterr().err
    assert not (tmp_path / "out" / "study").exists()


def test_what_stopped_it_says_how_to_go_on(capsys):
    def stop(error):
        raise error

    command = ["jaxkd", "distill", "--data", "my pets"]
    assert guarded(lambda: stop(KeyboardInterrupt()), command) == 130
    assert "to go on: jaxkd distill --data 'my pets'" in capsys.readouterr().err
    assert guarded(lambda: stop(Preempted(3, None)), command) == 75


def test_a_folder_becomes_a_student_and_a_report(pets, tmp_path, capsys):
    arguments = asked(pets, tmp_path, "--method=labels", "--no-compare", "--seeds=1", "--steps=1")
    assert status("distill", *arguments) == 0
    assert {"report.html", "report.md", "report.json"} < {f.name for f in tmp_path.iterdir()}
    assert (tmp_path / "student" / "weights.safetensors").exists()
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    (share,) = document["arms"]["labels"]["scores"]["test"]["accuracy"]
    card = json.loads((tmp_path / "student" / "card.json").read_text(encoding="utf-8"))["stated"]
    assert (card["method"], card["accuracy"]) == ("labels, 1 step, seed 0", {"test": share})
    capsys.readouterr()
    assert status("distill", *arguments, "--steps=2") == 1
    assert "belongs to another configuration (steps: 1 there, 2 now)" in capsys.readouterr().err


@pytest.mark.slow
def test_every_number_of_the_report_follows_from_files(pets, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    out, teacher = tmp_path / "out", write_teacher(tmp_path / "teacher.onnx")
    steps = ["--steps=3", "--seeds=2", "--format=stablehlo"]
    arguments = asked(pets, out, *steps, teacher=teacher)
    assert status("distill", *arguments) == 0
    report = (out / "report.json").read_bytes()
    page, text = (out / "report.html").read_bytes(), (out / "report.md").read_bytes()
    assert {file.name for file in (out / "student").iterdir()} == {
        "README.md", "card.json", "model.stablehlo", "run.py", "weights.safetensors",
    }  # fmt: skip
    for name in ("report.html", "report.md", "report.json"):
        (out / name).unlink()
    assert status("report", out) == 0
    assert (out / "report.json").read_bytes() == report
    assert (out / "report.md").read_bytes() == text
    assert len((out / "report.html").read_bytes()) == pytest.approx(len(page), rel=0.01)
    assert status("distill", *arguments) == 0  # everything is there
    assert (out / "report.json").read_bytes() == report
    assert status("distill", *arguments, "--format=safetensors,onnx") == 1
    assert "was exported without onnx" in capsys.readouterr().err
    check_numbers(out, pets, seeds=2, size=8)


def check_numbers(out, pets, seeds, size):
    """Computes the numbers of a report again from the logits that the runs left on disk."""
    document = json.loads((out / "report.json").read_text(encoding="utf-8"))
    parts = split(data.folder(pets, size=size), {"train": 0.8, "validation": 0.1, "test": 0.1})
    assert set(document["arms"]) == {"labels", "kd"}
    accuracies = {}
    for name, arm in document["arms"].items():
        for part, file in {"validation": "result.npz", "test": "test.npz"}.items():
            labels = parts[part].labels
            for seed in range(seeds):
                logits = np.load(out / "study" / name / f"seed{seed}" / file)["logits"]
                accuracy = (logits.argmax(-1) == labels).mean()
                logits = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
                entropy = -logits[np.arange(len(labels)), labels].mean()
                scores = arm["scores"][part]
                assert scores["accuracy"][seed] == pytest.approx(accuracy, abs=1e-6)
                assert scores["cross_entropy"][seed] == pytest.approx(entropy, rel=1e-4)
                accuracies[name, part, seed] = accuracy
    gains = [accuracies["kd", "test", s] - accuracies["labels", "test", s] for s in range(seeds)]
    mean = document["arms"]["kd"]["against_baseline"]["mean"]
    assert mean == pytest.approx(np.mean(gains), abs=1e-6)
    text = (out / "report.md").read_text(encoding="utf-8")
    for name in ("labels", "kd"):
        values = [100 * accuracies[name, "test", seed] for seed in range(seeds)]
        assert f"{np.mean(values):.2f} ± {np.std(values, ddof=1):.2f}" in text


def killed(words, waits):
    """Runs a command as a process of its own; kills it as often as there are waits."""
    environment = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    command = [sys.executable, "-m", "jaxkd", *words]
    kills = 0
    for wait in waits:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        started = time.monotonic()
        while process.poll() is None and time.monotonic() - started < wait:
            time.sleep(0.05)
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return kills


@pytest.mark.slow
def test_killed_on_the_way_it_ends_in_the_same_numbers(tmp_path):
    pytest.importorskip("onnxruntime")
    pets = write_images(tmp_path / "pets", 600, size=40)
    teacher = write_teacher(tmp_path / "teacher.onnx")
    out = [tmp_path / "whole", tmp_path / "killed"]
    words = [
        ["distill", *asked(pets, each, "--steps=60", "--seeds=2", "--size=16", teacher=teacher)]
        for each in out
    ]
    started = time.monotonic()
    assert killed(words[0], []) == 0
    seconds = time.monotonic() - started
    kills = killed(words[1], [seconds * share for share in (0.3, 0.4, 0.5, 0.5, 0.5)])
    print(f"killed {kills} times")
    assert kills >= 3
    documents = [json.loads((each / "report.json").read_text(encoding="utf-8")) for each in out]
    for document in documents:
        for arm in document["arms"].values():
            del arm["seconds"]  # not known of a training that was resumed
    assert documents[0] == documents[1]
    check_numbers(out[1], pets, seeds=2, size=16)


@pytest.mark.slow
def test_a_teacher_that_is_not_there_is_trained_first(pets, tmp_path):
    arguments = asked(pets, tmp_path, "--steps=2", "--seeds=1", "--no-compare", teacher="train:mlp")
    assert status("distill", *arguments) == 0
    document = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert list(document["arms"]) == ["kd"] and document["teacher"]["test"]
    assert (tmp_path / "teacher" / "results.json").exists()


@pytest.mark.slow
def test_tune_tries_a_grid(pets, tmp_path):
    pytest.importorskip("onnxruntime")
    grid = ["--steps=2", "--seeds=1", "--tuning-seeds=1", "--temperature=1,2", "--alpha", "0.5"]
    teacher = write_teacher(tmp_path / "teacher.onnx")
    assert status("tune", *asked(pets, tmp_path / "out", *grid, teacher=teacher)) == 0
    report = (tmp_path / "out" / "report.json").read_bytes()
    assert len(json.loads(report)["tried"]["arms"]) == 2
    assert status("report", tmp_path / "out") == 0
    assert (tmp_path / "out" / "report.json").read_bytes() == report
