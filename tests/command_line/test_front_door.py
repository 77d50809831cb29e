"""`jaxkd distill` on JPEGs with an ONNX teacher, killed on the way, as benchmarks/front_door.py."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from objects_and_teachers import write_fitted_teacher

from benchmarks.front_door_parts import kills, objects, outputs, recomputed

SIZE = 16
ROOT = pathlib.Path(__file__).parents[2]


def test_images_have_odd_sizes_and_are_upright_for_those_who_read_exif(tmp_path):
    from PIL import Image, ImageOps

    objects.write_images(tmp_path, 12)
    generator, turned, grey = np.random.default_rng(0), 0, 0
    for number in range(12):
        kind = objects.KINDS[number % 3]
        height, width = (int(side) for side in generator.integers(24, 49, 2))
        rendered = objects.render(kind, height, width, generator)
        with Image.open(tmp_path / kind / f"{number:04d}.jpg") as image:
            turned += 0x0112 in image.getexif()
            grey += image.mode == "L"
            upright = ImageOps.exif_transpose(image)
            assert upright.size == (width, height)
            ours = np.asarray(upright.convert("L"), float)
        expected = np.asarray(Image.fromarray(rendered).convert("L"), float)
        assert np.abs(ours - expected).mean() < 6
    assert (turned, grey) == (3, 1)


def test_numbers_that_differ_are_named():
    numbers = recomputed.Numbers()
    numbers.compare("same", [0.5, 1.0], np.array([0.5, 1.0 + 1e-8]))
    assert not numbers.wrong and numbers.count == 2
    numbers.compare("accuracy", [0.5, 0.7], [0.5, 0.6])
    numbers.compare("curve", [0.5], [0.5, 0.6])
    numbers.compare("kind", "gain", "none")
    assert [text.split(":")[0] for text in numbers.wrong] == ["accuracy[1]", "curve", "kind"]
    found = recomputed.scores(np.array([[2.0, 0.0], [0.0, 1.0]]), np.array([0, 0]))
    assert found["accuracy"] == 0.5
    expected = (np.log1p(np.exp(-2.0)) + np.log1p(np.exp(1.0))) / 2
    assert found["cross_entropy"] == pytest.approx(expected)


def test_a_kill_that_comes_too_late_is_an_error(tmp_path):
    words = [sys.executable, "-c", "print('done')"]
    with pytest.raises(kills.NotKilledError, match="status 0 before never was in .* done"):
        kills.kill_at("never", tmp_path, words, tmp_path / "log")
    with pytest.raises(kills.NotKilledError, match="before the command is started"):
        kills.kill_at("log", tmp_path, words, tmp_path / "log")
    slow = [
        sys.executable,
        "-c",
        f"open({str(tmp_path / 'a')!r}, 'w'); import time; time.sleep(60)",
    ]
    kills.kill_at("a", tmp_path, slow, tmp_path / "log")


@pytest.mark.slow
def test_killed_five_times_it_ends_in_the_same_numbers(tmp_path):
    pytest.importorskip("onnxruntime")
    images = objects.write_images(tmp_path / "objects", 600)
    teacher = write_fitted_teacher(tmp_path / "teacher.onnx", SIZE)
    out = {name: tmp_path / name for name in ("whole", "killed")}
    words = {
        name: [sys.executable, "-m", "jaxkd", "distill", f"--data={images}", f"--out={each}"]
        + [f"--teacher={teacher}", "--student=cnn", f"--size={SIZE}", "--batch-size=16", "--quiet"]
        + ["--steps=60", "--seeds=2", "--format=stablehlo"]
        for name, each in out.items()
    }
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    for moment, pattern in kills.MOMENTS.items():
        seconds = kills.kill_at(pattern, out["killed"], words["killed"], tmp_path / "log", env)
        print(f"killed while {moment}, after {seconds:.1f} s")
    for each in words.values():
        subprocess.run(each, env=env, check=True, stdout=subprocess.DEVNULL)
    held_out = outputs.held_out(images, SIZE)
    logits = {part: (outputs.of_teacher(teacher, x), y) for part, (x, y) in held_out.items()}
    for each in out.values():
        numbers = recomputed.recompute(each, logits)
        assert not numbers.wrong and numbers.count > 60
        assert not list(each.glob(".*"))  # of kills nothing is left
    assert recomputed.without_seconds(out["whole"]) == recomputed.without_seconds(out["killed"])
    files = [each / "student/weights.safetensors" for each in out.values()]
    assert files[0].read_bytes() == files[1].read_bytes()
    pixels = held_out["test"][0]
    found = outputs.of_exported(out["killed"] / "student/model.stablehlo", pixels)
    ours = np.load(out["killed"] / "study/kd/seed0/test.npz")["logits"]
    np.testing.assert_allclose(found, ours, atol=1e-4)
