import ast
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import random_images, small_network
from exported_networks import texts_with_masks
from flax import linen, nnx

import jaxkd
from jaxkd import weights
from jaxkd.export import ExportError, ModelCard, _export, _programs, edge, export
from jaxkd.export._card import markdown
from jaxkd.export._verify import Tolerance, compare
from jaxkd.views import Normalize

IMAGES, NETWORK = random_images(), small_network(1)
CARD = ModelCard(teacher="a larger one", data="random images", accuracy={"test": 0.25})


def normalize(images):
    return Normalize(mean=(0.4,), std=(0.3,))(None, images)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return export(
        tmp_path_factory.mktemp("exports") / "small",
        NETWORK,
        IMAGES.inputs,
        labels=IMAGES.labels,
        card=CARD,
        preprocess=normalize,
    )


def left(directory):
    return sorted(path.name for path in directory.iterdir())


def test_a_process_without_flax_and_jaxkd_runs_it_at_any_batch(done, tmp_path):
    np.save(tmp_path / "inputs.npy", IMAGES.inputs)
    code = f"""
import sys
import jax, numpy as np
from jax import export
exported = export.deserialize(bytearray(open({str(done.files["stablehlo"])!r}, "rb").read()))
inputs = np.load({str(tmp_path / "inputs.npy")!r})
for size in (1, 3, 64):
    np.save({str(tmp_path)!r} + f"/{{size}}.npy", exported.call(inputs[:size]))
print(exported.platforms, {{"flax", "jaxkd"}} & set(sys.modules))
"""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        encoding="utf-8",
        check=True,
        env=environment,
    )
    assert run.stdout.strip() == "('cpu', 'cuda', 'tpu') set()"
    for size in (1, 3, 64):
        wanted = NETWORK(normalize(IMAGES.inputs[:size]))["logits"]
        np.testing.assert_allclose(np.load(tmp_path / f"{size}.npy"), wanted, atol=1e-5)


