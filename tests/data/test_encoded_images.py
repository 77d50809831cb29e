import dataclasses
import pickle

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prepared import photos, prepare

import jaxkd
from jaxkd import cache as caches
from jaxkd.cache import CacheError
from jaxkd.data import (
    CenterCrop,
    EncodedImages,
    GrainSource,
    Loader,
    RandomResizedCrop,
    _read_contents,
    _tfds,
    eval_batches,
    imagenet,
    raw_batch,
    split_labels,
)
from jaxkd.views import Mixup, Normalize, RandomFlip, Views

pytest.importorskip("PIL")
N = 24
IDS = 5 * np.arange(N) + 2
CROP = RandomResizedCrop(8)


def make(files=None, **changes):
    arguments = {"crop": CROP, "name": "album", "split": "train", "num_classes": 3, "ids": IDS}
    return EncodedImages.from_source(files or photos(N, 0), IDS % 3, **(arguments | changes))


@pytest.fixture(scope="module")
def records():
    return make()


@pytest.fixture(scope="module")
def album(tmp_path_factory):
    """A data_dir with `album`, 24 and 10 JPEG files of many sizes."""
    data_dir = tmp_path_factory.mktemp("album")
    prepare(data_dir, "album", {"train": photos(24, 0), "validation": photos(10, 1)})
    return data_dir


@dataclasses.dataclass(frozen=True)
class Gray:
    """A crop of one's own: the id and the view as a color."""

    size: int = 8

    def __call__(self, image, example_id, view):
        return np.full((self.size, self.size, 3), [example_id % 256, view % 256, 0], np.uint8)


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_an_image_depends_on_its_id_and_view_alone(data):
    records = RECORDS
    ids = data.draw(st.lists(st.sampled_from(IDS.tolist()), min_size=1, max_size=12))
    views = data.draw(st.lists(st.integers(0, 3), min_size=len(ids), max_size=len(ids)))
    batch = records.read(ids, views)
    assert batch.dtype == np.uint8 and batch.shape == (len(ids), 8, 8, 3)
    place = data.draw(st.integers(0, len(ids) - 1))
    alone = records.read([ids[place]], views[place])
    np.testing.assert_array_equal(batch[place], alone[0])
    np.testing.assert_array_equal(batch, make(PHOTOS).select(list(set(ids))).read(ids, views))


def test_views_and_examples_differ(records):
    shown = records.read(np.repeat(IDS, 2), np.tile([0, 1], N)).reshape(2 * N, -1)
    assert len(np.unique(shown, axis=0)) == 2 * N
    other = records.with_crop(RandomResizedCrop(8, seed=1))
    assert not np.array_equal(other.read(IDS, 0), records.read(IDS, 0))


def test_one_thread_reads_the_same(records, monkeypatch):
    many = records.read(IDS, 4)
    monkeypatch.setattr(_read_contents, "_serial", True)
    np.testing.assert_array_equal(records.read(IDS, 4), many)


def test_order_of_the_source_changes_nothing(records):
    files, order = photos(N, 0), np.random.default_rng(0).permutation(N)
    other = EncodedImages.from_source(
        [files[i] for i in order], IDS[order] % 3, ids=IDS[order], crop=CROP, name="album",
        split="train", num_classes=3,
    )  # fmt: skip
    assert other.fingerprint == records.fingerprint
    np.testing.assert_array_equal(other.labels, records.labels)
    np.testing.assert_array_equal(other.read(IDS, 1), records.read(IDS, 1))


def test_the_fingerprint_names_the_content_not_the_crop(records):
    assert records.with_crop(CenterCrop(8)).fingerprint == records.fingerprint
    assert records.select(IDS[:3]).with_labels([]).fingerprint == records.fingerprint
    files = photos(N, 0)
    others = [make(files[:-1] + files[:1]), make(files, ids=IDS + 1)]
    assert len({records.fingerprint, *(other.fingerprint for other in others)}) == 3
    assert make(files, fingerprint="mine").fingerprint == "mine"


def test_selections_behave_as_those_of_a_dataset(records):
    part = records.select(IDS[[9, 2, 5]]).with_labels(IDS[[2]])
    assert part.ids.tolist() == IDS[[2, 5, 9]].tolist()
    assert part.labels.tolist() == [int(IDS[2] % 3), -1, -1]
    np.testing.assert_array_equal(part.read(IDS[[9]], 3), records.read(IDS[[9]], 3))
    assert repr(part) == (
        "EncodedImages('album' 1, split 'train': 3 images read as uint8[8, 8, 3], "
        "1 labeled, 3 classes)"
    )
    chosen = split_labels(records, 2, seed=0)
    assert np.bincount(records.labels[records.rows(chosen)]).tolist() == [2, 2, 2]
    with pytest.raises(KeyError, match="1 of 2 ids are not in album train"):
        part.read(IDS[:3:2], 0)


