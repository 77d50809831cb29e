import gzip
import hashlib
import importlib.util
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.datasets import fashion_mnist

pytest.importorskip("tensorflow_datasets")

SIZES = {"train": 30, "test": 20}
PREFIXES = {"train": "train", "test": "t10k"}
HEADERS = {"images-idx3": 16, "labels-idx1": 8}


def _idx(array):
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """A tiny Fashion-MNIST that counts as published: its folder and its arrays."""
    rng = np.random.default_rng(0)
    source = tmp_path / "source"
    source.mkdir()
    arrays = {}
    for split, n in SIZES.items():
        images = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = rng.integers(0, 10, n)
        arrays[split] = images, labels
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            file = f"{PREFIXES[split]}-{kind}-ubyte"
            (source / f"{file}.gz").write_bytes(gzip.compress(_idx(array)))
            monkeypatch.setitem(
                fashion_mnist._SHA256, file, hashlib.sha256(_idx(array)).hexdigest()
            )
    return source, arrays


@pytest.fixture
def without_tensorflow(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: None if name == "tensorflow" else find_spec(name, *args),
    )


def test_prepare_and_load_give_the_published_rows(tiny, tmp_path):
    import tensorflow_datasets as tfds

    source, arrays = tiny
    data_dir = tmp_path / "data"
    path = fashion_mnist.prepare(source, data_dir)
    assert path.is_relative_to(data_dir)
    for split, (images, labels) in arrays.items():
        dataset = fashion_mnist.load(split, data_dir=data_dir)
        assert (dataset.name, dataset.version, dataset.split) == ("fashion_mnist", "3.0.1", split)
        assert dataset.inputs.dtype == np.uint8
        np.testing.assert_array_equal(dataset.inputs, images[..., None])
        np.testing.assert_array_equal(dataset.labels, labels)
        np.testing.assert_array_equal(dataset.ids, np.arange(len(labels)))
        assert dataset.class_names[9] == "Ankle boot"
        # What tensorflow-datasets finds by name has the same examples, in its own order.
        stored = tfds.data_source("fashion_mnist", split=split, data_dir=data_dir, download=False)
        found = [int(example["label"]) for example in stored]
        assert found != labels.tolist()
        assert sorted(found) == sorted(labels.tolist())


def test_prepare_leaves_what_is_prepared(tiny, tmp_path):
    source, _ = tiny
    path = fashion_mnist.prepare(source, tmp_path)
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    assert fashion_mnist.prepare(source, tmp_path) == path
    assert before == {file: file.stat().st_mtime_ns for file in path.iterdir()}


@pytest.mark.parametrize("prefix", PREFIXES.values())
@pytest.mark.parametrize("kind", HEADERS)
def test_prepare_refuses_another_content(tiny, tmp_path, prefix, kind):
    source, _ = tiny
    path = source / f"{prefix}-{kind}-ubyte.gz"
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[HEADERS[kind] + 3] ^= 1
    path.write_bytes(gzip.compress(bytes(content)))
    found = hashlib.sha256(content).hexdigest()
    with pytest.raises(ValueError, match=f"{path.name} is not the published file.*{found}"):
        fashion_mnist.prepare(source, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "spoil", [lambda content: content[:-20], lambda content: b"html", lambda content: b""]
)
def test_prepare_refuses_damaged_files(tiny, tmp_path, spoil):
    source, _ = tiny
    path = source / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(ValueError, match=rf"{path.name} (cannot be decompressed|is not the)"):
        fashion_mnist.prepare(source, tmp_path / "data")


