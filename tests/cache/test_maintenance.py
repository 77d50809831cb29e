import os
import pathlib
import random
import subprocess
import sys

import numpy as np
import pytest
from conftest import random_images, small_network

from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.cache.__main__ import main
from jaxkd.targets import Dense, TopK
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(2), Normalize()))
IMAGES, TEACHER = random_images(), small_network(1)
OPTIONS = {"block_size": 64, "batch_size": 32, "progress": False}


def what():
    """For the command line."""
    return {"teacher": TEACHER, "dataset": IMAGES, "views": VIEWS, "student": small_network(0)}


def another():
    """Another teacher."""
    return what() | {"teacher": small_network(2)}


WHAT = f"{__name__}:what"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built")
    codec = {"logits": TopK(3)}
    return caches.build(path, TEACHER, IMAGES, VIEWS, num_views=2, codec=codec, **OPTIONS)


def test_every_damage_is_found(tmp_path):
    """Flips and truncations anywhere below the cache, by `verify` and by reading."""
    caches.build(tmp_path, TEACHER, IMAGES, VIEWS, num_views=2, codec=TopK(3), **OPTIONS)
    assert caches.verify(tmp_path) == []
    files = sorted(f for f in tmp_path.rglob("*") if f.is_file() and "effort" not in f.parts)
    assert {f.name for f in files} > {"contract.json", "ids", "segments.json", "seal.json"}
    chance = random.Random(0)
    for turn in range(120):
        file = chance.choice(files)
        whole = file.read_bytes()
        data = bytearray(whole)
        place = chance.randrange(len(data))
        if turn % 3:
            data[place] ^= 1 << chance.randrange(8)
        else:
            del data[place:]
        if file.suffix == ".json" and _same(whole, data):
            continue
        file.write_bytes(data)
        if "c" in file.parts:
            (damage,) = caches.verify(tmp_path)
            array, view, block = file.parts[-5], int(file.parts[-3]), int(file.parts[-2])
            assert (damage.array, damage.view, damage.block) == (array, view, block)
            assert str(file.name) in damage.message and "build again" in damage.message
            with pytest.raises(CacheError, match=f"damaged in the array '{array}'"):
                caches.Cache(tmp_path).read(IMAGES.ids, view)
        else:
            # A document that is needed for reading refuses it all; others are named.
            with pytest.raises(CacheError, match=f"damaged.*{file.name}|{file.name}.*damaged"):
                raise CacheError([damage.message for damage in caches.verify(tmp_path)])
        file.write_bytes(whole)
    assert caches.verify(tmp_path) == []


def _same(one, two):
    import json

    try:
        return json.loads(one) == json.loads(two)
    except ValueError:
        return False


def test_a_file_that_is_gone_is_found(tmp_path):
    caches.build(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS)
    file = next(tmp_path.rglob("records/*/c/0/2/0"))
    file.unlink()
    (damage,) = caches.verify(tmp_path)
    assert damage.block == 2 and "missing" in damage.message
    caches.build(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS)
    assert caches.verify(tmp_path) == [] and file.exists()


def test_the_teacher_computes_the_same_again(built):
    same = caches.spot_check(built, TEACHER, IMAGES, VIEWS, records=50)
    assert (
        same.records == 50
        and same.changed_predictions == 0
        and same.max_difference["logits"] < 1e-2
    )
    other = caches.spot_check(built, small_network(2), IMAGES, VIEWS, records=50)
    assert other.changed_predictions > 5 and other.max_difference["logits"] > 0.1
    with pytest.raises(ValueError, match="records must be at least 1, not 0"):
        caches.spot_check(built, TEACHER, IMAGES, VIEWS, records=0)


def test_a_spot_check_is_by_default_of_examples_as_they_are(tmp_path):
    data = IMAGES.with_inputs if False else IMAGES
    built = caches.build(tmp_path, TEACHER, data, num_views=1, **OPTIONS)
    assert caches.spot_check(built, TEACHER, data, records=8).changed_predictions == 0