def test_batches_carry_what_was_read(records):
    views = Views((Normalize(), Mixup(3)))
    batch = raw_batch(records, views, IDS[:4], np.array([0, 3, 0, 1]))
    np.testing.assert_array_equal(batch["inputs"], records.read(IDS[:4], [0, 3, 0, 1]))
    # Partners are cropped by their own ids, in the same view.
    partners = [
        int(np.argmax((records.read(IDS, v) == image).all((1, 2, 3))))
        for v, image in zip(batch["view"], batch["partner_inputs"], strict=True)
    ]
    np.testing.assert_array_equal(records.labels[partners], batch["partner_labels"])
    np.testing.assert_array_equal(
        records.read(IDS[partners], batch["view"]), batch["partner_inputs"]
    )
    loader = Loader(records, views, 8)
    shown = loader[loader.steps_per_epoch * 2]
    np.testing.assert_array_equal(shown["inputs"], records.read(shown["id"], 2))
    element = GrainSource(records, num_views=2)[N + 1]
    np.testing.assert_array_equal(element["inputs"], records.read(IDS[[1]], 1)[0])
    *_, last = eval_batches(records.with_crop(CenterCrop(8)), 7)
    assert last["where"].sum() == N % 7 and last["inputs"].shape == (7, 8, 8, 3)


def test_a_crop_of_ones_own(records):
    gray = records.with_crop(Gray())
    assert gray.read(IDS[[3]], 7)[0, 0, 0].tolist() == [IDS[3], 7, 0]
    assert gray.read_specification() == {"name": "Gray", "size": 8}
    with pytest.raises(TypeError, match="a crop is a frozen dataclass with a size"):
        records.with_crop(lambda image, example_id, view: image)
    large = dataclasses.make_dataclass("Large", ["size"], bases=(Gray,), frozen=True)

    class Lying(large):
        def __call__(self, image, example_id, view):
            return np.zeros((4, 4, 3), np.uint8)

    with pytest.raises(ValueError, match=r"made uint8\[4, 4, 3\] of example id 2, wanted is uint8"):
        records.with_crop(Lying(8)).read(IDS[:1], 0)


def test_an_image_that_cannot_be_decoded_is_named():
    files = photos(N, 0)
    files[6] = files[6][:200]
    broken = make(files)
    assert broken.read(IDS[:6], 0).shape[0] == 6
    with pytest.raises(ValueError, match=rf"example id {IDS[6]} of album train \(position 6\)"):
        broken.read(IDS, 0)


def colors(seed):
    weights = jnp.asarray(np.random.default_rng(seed).normal(size=(192, 3)), jnp.float32)
    return jaxkd.from_function(lambda w, x: x.reshape(x.shape[0], -1) @ w, weights)


def test_a_cache_belongs_to_its_crop(records, tmp_path, monkeypatch):
    views, teacher = Views((RandomFlip(), Normalize())), colors(0)
    built = caches.build(tmp_path, teacher, records, views, num_views=2, progress=False)
    opened = caches.open(tmp_path, teacher=teacher, dataset=records.select(IDS[:9]), views=views)
    loader = Loader(records, views, 6, cache=built)
    for step in (0, loader.steps_per_epoch):  # views 0 and 1
        batch = loader[step]
        logits = teacher(views.render(batch)["inputs"])["logits"]
        cached = batch["teacher"].decode()["logits"]
        np.testing.assert_allclose(cached, logits, rtol=1e-5, atol=1e-5)
    assert opened.num_views == 2
    for crop in (RandomResizedCrop(8, seed=1), RandomResizedCrop(8, draft=False), CenterCrop(8)):
        with pytest.raises(CacheError, match="views.crop: the cache has.*RandomResizedCrop"):
            caches.open(tmp_path, teacher=teacher, dataset=records.with_crop(crop), views=views)
    # A decoder that rounds much otherwise shows in the sample views.
    image = EncodedImages._image
    monkeypatch.setattr(
        EncodedImages, "_image", lambda self, row, view: 255 - image(self, row, view)
    )
    with pytest.raises(CacheError, match="views.probe"):
        caches.open(tmp_path, teacher=teacher, dataset=records, views=views)


def test_a_cache_notices_another_crop_of_view_1_alone(records, tmp_path, monkeypatch):
    teacher = colors(0)
    caches.build(tmp_path, teacher, records, num_views=2, progress=False)
    image = EncodedImages._image
    monkeypatch.setattr(
        EncodedImages, "_image", lambda self, row, view: image(self, row, view) // (view + 1)
    )
    with pytest.raises(CacheError, match="views.probe"):
        caches.open(tmp_path, teacher=teacher, dataset=records)


