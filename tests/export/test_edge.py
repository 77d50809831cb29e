import re

import jax
import numpy as np
import pytest
from conftest import random_images, small_network

from jaxkd.export import _programs, edge

IMAGES, NETWORK = random_images(), small_network(1)
INPUTS = (IMAGES.inputs / 255).astype(np.float32)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("edge")
    like = jax.ShapeDtypeStruct(INPUTS.shape[1:], INPUTS.dtype)
    program = _programs.serialize(_programs.forward(NETWORK), like, None)
    (path / "model.stablehlo").write_bytes(program)
    np.save(path / "inputs.npy", INPUTS)
    np.save(path / "labels.npy", IMAGES.labels)
    return path


def run(folder, *more):
    return edge.main([str(folder / "model.stablehlo"), str(folder / "inputs.npy"), *more])


def test_it_says_how_right_and_how_fast(folder, tmp_path, capsys):
    labels, outputs = folder / "labels.npy", tmp_path / "logits.npy"
    options = ["--labels", str(labels), "--outputs", str(outputs), "--repeats", "3"]
    assert run(folder, *options) == 0
    printed = capsys.readouterr().out
    wanted = np.asarray(NETWORK(INPUTS)["logits"])
    np.testing.assert_allclose(np.load(outputs), wanted, atol=1e-5)
    accuracy = np.mean(wanted.argmax(-1) == IMAGES.labels)
    assert f"top-1: {accuracy:.4f} of 200" in printed
    assert f"first classes: {' '.join(map(str, wanted.argmax(-1)[:10]))}" in printed
    assert re.search(
        r"latency at batch 1: median [\d.]+ ms, p10 [\d.]+ ms, p90 [\d.]+ ms \(3 calls after 10\)",
        printed,
    )
    assert f"jax {jax.__version__} on cpu" in printed


def test_no_repeats_time_nothing(folder, monkeypatch, capsys):
    monkeypatch.setattr(edge, "latency", None)
    assert run(folder, "--repeats", "0") == 0
    assert "latency" not in capsys.readouterr().out


def test_the_first_calls_do_not_count(monkeypatch):
    ticks = iter([0.0, 9.0, 0.0, 9.0, 0.0, 1.0, 0.0, 2.0])
    monkeypatch.setattr(edge.time, "perf_counter", lambda: next(ticks))
    seen = []
    runner = edge.Runner(lambda x: seen.append(x.shape), (4,), np.dtype("f4"), 3, "nothing")
    times = edge.latency(runner, np.zeros((2, 4), np.float32), repeats=2, warmup=2)
    assert times.tolist() == [1.0, 2.0] and seen == [(3, 4)] * 4


@pytest.mark.parametrize("batch", [None, 1, 3, 200])
def test_all_inputs_are_answered_whatever_the_batch(batch):
    sizes = []

    def double(part):
        sizes.append(len(part))
        return part * 2

    inputs = np.arange(140.0).reshape(70, 2)
    runner = edge.Runner(double, (2,), inputs.dtype, batch, "nothing")
    np.testing.assert_array_equal(runner.logits(inputs), inputs * 2)
    assert set(sizes) == ({64, 6} if batch is None else {batch})


def test_arrays_by_name_are_checked_cut_and_repeated():
    def added(part):
        return part["a"] + part["b"][:, None]

    inputs = {"a": np.arange(10.0).reshape(5, 2), "b": np.arange(5)}
    shapes, types = {"a": (2,), "b": ()}, {"a": inputs["a"].dtype, "b": inputs["b"].dtype}
    runner = edge.Runner(added, shapes, types, 3, "nothing")
    runner.check(inputs)
    np.testing.assert_array_equal(runner.logits(inputs), added(inputs))
    for wrong in (inputs["a"], {"a": inputs["a"]}, inputs | {"b": np.arange(4)}):
        with pytest.raises(ValueError, match=r"takes a float64 \[examples, 2\], b int64"):
            runner.check(wrong)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (INPUTS.astype(np.float64), None, [], r"takes float32 .*8, 8, 1\], .* float64 \[200, 8, 8"),
        (INPUTS[:, :7], None, [], r"the inputs are float32 \[200, 7, 8, 1\]"),
        (INPUTS, IMAGES.labels * 1.0, [], "labels are integers, not float64"),
        (INPUTS, IMAGES.labels[:5], [], r"labels \[5\] for classes \[200\]"),
        (INPUTS, None, ["--warmup", "0"], "warmup and threads at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(folder, tmp_path, capsys, inputs, labels, options, message):
    np.save(tmp_path / "inputs.npy", inputs)
    arguments = [str(folder / "model.stablehlo"), str(tmp_path / "inputs.npy"), *options]
    if labels is not None:
        np.save(tmp_path / "labels.npy", labels)
        arguments += ["--labels", str(tmp_path / "labels.npy")]
    assert edge.main(arguments) == 1
    assert re.search(message, capsys.readouterr().err)


def test_another_kind_of_file_is_refused(tmp_path, folder, capsys):
    assert edge.main([str(tmp_path / "model.pb"), str(folder / "inputs.npy")]) == 1
    assert "neither a .tflite, nor a .onnx, nor a .stablehlo" in capsys.readouterr().err


def test_its_help_is_for_who_has_this_file_alone(capsys):
    with pytest.raises(SystemExit):
        edge.main(["--help"])
    printed = capsys.readouterr().out
    assert "pip install numpy ai-edge-litert" in printed and "--labels" in printed