def test_statistics_are_those_of_the_logits(tmp_path, built):
    dense = caches.build(tmp_path, TEACHER, IMAGES, VIEWS, num_views=2, codec=Dense(), **OPTIONS)
    logits = [np.asarray(dense.read(IMAGES.ids, v).decode()["logits"], float) for v in (0, 1)]
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    top = -np.sort(-p, axis=-1)
    found, sparse = caches.stats(dense, IMAGES), caches.stats(built, IMAGES)
    assert found.records == sparse.records == 400 and found.mass == pytest.approx(1)
    assert found.entropy == pytest.approx(-(p * np.log(p)).sum(-1).mean(), rel=1e-4)
    assert sparse.mass == pytest.approx(top[..., :3].sum(-1).mean(), rel=1e-3)
    assert sparse.confidence == pytest.approx(top[..., 0].mean(), rel=1e-3)
    assert found.accuracy == sparse.accuracy == np.mean(p.argmax(-1) == IMAGES.labels)
    merged = np.concatenate([top[..., :3], 1 - top[..., :3].sum(-1, keepdims=True)], -1)
    assert sparse.entropy == pytest.approx(-(merged * np.log(merged)).sum(-1).mean(), rel=1e-3)


def test_a_forecast_says_what_a_build_will_take(capsys, monkeypatch):
    found = caches.forecast(TEACHER, IMAGES, VIEWS, codec=TopK(3), num_views=4, student=TEACHER)
    assert (found.records, found.bytes_per_record) == (800, 3 + 6 + 4)
    assert found.bytes == 800 * 13 and found.gain == pytest.approx(4 / 3)
    # One convolution of 3×3 on 8×8 and a head of 64 to 5 at least.
    assert found.teacher_flops > 2 * (8 * 8 * 9 * 4 + 64 * 5) * 0.7
    assert caches.forecast(TEACHER, IMAGES).gain is None
    caches.confirm_build(found, above=20_000)
    caches.confirm_build(found, above=10, yes=True)
    with pytest.raises(ValueError, match="10.4 kB, more than 10 B, and there is no terminal"):
        caches.confirm_build(found, above=10)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda text: "n")
    with pytest.raises(ValueError, match="nothing was built"):
        caches.confirm_build(found, above=10)


def test_commands(tmp_path, built, capsys):
    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    status, text = run("info", built.path)
    assert status == 0 and '"dataset.name": "random"' in text
    assert "200 examples × 2 views, 13 bytes a record, 5,200 in all, in 1 segments" in text
    status, text = run("verify", built.path, "--teacher", WHAT, "--records", 20)
    assert status == 0 and "400 records read, 0 blocks damaged" in text
    assert "20 records computed again" in text and "0 most probable classes differ" in text
    status, text = run("verify", built.path, "--teacher", f"{__name__}:another")
    assert status == 1 and "teacher.parameters: the cache has" in text
    status, text = run("stats", built.path, "--data", WHAT)
    assert (
        status == 0 and "400 records: mass stored 0." in text and "accuracy against labels" in text
    )
    np.save(tmp_path / "ids.npy", IMAGES.ids[:50])
    arguments = ("--ids", tmp_path / "ids.npy", "--views", 1)
    assert run("subset", built.path, tmp_path / "a", *arguments)[0] == 0
    np.save(tmp_path / "ids.npy", IMAGES.ids[50:])
    assert run("subset", built.path, tmp_path / "b", *arguments)[0] == 0
    status, text = run("merge", tmp_path / "m", tmp_path / "a", tmp_path / "b")
    assert status == 0 and "200 examples × 1 views" in text
    status, text = run("build", tmp_path / "n", WHAT, "--confirm_above", 1e-9)
    assert (
        status == 1 and "no terminal to confirm it on: pass --yes" in text and "1.33 times" in text
    )
    status, text = run("build", tmp_path / "n", WHAT, "--confirm_above", 1e-9, "--yes")
    assert status == 0 and "200 examples × 1 views" in text
    status, text = run("info", tmp_path / "nothing")
    assert status == 1 and "there is no cache at" in text
    assert "module:function" in run("stats", built.path, "--data", "what")[1]
    assert "cannot be imported" in run("stats", built.path, "--data", "no.such:what")[1]
    status, text = run("verify", built.path, "--teacher", f"{__name__}:small_network")
    assert status == 1 and "must return a mapping with teacher and dataset, not an object" in text


def test_damage_is_an_exit_status(tmp_path, capsys):
    caches.build(tmp_path, TEACHER, IMAGES, VIEWS, **OPTIONS)
    file = next(tmp_path.rglob("records/*/c/0/1/0"))
    file.write_bytes(file.read_bytes()[:-3])
    assert main(["verify", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "view 0, block 1: the cache" in text and "1 blocks damaged" in text


def test_the_module_runs():
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "jaxkd.cache", "info", "/nowhere"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert done.returncode == 1 and "there is no cache at /nowhere" in done.stderr
