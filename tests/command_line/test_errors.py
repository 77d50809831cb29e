"""Whatever goes wrong in a command is one line that says what to write instead."""

import importlib.util
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
import warnings

import jax.export
import jax.numpy as jnp
import pytest
from calls import asked, status
from objects_and_teachers import write_teacher

from benchmarks.front_door_parts.objects import KINDS, write_images
from jaxkd._guard import guarded, joined, line_of
from jaxkd._named_function import named_function
from jaxkd.training import Preempted

MODULE = """
import numpy as np
def boom(): return 1 / 0
def three(): return 3
def student(seed, num_classes): raise KeyError("layers")
value = 3
"""


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "pets", 60)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The present folder, with modules and files of which something is wrong."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "odd_module.py").write_text(MODULE, encoding="utf-8")
    (tmp_path / "no_module.py").write_text("import nothing_here", encoding="utf-8")
    (tmp_path / "no_python.py").write_text("def f(:", encoding="utf-8")
    for name in ("bad.onnx", "bad.stablehlo", "file", "notes.txt"):
        (tmp_path / name).write_text("hello", encoding="utf-8")
    (tmp_path / "columns.csv").write_text("file,kind\na.jpg,cat\n", encoding="utf-8")
    yield tmp_path
    for name in ("odd_module", "no_module", "no_python"):
        sys.modules.pop(name, None)


