import errno
import os
import pathlib
import resource
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from jaxkd import from_function, weights
from jaxkd._files import local_path, parse_json
from jaxkd.cache import CacheError
from jaxkd.cache._store import read_document
from jaxkd.data import Tokenizer, plain
from jaxkd.export import ModelCard
from jaxkd.study import Table
from jaxkd.training import bind_config, logs

ROOT = pathlib.Path(__file__).parents[1]

# Names that no encoding of one byte a letter has all of.
WRITES = """
import pathlib, sys
from jaxkd.export import ModelCard
from jaxkd.export._card import markdown
from jaxkd.study import Report, Section, Table
from jaxkd.training import bind_config, logs

folder = pathlib.Path(sys.argv[1])
bind_config(folder, {"teacher": "Lehrer ± Ω 学"})
bind_config(folder, {"teacher": "Lehrer ± Ω 学"})
files = logs.CSV(folder)
files.write(1, {"naïve Ω 学": 0.5}, "train")
assert logs.CSV(folder, resume_step=1).rows("train")[0]["naïve Ω 学"] == 0.5
(folder / "stated.json").write_text('{"teacher": "学 Ω"}', encoding="utf-8")
assert ModelCard.read(folder / "stated.json").teacher == "学 Ω"
table = Table("± Ω 学", ["Arm", "n"], [["naïve", 1]])
report = Report("Ω 学", "naïve ±", [Section("学", tables=[table])])
report.write_html(folder / "report.html")
report.print()
"""


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_what_is_written_and_printed_depends_on_no_locale(tmp_path, encoding):
    folder = tmp_path / "Ω 学"
    folder.mkdir()
    environment = os.environ | {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONIOENCODING": encoding,
        "PYTHONPATH": str(ROOT),
        "JAX_PLATFORMS": "cpu",
    }
    program = tmp_path / "program.py"
    program.write_text(WRITES, encoding="utf-8")
    command = [sys.executable, str(program), str(folder)]
    run = subprocess.run(command, capture_output=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr.decode(errors="replace")
    assert "Ω" in (folder / "report.html").read_text(encoding="utf-8")
    assert "学" in (folder / "train.csv").read_text(encoding="utf-8")


DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("text", [DEEP, "[" * 150 + "]" * 150, '{"a":' * 101 + "[]" + "}" * 101])
def test_json_that_is_nested_deeply_is_an_error_that_names_it(tmp_path, text):
    with pytest.raises(ValueError, match="it is nested deeper than 100 levels"):
        parse_json(text)
    path = tmp_path / "card.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"card.json cannot be read as JSON: it is nested deeper"):
        ModelCard.read(path)
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"config.json cannot be read as JSON: it is nested"):
        weights.decoder_config(tmp_path)
    with pytest.raises(ValueError, match=r"config.json is damaged.*nested deeper than 100 levels"):
        bind_config(tmp_path, {"a": 1})
    with pytest.raises(ValueError, match=r"card.json is no tokenizer.json: it is nested deeper"):
        Tokenizer.load(path)
    (tmp_path / "contract.json").write_text(text, encoding="utf-8")
    with pytest.raises(CacheError, match=r"contract.json cannot be read.*nested deeper"):
        read_document(tmp_path, "contract.json")


def test_json_as_it_should_be_is_read():
    assert parse_json("[" * 100 + "]" * 100)
    assert parse_json('{"a": [1, {"b": "é"}]}'.encode()) == {"a": [1, {"b": "é"}]}
    with pytest.raises(ValueError, match="it gives 'a' twice"):
        parse_json('[{"b": 1}, {"a": 1, "a": 2}]')


def tables(path):
    Table("t", ["a"], [[1]]).write_csv(path)
    assert parse_json(local_path(path).read_bytes()[2:]) == 1


def tokenizers(path):
    Tokenizer.bytes(("é",)).save(path)
    assert Tokenizer.load(path).vocab_size == 257


def arrays(path):
    np.savez(local_path(path).with_suffix(".npz"), w=np.ones(2))
    assert weights.read(f"{path}.npz")["w"].sum() == 2


def cards(path):
    local_path(path).write_text('{"teacher": "é"}', encoding="utf-8")
    assert ModelCard.read(path).teacher == "é"


def configurations(path):
    local_path(path).mkdir()
    (local_path(path) / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match="model_type .*, not None"):
        weights.decoder_config(path)


def workdirs(path):
    assert bind_config(path, {"a": 1}) == local_path(path)
    files = logs.CSV(path)
    files.write(1, {"loss": 1.0}, "train")
    assert (local_path(path) / "train.csv").exists()


def texts(path):
    local_path(path).mkdir()
    (local_path(path) / "a.txt").write_bytes(b"one")
    assert plain.load(path, split="train").texts == ("one",)


USES = [tables, tokenizers, arrays, cards, configurations, workdirs, texts]


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
@pytest.mark.parametrize(
    "name", ["~/ä b", "in/../ä b", "ä b", "link/../ä b", "file://{}/%C3%A4%20b"]
)
def test_a_path_is_that_of_one_place_at_every_entrance(tmp_path, monkeypatch, use, name):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in/side").mkdir(parents=True)
    (tmp_path / "link").symlink_to("in/side")
    use(name.format(tmp_path))
    made = {path.name for path in (tmp_path / "in" if "link" in name else tmp_path).iterdir()}
    assert made - {"in", "link", "side"} in ({"ä b"}, {"ä b.npz"})


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
def test_a_path_that_is_none_of_this_machine_is_refused(tmp_path, monkeypatch, use):
    monkeypatch.chdir(tmp_path)
    for path, message in (
        ("", "the path is empty"),
        ("s3://bucket/x", "is a URL, and a path of this machine is wanted"),
        ("~nobody-of-this-name/x", "write the whole path"),
    ):
        with pytest.raises(ValueError, match=message):
            use(path)
    assert not [*tmp_path.iterdir()]


def save_weights(path):
    arrays = {"w": jnp.arange(5000, dtype=jnp.float32)}
    weights.save(from_function(lambda params, x: x @ params["w"], arrays), path)


WRITES_LARGE = {
    "w.npz": save_weights,
    "w.safetensors": save_weights,
    "t.csv": lambda path: Table("t", ["a"], [["x" * 20000]]).write_csv(path),
    "t.json": lambda path: Tokenizer.bytes(tuple(f"<{i}>" for i in range(3000))).save(path),
}


@pytest.mark.parametrize("name", WRITES_LARGE)
def test_a_full_disk_names_the_file_and_leaves_what_was_there(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"before")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # as a disk that ends there
    try:
        with pytest.raises(OSError, match="File too large; what was there is as before") as caught:
            WRITES_LARGE[name](path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG and caught.value.filename == str(path)
    assert path.read_bytes() == b"before" and [*tmp_path.iterdir()] == [path]
    WRITES_LARGE[name](path)
    assert path.stat().st_size > 4096
