"""Caches of format 2: they open with a warning, and become caches of format 3 where they lie."""

import json
import pathlib
import warnings
import zipfile

import numpy as np
import pytest
from written_caches import IMAGES, LOGITS, writer

from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, _convert, _segment
from jaxkd.cache.__main__ import main
from jaxkd.cache._shard import tag_in
from jaxkd.targets import TopK

# 150 examples in blocks of 64, one view and then a second one, top-3 of 5 random logits.
STORED = pathlib.Path(__file__).with_name("format_2.zip")
IDS = IMAGES.ids[:150]


@pytest.fixture
def old(tmp_path):
    zipfile.ZipFile(STORED).extractall(tmp_path / "old")
    return tmp_path / "old"


def assert_right(cache):
    np.testing.assert_array_equal(cache.ids, IDS)
    assert cache.num_views == 2
    for view in range(2):
        wanted = np.roll(LOGITS, view, axis=0)[IMAGES.rows(IDS)].argmax(axis=1)
        found = cache.read(IDS, view).decode()["logits"]
        np.testing.assert_array_equal(found.indices[:, 0], wanted)


@pytest.mark.filterwarnings("default:the cache .* has format 2")
def test_format_2_opens_with_one_warning_that_names_the_command(old, capsys):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cache = Cache(old)
    (warning,) = caught
    assert f"format 2.*python -m jaxkd.cache convert {old}".split(".*")[1] in str(warning.message)
    assert_right(cache)
    capsys.readouterr()
    assert main(["verify", str(old)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"warning: the cache {old} has format 2")


@pytest.mark.filterwarnings("ignore:the cache .* has format 2")
def test_nothing_is_added_to_format_2(old):
    part = IMAGES.select(IDS)
    options = {"codec": TopK(3), "data": part, "num_views": 3, "extend": True}
    before = {f: f.read_bytes() for f in old.rglob("*") if f.is_file()}
    allow = set(Cache(old).contract)
    with pytest.raises(CacheError, match="format 2, to which this release adds nothing.*convert"):
        writer(old, **options, allow=allow)
    assert before == {f: f.read_bytes() for f in old.rglob("*") if f.is_file()}


def test_it_is_converted_where_it_lies(old, capsys):
    before = {f: f.read_bytes() for f in old.rglob("c/*/*/*") if f.is_file()}
    assert main(["convert", str(old)]) == 0
    assert "150 examples × 2 views" in capsys.readouterr().out
    cache = Cache(old)  # without a warning, which would be an error here
    assert_right(cache)
    assert caches.verify(old) == []
    for file, shard in before.items():
        tag = tag_in(file.read_bytes())
        assert tag.cache == cache.document["id"] and str(tag.block) == file.parts[-2]
        assert file.read_bytes().replace(tag.to_bytes(), b"") == shard
    names = {f.name for f in old.rglob("*") if f.is_file()}
    assert names.isdisjoint({"segment.json", "conversion.json"})
    # Once more: there is nothing left to do.
    assert main(["convert", str(old)]) == 0
    assert Cache(old).document == cache.document


@pytest.mark.filterwarnings("default:the cache .* has format 2")
def test_it_is_converted_to_another_place(old, tmp_path, capsys):
    assert main(["convert", str(old), "--to", str(tmp_path / "new")]) == 0
    assert "has format 2" in capsys.readouterr().err
    assert_right(Cache(tmp_path / "new"))
    assert caches.verify(tmp_path / "new") == []
    assert json.loads((old / "contract.json").read_text(encoding="utf-8"))["format"] == 2


@pytest.mark.filterwarnings("ignore:the cache .* has format 2")
def test_killed_anywhere_and_called_again_it_goes_on(old, monkeypatch):
    class KilledError(Exception):
        pass

    writes, done = 0, False
    for module, name in (
        (_segment._store, "write_bytes"),
        (_segment._store, "replace_bytes"),
    ):
        real = getattr(module, name)

        def counted(*arguments, real=real):
            nonlocal writes
            if writes == 0:
                raise KilledError
            writes -= 1
            return real(*arguments)

        monkeypatch.setattr(module, name, counted)
    for allowed in range(1, 60):
        writes = allowed
        try:
            _convert.convert(old)
            done = True
        except KilledError:
            writes = 0
        assert_right(Cache(old))
        if done:
            break
    assert done and Cache(old).document["format"] == 3
    assert caches.verify(old) == []


def test_an_incomplete_one_is_refused(old):
    next(old.rglob("c/0/1/0")).unlink()
    with pytest.raises(CacheError, match="is not complete: blocks of .*Finish it with the release"):
        _convert.convert(old)
    assert not (old / "conversion.json").exists()
    with pytest.raises(CacheError, match="there is no cache"):
        _convert.convert(old / "nothing")