def error_of(capsys, *arguments):
    """Returns the line of a command that fails."""
    assert status("distill", *arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("error: ") and err.count("\n") == 1 and "Traceback" not in err, err
    return err


DATA = {
    "./nowhere": "there is no folder or file ./nowhere",
    "notes.txt": "a table is a file .csv, .tsv, .parquet, .pq, not",
    "columns.csv": "has no column 'path', it has ['file', 'kind']",
    "odd_module:three": "odd_module:three must return examples, ",
    "odd_module:boom": "ZeroDivisionError: division by zero. It was raised by odd_module:boom",
}
TEACHERS = {
    "mlp": "name the weights of the teacher, mlp:weights.safetensors",
    "mpl:w.npz": "did you mean mlp?",
    "train:resnt18": "did you mean resnet18",
    "none.onnx": "there is no file none.onnx",
    "bad.onnx": "ONNX Runtime cannot open",
    "bad.stablehlo": "is no program of jax.export",
    "odd_module:thre": "there is no function odd_module:thre (did you mean three?)",
    "odd_module:value": "odd_module:value must be a function, not an object of int",
    "odd_module:three": "odd_module:three must return a network, a teacher of",
    "no_module:f": "the module of no_module:f cannot be imported: No module named 'nothing_here'",
    "no_python:f": "It was raised by the module no_python. JAXKD_TRACEBACK=1 shows where",
}
STUDENTS = {
    "mobilnet_v3_small": "did you mean mobilenet_v3_small",
    "nowhere:make": "the module of nowhere:make cannot be imported",
    "odd_module:student": "KeyError: 'layers'. It was raised by odd_module:student, called with (",
    "vit_tiny_patch16": "16, not 8; vit_tiny_patch16 was to be made for images of 8×8×3; --size",
}
OPTIONS = {
    "--mean=0.5,0.5": "--mean has 2 numbers, and the images have 3 channels",
    "--batch-size=0": "batch_size must be at least 1, not 0",
    "--learning-rate=-1": "learning_rate must be positive, not -1.0",
    "--method=kdd": "there is no method 'kdd'; did you mean 'kd'",
    "--option=temprature=2": "did you mean 'temperature'",
    "--out=file": "--out file is a file: name a folder",
}


def test_wrong_data_teachers_students_and_numbers(pets, folder, capsys):
    out = folder / "out"
    for data, message in DATA.items():
        assert message in error_of(capsys, *asked(data, out))
    for teacher, message in TEACHERS.items():
        if teacher == "bad.onnx" and not importlib.util.find_spec("onnxruntime"):
            continue
        assert message in error_of(capsys, *asked(pets, out, teacher=teacher))
    for student, message in STUDENTS.items():
        assert message in error_of(capsys, *asked(pets, out, student=student))
    for option, message in OPTIONS.items():
        assert message in error_of(capsys, *asked(pets, out, "--steps=1", option))
    one = asked(pets, out, "--steps=1", "--temperature=2", "--alpha=1", teacher="train:mlp")
    for option, message in {"": "there is one setting", "--tuning-seeds=0": "at least one"}.items():
        more = ["--alpha=0.5,1", option] if option else []
        assert status("tune", *one, *more) == 1
        assert message in capsys.readouterr().err
    assert not (out / "study").exists() and not (out / "teacher").exists()
    assert status("report", folder) == 1
    assert "is no folder of jaxkd distill" in capsys.readouterr().err


def test_a_test_image_that_cannot_be_decoded_is_found_before_training(pets, tmp_path, capsys):
    for part in ("train", "test"):
        shutil.copytree(pets, tmp_path / "pets" / part)
    (tmp_path / "pets/test" / KINDS[0] / "bad.jpg").write_text("hello", encoding="utf-8")
    for teacher in ("none", "train:mlp"):
        more = ["--method=labels", "--steps=1", "--seeds=1", "--no-compare"]
        arguments = asked(tmp_path / "pets", tmp_path / "out", *more, teacher=teacher)
        assert "bad.jpg) cannot be read as view 0" in error_of(capsys, *arguments)
    assert not list(tmp_path.rglob("labels"))


def test_a_teacher_of_other_classes_or_sizes_is_refused_before_training(pets, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    four = write_teacher(tmp_path / "four.onnx", classes=4)
    message = error_of(capsys, *asked(pets, tmp_path / "out", teacher=four))
    assert "the teacher tells 4 classes apart" in message
    large = write_teacher(tmp_path / "large.onnx", size=16)
    message = error_of(capsys, *asked(pets, tmp_path / "out", teacher=large))
    assert "the views are [1, 8, 8, 3]" in message and "--size says how large it gets" in message
    exported = jax.export.export(jax.jit(lambda x: jnp.zeros((4, 2))))
    program = exported(jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.float32)).serialize()
    (tmp_path / "two.stablehlo").write_bytes(program)
    message = error_of(capsys, *asked(pets, tmp_path / "out", teacher=tmp_path / "two.stablehlo"))
    assert "the teacher tells 2 classes apart" in message
    assert not (tmp_path / "out" / "study").exists()


def test_errors_and_warnings_are_lines(capsys, monkeypatch):
    def fail():
        warnings.warn("first\n  second", stacklevel=1)
        error = RuntimeError("no memory")
        error.add_note("It was the\nlast.")
        raise error

    assert guarded(fail, ["jaxkd"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "warning: first; second"
    assert lines[1].startswith("error: RuntimeError: no memory. It was the; last. JAXKD_TRACEBACK")
    assert line_of(ValueError("a:\n  b")) == "a: b" and line_of(MemoryError()).startswith("Memory")
    assert joined("one\n\n Two\nthree. \nfour") == "one. Two; three. four"
    monkeypatch.setenv("JAXKD_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="no memory"):
        guarded(fail, ["jaxkd"])


def test_what_stopped_it_says_how_to_go_on(capsys):
    def stop(error):
        raise error

    command = ["jaxkd", "distill", "--data", "my pets"]
    assert guarded(lambda: stop(KeyboardInterrupt()), command) == 130
    assert "to go on: jaxkd distill --data 'my pets'" in capsys.readouterr().err
    assert guarded(lambda: stop(Preempted(3, None)), command) == 75


def test_a_name_without_a_function_is_refused():
    with pytest.raises(ValueError, match="name a function as module:function, not 'os'"):
        named_function("os")
    with pytest.raises(ValueError, match="there is no function os:getcdw .did you mean getcwd"):
        named_function("os:getcdw")


@pytest.mark.slow
def test_ctrl_c_while_training_says_the_command_that_goes_on(pets, tmp_path):
    words = ["distill", *asked(pets, tmp_path, "--steps=3000", "--seeds=1", "--method=labels")]
    command = [sys.executable, "-m", "jaxkd", *words, "--no-compare"]
    env = os.environ | {"PYTHONPATH": str(pathlib.Path(__file__).parents[2])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8", env=env)
    while process.poll() is None and not any(tmp_path.glob("study/labels/seed0/*.csv")):
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    err = process.communicate()[1]
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("stopped; to go on: jaxkd distill --data="), err
    assert "Traceback" not in err
    assert subprocess.run(command, capture_output=True, env=env, check=False).returncode == 0
