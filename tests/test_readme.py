"""The sections of the README, executed in their order in one program, as they stand."""

import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

README = pathlib.Path(__file__).parents[1] / "README.md"
KINDS = ("ball", "box", "stripes")


def section(title):
    """The code of a section: of Python, and of the shell."""
    text = README.read_text(encoding="utf-8").split(f"\n## {title}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return code, re.findall(r"```sh\n(.*?)```", text, re.S)


def picture(kind, rng):
    """An object in its color on a gray ground, noisy, of any size."""
    height, width = rng.integers(70, 120, 2)
    y, x = np.mgrid[:height, :width] - np.array([[[height / 2]], [[width / 2]]])
    radius = 0.3 * min(height, width) * rng.uniform(0.8, 1.2)
    inside = {
        "ball": x**2 + y**2 < radius**2,
        "box": np.maximum(abs(x), abs(y)) < radius,
        "stripes": (y // 6 % 2 == 0) & (abs(x) < radius),
    }[kind]
    image = np.full((height, width, 3), 90.0)
    image[inside] = np.roll([220.0, 60.0, 60.0], KINDS.index(kind))
    return (image + rng.normal(size=image.shape) * 12).clip(0, 255).astype(np.uint8)


def make_pets(folder):
    image = pytest.importorskip("PIL.Image")
    rng = np.random.default_rng(0)
    for kind in KINDS:
        (folder / kind).mkdir(parents=True)
        for number in range(60):
            file = folder / kind / f"{number}.jpg"
            image.fromarray(picture(kind, rng)).save(file, quality=90)


def make_teacher(file):
    """Writes a network of ONNX whose logits are the mean colors, weighed."""
    onnx = pytest.importorskip("onnx")
    make = onnx.helper
    weights = make.make_tensor("weights", onnx.TensorProto.FLOAT, [3, 3], 60 * np.eye(3).ravel())
    nodes = [
        make.make_node("GlobalAveragePool", ["images"], ["means"]),
        make.make_node("Flatten", ["means"], ["flat"]),
        make.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    shapes = {"images": ["batch", 3, 64, 64], "logits": ["batch", 3]}
    inputs, outputs = (
        [make.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)]
        for name, shape in shapes.items()
    )
    graph = make.make_graph(nodes, "colors", inputs, outputs, [weights])
    versions = [make.make_opsetid("", 17)]
    onnx.save(make.make_model(graph, opset_imports=versions, ir_version=9), file)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The names of the program after all sections but the last one, and its folder."""
    pytest.importorskip("onnxruntime")
    folder = tmp_path_factory.mktemp("readme")
    make_pets(folder / "pets")
    make_teacher(folder / "teacher.onnx")
    names: dict = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for title in (
            "Quickstart", "Your own images", "A teacher from PyTorch or ONNX", "Did it help?"
        ):  # fmt: skip
            exec(compile(section(title)[0], title, "exec"), names)
    return names, folder


@pytest.mark.slow
def test_the_sections_run_in_their_order(program):
    names, folder = program
    parts = {name: len(part) for name, part in names["pets"].items()}
    assert parts == {"train": 144, "validation": 18, "test": 18}
    for network in (names["large"], names["small"]):
        assert network.params is not None
    results = names["helped"].results
    assert set(results.arms) == {"labels", "kd"} and results.seeds == (0, 1, 2)
    assert results.teacher["test"]["accuracy"] > 0.9
    assert results.values("kd").min() > 0.8
    text = (folder / "runs/helped/report.html").read_text(encoding="utf-8")
    assert text.index("Conclusion") < text.index("<table>")
    assert (folder / "runs/pets/report.html").exists()


@pytest.mark.slow
def test_the_file_for_a_phone_runs(program, monkeypatch):
    reason = "needs the extra litert, in an environment of its own"
    pytest.importorskip("litert_converter", reason=reason)
    pytest.importorskip("litert_quantizer", reason=reason)
    names, folder = program
    monkeypatch.chdir(folder)
    code, (shell,) = section("To a phone")
    exec(compile(code, "phone", "exec"), names)
    assert {"model.tflite", "model_int8.tflite"} <= {f.name for f in folder.glob("phone/*")}
    first, *words = shlex.split(shell)
    assert first == "python"
    done = subprocess.run(
        [sys.executable, *words], capture_output=True, encoding="utf-8", check=True, cwd=folder
    )
    assert "latency at batch 1: median" in done.stdout