def test_prepared_files_are_read_without_tensorflow(album):
    train = imagenet.load("album", "train", image_size=8, data_dir=album)
    assert (train.name, train.version, train.split, len(train)) == ("album", "1.2.3", "train", 24)
    assert train.class_names == ("cat", "dog", "owl") and train.crop == RandomResizedCrop(8)
    # The stored order is that of tensorflow-datasets; every file is there with its label.
    files = photos(24, 0)
    places = [files.index(train.source[i]) for i in range(24)]
    assert sorted(places) == list(range(24)) != places
    assert train.labels.tolist() == [place % 3 for place in places]
    same = EncodedImages.from_source(
        [files[i] for i in places], crop=CROP, name="a", split="b", num_classes=3
    )
    np.testing.assert_array_equal(train.read([4, 0], 2), same.read([4, 0], 2))
    copy = pickle.loads(pickle.dumps(train))
    np.testing.assert_array_equal(copy.read([4, 0], 2), same.read([4, 0], 2))
    test = imagenet.load("album", "validation", image_size=8, data_dir=album)
    assert test.crop == CenterCrop(8) and test.fingerprint != train.fingerprint


def test_prepared_files_are_found_after_a_change_of_directory(album, tmp_path, monkeypatch):
    monkeypatch.chdir(album)
    monkeypatch.setenv("HOME", str(album))
    wanted = imagenet.load("album", "validation", image_size=8, data_dir=album).read([0, 3])
    for name in (".", "~", "album/..", album.as_uri()):
        images = imagenet.load("album", "validation", image_size=8, data_dir=name)
        with monkeypatch.context() as elsewhere:
            elsewhere.chdir(tmp_path)
            np.testing.assert_array_equal(images.read([0, 3]), wanted)


def test_labels_are_read_once_and_cached(album, tmp_path, monkeypatch):
    arguments = {"data_dir": album, "labels_dir": tmp_path / "labels", "image_size": 8}
    first = imagenet.load("album", "train", **arguments)
    (cached,) = (tmp_path / "labels").iterdir()
    assert cached.name.startswith("labels_album_train_") and cached.suffix == ".npy"

    def refuse(*args):
        raise AssertionError("read all records again")

    monkeypatch.setattr(_tfds.Split, "blocks", refuse)
    again = imagenet.load("album", "train", **arguments)
    np.testing.assert_array_equal(again.labels, first.labels)
    assert set(first.labels) == {0, 1, 2}
    monkeypatch.undo()
    whole = cached.read_bytes()
    for damaged in (b"", whole[:40], whole[:-5], b"no array" + whole):
        cached.write_bytes(damaged)
        again = imagenet.load("album", "train", **arguments)
        np.testing.assert_array_equal(again.labels, first.labels)
        assert cached.read_bytes() == whole
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError, match="cannot be written to .*name a labels_dir that can"):
        imagenet.load("album", "train", **(arguments | {"labels_dir": tmp_path / "file"}))


def test_the_fingerprint_of_prepared_files(album, tmp_path):
    def found(data_dir):
        return imagenet.load("album", "train", data_dir=data_dir).fingerprint

    splits = {"train": photos(24, 0), "validation": photos(10, 1)}
    prepare(tmp_path / "same", "album", splits)
    assert found(tmp_path / "same") == found(album)
    splits["train"][0], splits["train"][1] = splits["train"][1], splits["train"][0]
    prepare(tmp_path / "swapped", "album", splits)
    prepare(tmp_path / "fewer", "album", {"train": photos(23, 0)})
    assert len({found(tmp_path / name) for name in ("same", "swapped", "fewer")}) == 3


def test_made_up_photographs():
    train = imagenet.load("imagenette", "train", mock=12, image_size=32)
    again = imagenet.load("imagenette", "train", mock=12, image_size=32)
    assert (train.name, train.num_classes, len(train)) == ("mock_imagenette", 10, 12)
    assert train.fingerprint == again.fingerprint
    others = [{"mock": 11}, {"seed": 1}]
    prints = {
        imagenet.load("imagenette", "train", **({"mock": 12} | other)).fingerprint
        for other in others
    }
    prints.add(imagenet.load("imagenette", "validation", mock=12).fingerprint)
    assert len(prints | {train.fingerprint}) == 4
    np.testing.assert_array_equal(train.read(train.ids, 1), again.read(train.ids, 1))


def test_a_crop_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the crop has size 64, image_size is 224"):
        imagenet.load("imagenette", "train", crop=CenterCrop(64), mock=2)


PHOTOS = photos(N, 0)
RECORDS = make(PHOTOS)