def test_prepare_names_a_missing_file(tiny, tmp_path):
    source, _ = tiny
    (source / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(FileNotFoundError, match="train-labels-idx1-ubyte.gz is missing"):
        fashion_mnist.prepare(source, tmp_path / "data")


@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_load_refuses_another_content(tiny, tmp_path, monkeypatch, file):
    source, _ = tiny
    fashion_mnist.prepare(source, tmp_path)
    monkeypatch.setitem(fashion_mnist._SHA256, file, "0" * 64)
    with pytest.raises(ValueError, match=f"not the published Fashion-MNIST: its {file} has"):
        fashion_mnist.load("train", data_dir=tmp_path)


def test_load_refuses_a_format_that_needs_tensorflow(tiny, tmp_path):
    source, _ = tiny
    path = fashion_mnist.prepare(source, tmp_path)
    info = path / "dataset_info.json"
    info.write_text(
        info.read_text(encoding="utf-8").replace('"array_record"', '"tfrecord"'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="in the format tfrecord, which only TensorFlow reads"):
        fashion_mnist.load("train", data_dir=tmp_path)
    with pytest.raises(ValueError, match="in the format tfrecord, which only TensorFlow reads"):
        fashion_mnist.prepare(source, tmp_path)


def test_nothing_prepared_says_what_to_do(tmp_path, without_tensorflow):
    with pytest.raises(FileNotFoundError) as caught:
        fashion_mnist.load("train", data_dir=tmp_path)
    message = str(caught.value)
    assert f"is not prepared in {tmp_path}" in message
    assert "apt-get install dataset-fashion-mnist" in message
    assert f"experiments.datasets.fashion_mnist prepare --data_dir {tmp_path}" in message
    assert 'pip install "jaxkd-distill[download]"' in message


def test_nothing_prepared_downloads_nothing(tmp_path, without_tensorflow, monkeypatch):
    import tensorflow_datasets as tfds

    def refuse(*args, **kwargs):
        raise AssertionError("tried to download")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "as_data_source", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    with pytest.raises(FileNotFoundError):
        fashion_mnist.load("test", data_dir=tmp_path)


def test_tensorflow_if_there_prepares_with_the_stock_builder(tiny, tmp_path, monkeypatch):
    from PIL import Image
    from tensorflow_datasets.image_classification.mnist import FashionMNIST

    _, arrays = tiny

    def split_generators(builder, dl_manager):
        return {split: generate_examples(*pair) for split, pair in arrays.items()}

    def generate_examples(images, labels):
        for key, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield key, {"image": Image.fromarray(image), "label": int(label)}

    # All of the stock builder but its download and its use of TensorFlow to encode arrays.
    monkeypatch.setattr(FashionMNIST, "_split_generators", split_generators)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: object())
    dataset = fashion_mnist.load("test", data_dir=tmp_path)
    np.testing.assert_array_equal(dataset.labels, arrays["test"][1])
    np.testing.assert_array_equal(dataset.inputs[..., 0], arrays["test"][0])


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'validation'"):
        fashion_mnist.load("validation", data_dir=tmp_path)


@pytest.mark.parametrize("module", ["tensorflow_datasets", "PIL", "importlib_resources"])
def test_missing_library_says_what_to_install(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module} .*pip install "jaxkd-distill\[data\]"'):
        fashion_mnist.load("train", data_dir=tmp_path)


def test_command_line_prepares_and_reads_back(tiny, tmp_path, monkeypatch, capsys):
    source, _ = tiny
    arguments = ["prepare", "--source_dir", str(source), "--data_dir", str(tmp_path / "data")]
    monkeypatch.setattr(sys, "argv", ["fashion_mnist", *arguments])
    fashion_mnist._main()
    printed = capsys.readouterr().out
    assert f"Fashion-MNIST is prepared in {tmp_path / 'data'}" in printed
    assert "split 'train': 30 examples" in printed
    assert "split 'test': 20 examples" in printed


def test_command_line_reports_an_error_without_a_traceback(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["", "prepare", "--source_dir", str(tmp_path)])
    with pytest.raises(SystemExit) as caught:
        fashion_mnist._main()
    assert caught.value.code == 1
    assert "train-images-idx3-ubyte.gz is missing" in capsys.readouterr().err


def test_import_leaves_heavy_libraries_alone():
    program = (
        "import sys; from jaxkd.data import digits; "
        "from experiments.datasets import fashion_mnist; "
        "print(*{'tensorflow_datasets', 'sklearn', 'PIL', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == ""


@pytest.mark.skipif(
    not os.path.isdir(fashion_mnist.DEBIAN_SOURCE_DIR),
    reason="the Debian package dataset-fashion-mnist is not installed",
)
@pytest.mark.parametrize(("split", "n"), [("train", 60_000), ("test", 10_000)])
def test_debians_files_are_the_published_ones(split, n):
    for file in fashion_mnist._FILES[split]:
        array = fashion_mnist._read_published(Path(fashion_mnist.DEBIAN_SOURCE_DIR), file)
        assert len(array) == n
