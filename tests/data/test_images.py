import importlib.util
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from prepared import photos, prepare, small_pictures

from jaxkd.data import imagenet, images

tfds = pytest.importorskip("tensorflow_datasets")
SIZES = {"train": 30, "test": 20}


def of_pil(n, size=(32, 32)):
    return [Image.fromarray(image[: size[0], : size[1]]) for image in small_pictures(n, n)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A data_dir with `pictures`, 30 and 20 images of 32×32 pixels."""
    data_dir = tmp_path_factory.mktemp("pictures")
    prepare(data_dir, "pictures", {s: of_pil(n) for s, n in SIZES.items()}, shape=(32, 32, 3))
    return data_dir


@pytest.fixture
def without_tensorflow(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: None if name == "tensorflow" else find_spec(name, *args),
    )


@pytest.mark.parametrize(("split", "n"), SIZES.items())
def test_prepared_pictures_are_read_whole(pictures, split, n):
    dataset = images.load("pictures", split, data_dir=pictures)
    assert repr(dataset) == (
        f"Dataset('pictures' 1.2.3, split '{split}': {n} examples uint8[32, 32, 3], {n} labeled, "
        "3 classes)"
    )
    assert dataset.class_names == ("cat", "dog", "owl")
    assert dataset.ids.tolist() == list(range(n))
    published = small_pictures(n, n)
    # tensorflow-datasets stores them in an order of its own; each keeps its label.
    places = [int(np.argmax((published == image).all((1, 2, 3)))) for image in dataset.inputs]
    assert sorted(places) == list(range(n)) != places
    assert dataset.labels.tolist() == [place % 3 for place in places]


def test_ids_do_not_depend_on_the_number_of_files(pictures, tmp_path):
    splits = {s: of_pil(n) for s, n in SIZES.items()}
    builder = prepare(tmp_path, "pictures", splits, shape=(32, 32, 3), shards=3)
    assert builder.info.splits["train"].num_shards == 3
    one, three = (images.load("pictures", "train", data_dir=d) for d in (pictures, tmp_path))
    np.testing.assert_array_equal(one.inputs, three.inputs)
    assert one.fingerprint == three.fingerprint


def test_gray_pictures_have_one_channel(tmp_path):
    gray = [Image.fromarray(image[:28, :28, 0]) for image in small_pictures(9, 0)]
    prepare(tmp_path, "letters", {"train": gray}, shape=(28, 28, 1))
    dataset = images.load("letters", "train", data_dir=tmp_path)
    assert dataset.shape == (28, 28, 1)
    found = {image.tobytes() for image in dataset.inputs}
    assert found == {image.tobytes() for image in gray}


def test_made_up_pictures_are_deterministic_and_of_the_declared_kind():
    one = images.load("cifar100", "train", mock=300)
    assert (one.name, one.split, one.num_classes, one.shape) == (
        "mock_cifar100", "train", 100, (32, 32, 3),
    )  # fmt: skip
    assert np.bincount(one.labels).tolist() == [3] * 100
    assert one.fingerprint == images.load("cifar100", "train", mock=300).fingerprint
    others = [
        images.load("cifar100", "test", mock=300),
        images.load("cifar100", "train", mock=300, seed=1),
        images.load("cifar10", "train", mock=300),
    ]
    assert len({one.fingerprint, *(other.fingerprint for other in others)}) == 4


def test_made_up_classes_can_be_learned_and_hold_for_the_other_split():
    train, test = (images.load("cifar10", split, mock=200) for split in ("train", "test"))
    assert not np.array_equal(train.labels, test.labels)
    means = np.stack([train.inputs[train.labels == k].mean(0) for k in range(10)]).reshape(10, -1)
    distances = ((test.inputs.reshape(200, 1, -1) - means) ** 2).sum(-1)
    assert (distances.argmin(1) == test.labels).mean() > 0.95


def test_as_cifar_pads_and_repeats():
    rng = np.random.default_rng(0)
    gray = images.Dataset.from_arrays(
        rng.integers(1, 256, (4, 28, 27, 1), np.uint8),
        [0, 1, 2, 0],
        ids=[9, 3, 5, 4],
        name="letters",
        split="train",
        num_classes=3,
        class_names=("a", "b", "c"),
    )
    shaped = images.as_cifar(gray)
    assert shaped.name == "letters_as_cifar" and shaped.class_names == ("a", "b", "c")
    assert shaped.ids.tolist() == gray.ids.tolist() and shaped.labels.tolist() == [1, 0, 2, 0]
    inside = shaped.inputs[:, 2:30, 2:29]
    np.testing.assert_array_equal(inside, np.repeat(gray.inputs, 3, -1))
    assert shaped.inputs.sum(dtype=int) == inside.sum(dtype=int)
    assert shaped.fingerprint != gray.fingerprint
    np.testing.assert_array_equal(images.as_cifar(shaped).inputs, shaped.inputs)


@pytest.mark.parametrize(
    "inputs",
    [
        np.zeros((2, 40, 20, 3), np.uint8),
        np.zeros((2, 8, 8, 4), np.uint8),
        np.zeros((2, 8, 8, 3), np.float32),
        np.zeros((2, 64), np.uint8),
    ],
)
def test_as_cifar_refuses_what_does_not_fit(inputs):
    other = images.Dataset.from_arrays(inputs, name="other", split="train", num_classes=2)
    with pytest.raises(ValueError, match="at most 32x32 pixels.*other has"):
        images.as_cifar(other)


def test_pictures_of_many_sizes_are_refused_with_what_loads_them(tmp_path):
    prepare(tmp_path, "album", {"train": photos(4, 0)})
    with pytest.raises(ValueError, match=r"differ in size.*imagenet.load\('album', 'train'\)"):
        images.load("album", "train", data_dir=tmp_path)


def test_no_classification_is_refused(tmp_path):
    numbers = tfds.features.Scalar(dtype=np.int64)
    prepare(tmp_path, "scores", {"train": of_pil(3)}, shape=(32, 32, 3), labels=numbers)
    for load in (images.load, imagenet.load):
        with pytest.raises(ValueError, match="its 'label' must be a uint8 ClassLabel feature"):
            load("scores", "train", data_dir=tmp_path)


@pytest.mark.parametrize("load", [images.load, imagenet.load])
@pytest.mark.parametrize("split", ["validation", "train[:10]"])
def test_splits_are_whole_ones(pictures, load, split):
    with pytest.raises(ValueError, match=r"no split .*it has \['test', 'train'\].*select"):
        load("pictures", split, data_dir=pictures)


@pytest.mark.parametrize("load", [images.load, imagenet.load])
def test_nothing_prepared_says_what_to_do_and_downloads_nothing(
    load, tmp_path, without_tensorflow, monkeypatch
):
    def refuse(*args, **kwargs):
        raise AssertionError("tried to download")

    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    name = "cifar10" if load is images.load else "imagenette"
    with pytest.raises(FileNotFoundError) as caught:
        load(name, "train", data_dir=tmp_path)
    message = str(caught.value)
    assert f"{name} is not prepared in {tmp_path}" in message
    assert 'pip install "jaxkd-distill[download]"' in message


def test_tensorflow_if_there_prepares(tmp_path, monkeypatch):
    prepared = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *args: object())
    monkeypatch.setattr(
        tfds.core.DatasetBuilder,
        "download_and_prepare",
        lambda self, file_format: prepared.append((self.name, file_format)),
    )
    with pytest.raises(ValueError, match="cifar10 has no split 'train'"):  # it only pretended to
        images.load("cifar10", "train", data_dir=tmp_path)
    assert prepared == [("cifar10", "array_record")]


@pytest.mark.parametrize("load", [images.load, imagenet.load])
def test_files_that_need_tensorflow_say_how_to_convert_them(load, tmp_path):
    builder = prepare(tmp_path, "pictures", {"train": of_pil(3)}, shape=(32, 32, 3))
    info = builder.data_path / "dataset_info.json"
    info.write_text(
        info.read_text(encoding="utf-8").replace('"array_record"', '"tfrecord"'), encoding="utf-8"
    )
    with pytest.raises(ValueError, match="only TensorFlow reads.*\n.*tfds convert_format"):
        load("pictures", "train", data_dir=tmp_path)


def test_a_name_that_there_is_not(tmp_path):
    with pytest.raises(ValueError, match="tensorflow-datasets has no data set 'cifar11'"):
        images.load("cifar11", "train", data_dir=tmp_path)


@pytest.mark.parametrize("load", [images.load, imagenet.load])
def test_bad_numbers_to_make_up(load):
    with pytest.raises(ValueError, match="or 0, got -3"):
        load("imagenette", "train", mock=-3)
    with pytest.raises(ValueError, match="got an empty string"):
        load("imagenette", "", mock=3)


@pytest.mark.parametrize("module", ["tensorflow_datasets", "PIL", "importlib_resources"])
def test_missing_library_says_what_to_install(monkeypatch, tmp_path, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'{module} .*pip install "jaxkd-distill\[data\]"'):
        images.load("cifar10", "train", data_dir=tmp_path)


def test_import_leaves_heavy_libraries_alone():
    program = (
        "import sys; from jaxkd.data import images, imagenet, Loader; "
        "print(*{'tensorflow_datasets', 'PIL', 'grain'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == ""
