import json
import re
import subprocess
import sys

import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import models, weights
from jaxkd.__main__ import main
from jaxkd.export import edge


@pytest.fixture(scope="module")
def given(tmp_path_factory):
    """The arguments of a network of 8×8 images, its examples and its weights."""
    folder = tmp_path_factory.mktemp("given")
    generator = np.random.default_rng(0)
    network = jaxkd.from_nnx(models.create("mlp", image_size=8, in_channels=1, rngs=nnx.Rngs(3)))
    weights.save(network, folder / "mlp.safetensors")
    images = generator.integers(0, 256, (20, 8, 8, 1), np.uint8)
    np.save(folder / "images.npy", images)
    inputs = ((images / 255 - 0.5) / 0.25).astype(np.float32)
    logits = np.asarray(network(inputs)["logits"])
    np.save(folder / "inputs.npy", inputs)
    np.save(folder / "labels.npy", logits.argmax(-1))
    return folder, logits


def arguments(given, output, examples="images.npy", *more):
    folder, _ = given
    return [
        "export",
        "mlp",
        str(folder / "mlp.safetensors"),
        f"--examples={folder / examples}",
        f"--output={output}",
        *more,
    ]


SEEN = ("--mean=0.5", "--std=0.25")  # the scale is that of the type


def test_images_as_they_are_go_into_what_is_exported(given, tmp_path, capsys):
    (tmp_path / "card.json").write_text(json.dumps({"method": "KD, T 2"}), encoding="utf-8")
    more = [f"--labels={given[0] / 'labels.npy'}", f"--card={tmp_path / 'card.json'}"]
    assert main(arguments(given, tmp_path / "mlp", "images.npy", *SEEN, *more)) == 0
    printed = capsys.readouterr().out
    assert "model.stablehlo: 20 examples" in printed and "accuracy 100.00%" in printed
    assert "not stated: accuracy, data, data_license, license, notes, teacher" in printed
    card = json.loads((tmp_path / "mlp" / "card.json").read_text(encoding="utf-8"))
    assert card["stated"]["name"] == "mlp" and card["stated"]["method"] == "KD, T 2"
    runner = edge.load(tmp_path / "mlp" / "model.stablehlo")
    assert runner.dtype == np.uint8
    images = np.load(given[0] / "images.npy")
    np.testing.assert_allclose(runner.logits(images), given[1], atol=1e-4)


def test_the_program_of_the_package_and_the_rooms_are_one(given, tmp_path):
    command = arguments(given, tmp_path / "mlp", "inputs.npy", "--formats", "safetensors")
    run = subprocess.run(
        [sys.executable, "-m", "jaxkd", *command],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert sorted(file.name for file in (tmp_path / "mlp").iterdir()) == [
        "README.md",
        "card.json",
        "weights.safetensors",
    ]


@pytest.mark.parametrize(
    ("examples", "more", "message"),
    [
        ("images.npy", [], "the examples are uint8: say how they are normalized"),
        ("labels.npy", [], r"examples must be \[examples, side, side, c\], not \[20\]"),
        ("inputs.npy", ["--num_classes=7"], r"\(256, 7\) wanted"),
        ("inputs.npy", ["--output={folder}"], "exists: name another directory"),
        ("images.npy", ["--scale=0"], "scale and std must be positive, not 0"),
        ("nowhere.npy", [], "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(given, tmp_path, capsys, examples, more, message):
    more = [part.format(folder=given[0]) for part in more]
    assert main(arguments(given, tmp_path / "mlp", examples, *more)) == 1
    assert re.search(f"error: .*{message}", capsys.readouterr().err, re.S)
    assert not (tmp_path / "mlp").exists()


def test_packages_are_listed_and_their_commands_are_named(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert "export: write a network as StableHLO" in capsys.readouterr().out
    for package in ("cache", "export"):
        with pytest.raises(SystemExit):
            main([package, "--help"])
        assert f"usage: jaxkd {package}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["train"])
    assert "invalid choice" in capsys.readouterr().err