def test_what_runs_on_a_device_imports_no_library_of_training():
    imported = set()
    for node in ast.walk(ast.parse(pathlib.Path(edge.__file__).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(str(node.module).split(".")[0])
    assert imported - set(sys.stdlib_module_names) == {
        "numpy",
        "jax",
        "ai_edge_litert",
        "onnxruntime",
    }


def test_the_check_says_how_it_compares(done):
    check = done.checks["stablehlo"]
    wanted = np.asarray(NETWORK(normalize(IMAGES.inputs))["logits"])
    assert check.examples == len(IMAGES) and check.largest <= 1e-4 and check.agreement == 1
    assert check.accuracy == pytest.approx(np.mean(wanted.argmax(-1) == IMAGES.labels))
    assert set(done.checks) == {"stablehlo"}


def test_text_of_the_author_is_no_markup_of_the_card(done):
    text = "a|b `c` <img src=x> [d](http://e)\n# f"
    stated = done.card["stated"] | {"name": text, "notes": text, "accuracy": {text: 0.5}}
    shown = r"a\|b \`c\` \<img src=x> \[d](http://e) # f"
    page = markdown(done.card | {"stated": stated}).splitlines()
    page = page[page.index("---", 1) + 2 :]  # behind what the Hub reads
    assert page[0] == f"# {shown}" and f"- Notes: {shown}" in page
    assert f"- Accuracy, {shown}: 50.00%" in page


def test_the_card_says_what_is_known_and_what_is_missing(done):
    card = json.loads((done.directory / "card.json").read_text(encoding="utf-8"))
    assert card == json.loads(json.dumps(done.card))
    assert card["stated"]["teacher"] == "a larger one" and card["stated"]["name"] == "Small"
    assert card["missing"] == ["data_license", "license", "method", "notes"]
    assert card["fingerprint"] == NETWORK.fingerprint()
    assert card["input"]["dtype"] == "uint8" and card["input"]["shape"] == [8, 8, 1]
    assert card["cost"]["parameters"] == jaxkd.compression.count_parameters(NETWORK.params)
    inputs = normalize(IMAGES.inputs[:32])
    assert card["cost"]["flops_an_example"] == jaxkd.compression.flops(NETWORK, inputs)
    assert left(done.directory) == sorted([*card["files"], "README.md", "card.json"])
    for name, about in card["files"].items():
        content = (done.directory / name).read_bytes()
        assert about == {
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
    text = (done.directory / "README.md").read_text(encoding="utf-8")
    assert "- Teacher: a larger one" in text and "- Method: not stated" in text
    assert "- Accuracy, test: 25.00%" in text and card["files"]["run.py"]["sha256"] in text


def test_weights_are_the_networks_and_say_whose(done):
    other, report = weights.load(small_network(2), done.files["safetensors"])
    assert report.complete and other.fingerprint() == NETWORK.fingerprint()
    from safetensors import safe_open

    with safe_open(done.files["safetensors"], "np") as file:
        assert file.metadata() == NETWORK.fingerprint()


def test_what_exists_is_left_alone(done):
    before = {file.name: file.stat().st_mtime_ns for file in done.directory.iterdir()}
    with pytest.raises(FileExistsError, match="small exists: name another directory"):
        export(done.directory, NETWORK, IMAGES.inputs, preprocess=normalize)
    assert {file.name: file.stat().st_mtime_ns for file in done.directory.iterdir()} == before


def test_another_networks_program_is_refused_with_both_numbers(tmp_path, monkeypatch):
    honest = _programs.serialize

    def exchanged(function, like, batch):
        return honest(lambda inputs: function(inputs) + jnp.arange(5) * 1e-3, like, batch)

    monkeypatch.setattr(_programs, "serialize", exchanged)
    with pytest.raises(ExportError, match=r"logit is 0\.004 .* at most 1\.0e-04 .* 100\.00%"):
        export(tmp_path / "x", NETWORK, normalize(IMAGES.inputs), formats=["stablehlo"])
    assert left(tmp_path) == []


def test_a_damaged_program_is_refused(tmp_path, monkeypatch):
    honest = _programs.serialize
    monkeypatch.setattr(_programs, "serialize", lambda *given: honest(*given)[:-2000])
    with pytest.raises(ExportError, match=r"model\.stablehlo does not run in a fresh process"):
        export(tmp_path / "x", NETWORK, normalize(IMAGES.inputs), formats=["stablehlo"])
    assert left(tmp_path) == []


def test_weights_of_another_network_are_refused(tmp_path, monkeypatch):
    honest = weights.save
    monkeypatch.setattr(
        weights, "save", lambda network, *given, **more: honest(small_network(2), *given, **more)
    )
    with pytest.raises(ExportError, match="read back, its parameters are sha256:"):
        export(tmp_path / "x", NETWORK, normalize(IMAGES.inputs), formats=["safetensors"])
    assert left(tmp_path) == []


def test_a_linen_network_with_a_fixed_batch(tmp_path):
    module = linen.Dense(3)
    inputs = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    network = jaxkd.from_linen(module, module.init(jax.random.key(0), inputs))
    done = export(tmp_path / "x", network, inputs, formats=["stablehlo"], stablehlo_batch=2)
    assert done.checks["stablehlo"].examples == 5
    runner = edge.load(done.files["stablehlo"])
    assert runner.batch == 2
    np.testing.assert_allclose(runner.logits(inputs), network(inputs)["logits"], atol=1e-6)


def test_inputs_by_name(tmp_path):
    network, inputs = texts_with_masks()
    done = export(tmp_path / "x", network, inputs, formats=["stablehlo"])
    runner = edge.load(done.files["stablehlo"])
    assert runner.shape == {"mask": (5,), "text.tokens": (5,)} and runner.batch is None
    flat = {"mask": inputs["mask"], "text.tokens": inputs["text"]["tokens"]}
    np.testing.assert_allclose(runner.logits(flat), network(inputs)["logits"], atol=1e-6)
    assert done.card["input"]["shape"] == {"mask": [5], "text.tokens": [5]}
    text = (done.directory / "README.md").read_text(encoding="utf-8")
    assert "`mask` int32 `[batch, 5]`, `text.tokens` int32 `[batch, 5]`" in text
    assert "run.py model.stablehlo inputs.npz" in text


def test_a_network_that_depends_on_its_batch_size_needs_one(tmp_path):
    def depends(params, inputs):
        return (inputs if inputs.shape[0] > 3 else 2 * inputs / 2) @ params

    network = jaxkd.from_function(depends, jnp.ones((4, 2)))
    with pytest.raises(ExportError, match="for any batch size; give a batch size"):
        export(tmp_path / "x", network, np.ones((5, 4), np.float32), formats=["stablehlo"])


def test_outputs_that_are_no_numbers_are_refused(tmp_path):
    network = jaxkd.from_function(lambda params, x: jnp.log(x @ params), -jnp.ones((4, 2)))
    with pytest.raises(ExportError, match=r"100\.0% of the network's logits .* NaN"):
        export(tmp_path / "x", network, np.ones((5, 4), np.float32))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"formats": ["torch"]}, "formats are some of .*'torch'"),
        ({"formats": []}, "formats are some of"),
        ({"formats": "stablehlo"}, "formats are some of"),
        ({"stablehlo_batch": 0}, "stablehlo_batch must be at least 1"),
        ({"litert_batch": -1}, "litert_batch must be at least 1"),
        ({"onnx_batch": 0}, "onnx_batch must be at least 1"),
        ({"labels": np.zeros(7)}, r"labels must be \[200\], not \[7\]"),
        ({"int8_agreement": 99.5}, r"share in \[0, 1\], not 0.0001 and 99.5"),
        ({"labels": np.zeros(200)}, "labels are integers, not float64"),
        ({"examples": np.zeros((5, 8, 8, 1))}, r"float64, .* takes float32: .*astype\('float32'\)"),
        (
            {"examples": {"a": np.zeros(3, np.int32), "b": {"c": np.zeros((2, 4), np.int32)}}},
            r"same number of examples, they are {'a': \[3\], 'b.c': \[2, 4\]}",
        ),
        ({"examples": {"a": np.zeros((5, 8))}}, r"examples\['a'\] are float64, .* takes float32"),
        ({"examples": np.zeros((0, 4))}, r"examples must be \[examples, ...\], not \[0, 4\]"),
    ],
)
def test_bad_requests_are_refused_before_work(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(_export, "reference", None)
    given = {"examples": normalize(IMAGES.inputs)} | options
    with pytest.raises(ValueError, match=message):
        export(tmp_path / "x", NETWORK, **given)
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("formats", "missing", "extra"),
    [
        (["stablehlo"], "flatbuffers", "export"),
        (["litert"], "litert_converter", "litert"),
        (["onnx"], "jax2onnx", "onnx-export"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(tmp_path, monkeypatch, formats, missing, extra):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"{missing}.*jaxkd-distill\[{extra}\]"):
        export(tmp_path / "x", NETWORK, normalize(IMAGES.inputs), formats=formats)


def test_a_network_quantized_by_qwix_stays_so(tmp_path):
    qwix = pytest.importorskip("qwix")
    model = nnx.Sequential(nnx.Linear(64, 64, rngs=nnx.Rngs(0)), nnx.relu)
    rule = qwix.QuantizationRule(module_path=".*", weight_qtype=jnp.int8, act_qtype=jnp.int8)
    inputs = np.random.default_rng(0).normal(size=(6, 64)).astype(np.float32)
    quantized = qwix.quantize_model(model, qwix.PtqProvider([rule]), inputs)
    done = export(tmp_path / "x", jaxkd.from_nnx(quantized), inputs)
    assert done.checks["stablehlo"].largest <= 1e-6
    for file in done.files.values():
        assert file.stat().st_size < 4 * 64 * 64  # bytes of the weights alone in float32


def test_comparisons():
    wanted = np.array([[1.0, 2.0, -np.inf], [3.0, 0.0, -np.inf]], np.float32)
    labels = np.array([1, 1])
    same = compare("f", wanted, wanted.copy(), labels, Tolerance(0.0, 1.0))
    assert (same.examples, same.largest, same.agreement, same.accuracy) == (2, 0, 1, 0.5)
    unlabeled = compare("f", wanted, wanted.copy(), np.array([1, -1]), Tolerance(0.0, 1.0))
    assert unlabeled.accuracy == 1.0
    near = wanted + np.array([[0.25, 0, 0], [0, 0, 0]], np.float32)
    assert compare("f", wanted, near, None, Tolerance(0.25, 1.0)).largest == 0.25
    with pytest.raises(ExportError, match=r"is 0\.25 .* at most 2\.4e-01"):
        compare("f", wanted, near, None, Tolerance(0.24, 1.0))
    flipped = wanted[:, [1, 0, 2]]
    with pytest.raises(
        ExportError, match=r"agree in 0\.00%; allowed: an agreement of at least 99\.50%"
    ):
        compare("f", wanted, flipped, None, Tolerance(np.inf, 0.995))
    broken = wanted.copy()
    broken[0, 0] = np.nan
    with pytest.raises(ExportError, match="logit is nan"):
        compare("f", wanted, broken, None, Tolerance(1.0, 0.0))
    with pytest.raises(ExportError, match=r"gives logits \(2, 2\), the network \(2, 3\)"):
        compare("f", wanted, wanted[:, :2], None, Tolerance(1.0, 0.0))


def test_cards_of_wrong_fields_are_refused(tmp_path):
    (tmp_path / "good.json").write_text(
        '{"teacher": "t", "accuracy": {"test": 0.5}}', encoding="utf-8"
    )
    assert ModelCard.read(tmp_path / "good.json") == ModelCard(teacher="t", accuracy={"test": 0.5})
    (tmp_path / "bad.json").write_text('{"theacher": "t"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"some of \['name', 'teacher'.*it has \['theacher'\]"):
        ModelCard.read(tmp_path / "bad.json")
    with pytest.raises(ValueError, match="accuracy maps data to a share"):
        ModelCard(accuracy=0.895)
    for share in (89.5, "0.9", None, float("nan")):
        with pytest.raises(ValueError, match=rf"share in \[0, 1\], 'test' is {share!r}"):
            ModelCard(accuracy={"test": share})
    assert json.dumps(ModelCard(accuracy={"test": np.float32(0.5)}).accuracy) == '{"test": 0.5}'


def test_a_loop_of_unknown_length_costs_no_known_number(tmp_path):
    def halved(params, inputs):
        return jax.lax.while_loop(lambda x: jnp.max(x) > 1, lambda x: x / 2, inputs @ params)

    network = jaxkd.from_function(halved, jnp.ones((4, 2)))
    inputs = np.random.default_rng(0).uniform(size=(5, 4)).astype(np.float32)
    done = export(tmp_path / "x", network, inputs, formats=["safetensors"])
    assert done.card["cost"]["flops_an_example"] is None
    assert "| FLOPs an example | not known |" in (done.directory / "README.md").read_text(
        encoding="utf-8"
    )
    assert _export.FORMATS["safetensors"] in done.card["files"]
