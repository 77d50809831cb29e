import contextlib
import json
import os
import pickle
import sys
import time

import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd import data, from_function
from jaxkd.cache import CacheError, _build
from jaxkd.data import CenterCrop, RandomResizedCrop, _file_checks

Image = pytest.importorskip("PIL.Image")


def save(path, color=(10, 20, 30), size=(12, 10), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path, **options)


@pytest.fixture
def pets(tmp_path):
    """Two classes with two images each."""
    root = tmp_path / "pets" / "train"
    for place, file in enumerate(["cats/a.png", "cats/b.PNG", "dogs/young/a.Jpeg", "dogs/c.jpg"]):
        save(root / file, (40 * place, 0, 0))
    return root


def ids_of(photos):
    return dict(zip(photos.paths, photos.ids.tolist(), strict=True))


def labels_of(photos):
    return dict(zip(photos.paths, photos.labels.tolist(), strict=True))


def test_the_class_is_the_folder_and_the_id_is_that_of_the_path(pets):
    photos = data.folder(pets, size=8)
    assert (photos.name, photos.split, photos.shape) == ("pets", "train", (8, 8, 3))
    assert photos.class_names == ("cats", "dogs")
    assert labels_of(photos) == {
        "cats/a.png": 0, "cats/b.PNG": 0, "dogs/young/a.Jpeg": 1, "dogs/c.jpg": 1
    }  # fmt: skip
    before = ids_of(photos)
    save(pets / "birds/z.png")
    save(pets / "cats/0.png")
    grown = data.folder(pets, size=8)
    assert grown.class_names == ("birds", "cats", "dogs")
    assert before.items() < ids_of(grown).items()
    assert grown.fingerprint != photos.fingerprint
    np.testing.assert_array_equal(
        grown.example_digests(photos.ids), photos.example_digests(photos.ids)
    )
    copy = pickle.loads(pickle.dumps(grown.select(photos.ids)))
    np.testing.assert_array_equal(copy.read(photos.ids), photos.read(photos.ids))
    assert copy.fingerprint == grown.fingerprint


def test_nothing_is_opened_before_a_batch_has_it(pets, monkeypatch):
    opened = []
    read = data._image_files.ImageFiles.__getitem__
    monkeypatch.setattr(
        data._image_files.ImageFiles,
        "__getitem__",
        lambda files, position: opened.append(position) or read(files, position),
    )
    photos = data.folder(pets, size=8)
    part = photos.select(photos.ids[:2]).with_labels([]).with_split("some")
    assert not opened
    part.read(part.ids[:1])
    assert len(opened) == 1
    assert part.fingerprint == photos.fingerprint
    photos.example_digests(part.ids)
    part.example_digests(part.ids)
    assert len(opened) == 1 + 4  # for the fingerprint; the digests are known then


def test_what_is_passed_over_and_what_is_followed(pets):
    for file in (".hidden.png", "cats/._a.png", ".cache/x.png", "__MACOSX/x.png"):
        save(pets / file)
    for file in ("readme.txt", "cats/Thumbs.db"):
        (pets / file).write_bytes(b"no image")
    save(pets.parent / "elsewhere/deep/x.png")
    (pets / "cats/linked.png").symlink_to(pets / "cats/a.png")
    (pets / "owls").symlink_to(pets.parent / "elsewhere")
    (pets / "dogs/round").symlink_to(pets)
    (pets / "dogs/young/again").symlink_to("../../dogs")
    photos = data.folder(pets, size=8)
    assert set(photos.paths) == {
        "cats/a.png", "cats/b.PNG", "cats/linked.png", "dogs/c.jpg", "dogs/young/a.Jpeg",
        "owls/deep/x.png",
    }  # fmt: skip
    assert photos.class_names == ("cats", "dogs", "owls")


def test_classes_by_a_function_by_a_list_and_none_at_all(pets):
    photos = data.folder(pets, size=8, labels=lambda path: path.split("/")[-2])
    assert photos.class_names == ("cats", "dogs", "young")
    numbers = {"cats/a.png": 3, "dogs/c.jpg": 0}
    with pytest.raises(ValueError, match="numbers up to 3.* write num_classes=4"):
        data.folder(pets, size=8, labels=numbers.get)
    photos = data.folder(pets, size=8, labels=numbers.get, num_classes=5)
    assert photos.num_classes == 5
    assert labels_of(photos) == dict.fromkeys(photos.paths, -1) | numbers
    with pytest.raises(TypeError, match=r"all names or all numbers.*'cat'.*cats/b.PNG is 1"):
        data.folder(pets, labels={"cats/a.png": "cat", "cats/b.PNG": 1}.get)
    with pytest.raises(TypeError, match=r"label of cats/a.png is True: wanted is the name"):
        data.folder(pets, labels=lambda path: True)
    values = data.folder(pets, labels=lambda path: 0.5)
    assert values.num_classes is None and values.labels.tolist() == [0.5] * 4
    photos = data.folder(pets, class_names=["dogs", "owls", "cats"])
    assert labels_of(photos)["cats/a.png"] == 2 and photos.num_classes == 3
    with pytest.raises(ValueError, match="dogs/c.jpg has the class 'dogs', which is none of the 1"):
        data.folder(pets, class_names=["cats"])
    flat = data.folder(pets / "cats", size=8)
    assert flat.paths and (flat.labels == -1).all() and not flat.class_names
    save(pets / "beside.png")
    with pytest.raises(ValueError, match=r"1 of 5 images .* lie beside .*, beside.png first"):
        data.folder(pets)


def test_an_empty_folder_is_a_class_and_says_so(pets):
    (pets / "birds").mkdir()
    with pytest.warns(UserWarning, match="1 of 3 folders .* have no image and are .*: birds"):
        assert data.folder(pets).class_names == ("birds", "cats", "dogs")
    with pytest.raises(FileNotFoundError, match="birds has no image"):
        data.folder(pets / "birds")
    with pytest.raises(FileNotFoundError, match=r"nowhere is no folder .* is nothing"):
        data.folder(pets / "nowhere")
    (pets / "pets.zip").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match=r"pets.zip is no folder .* a file: data.folder"):
        data.folder(pets / "pets.zip")


def test_sizes_and_crops(pets):
    assert data.folder(pets).shape == (224, 224, 3)
    crop = RandomResizedCrop(8)
    assert data.folder(pets, crop=crop).crop == crop == data.folder(pets, size=8, crop=crop).crop
    with pytest.raises(ValueError, match="crop has size 8, size is 9"):
        data.folder(pets, size=9, crop=crop)
    with pytest.raises(ValueError, match='"refuse" or "skip", not \'ignore\''):
        data.folder(pets, corrupt="ignore")


def test_photographs_are_upright_and_16_bits_and_gray_are_right(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned right
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    gray = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
    Image.fromarray(gray).save(tmp_path / "deep.png")
    Image.fromarray((gray // 257).astype(np.uint8)).save(tmp_path / "gray.png")
    photos = data.folder(tmp_path, crop=CenterCrop(8, 8))
    read = dict(zip(photos.paths, photos.read(photos.ids), strict=True))
    assert read["turned.png"][0].min() == 200 and read["turned.png"][-1].max() == 0
    assert np.abs(read["deep.png"].astype(int) - read["gray.png"]).max() <= 1
    assert read["deep.png"][0, 0].tolist() == [0, 0, 0]
    assert read["deep.png"][-1, -1].tolist() == [255, 255, 255]


def damage(root):
    """Four files that do not decode, each in a way of its own."""
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    for suffix in ("jpg", "png"):
        Image.fromarray(noise).save(root / f"cats/cut.{suffix}")
        content = (root / f"cats/cut.{suffix}").read_bytes()
        (root / f"cats/cut.{suffix}").write_bytes(content[: len(content) // 2])
    (root / "dogs/empty.jpg").touch()
    (root / "dogs/gone.png").symlink_to(root / "dogs/never.png")
    return ["cats/cut.jpg", "cats/cut.png", "dogs/empty.jpg", "dogs/gone.png"]


def test_corrupt_files_are_named_and_refused_or_skipped(pets, tmp_path):
    good = data.folder(pets, size=8)
    damaged = damage(pets)
    photos = data.folder(pets, size=8)
    for path in damaged:
        with pytest.raises(ValueError, match=rf"id \d+ .*{path}\) cannot be .* corrupt=\"skip\""):
            photos.read([ids_of(photos)[path]])
    with pytest.warns(UserWarning, match=r"left out: 4 of 8 files .*cats/cut.jpg: ") as warned:
        kept = data.folder(pets, size=8, corrupt="skip")
    assert warned[0].filename == __file__
    assert sorted(kept.source.skipped) == damaged
    assert ids_of(kept) == ids_of(good) and kept.fingerprint == good.fingerprint
    with pytest.raises(ValueError, match=r"4 of 8 files .* cannot be decoded .*dogs/gone.png"):
        data.folder(pets, size=8, index=tmp_path / "index")
    assert (tmp_path / "index").exists()


@contextlib.contextmanager
def reads(monkeypatch):
    """Positions of files that are checked, in a list."""
    seen, check = [], _file_checks._checker
    with monkeypatch.context() as patch:
        patch.setattr(
            _file_checks,
            "_checker",
            lambda source: lambda place: seen.append(source.paths[place]) or check(source)(place),
        )
        yield seen


def test_an_index_reads_only_what_changed(pets, tmp_path, monkeypatch):
    index = tmp_path / "kept" / "pets.index"
    monkeypatch.setattr(_file_checks, "_SETTLED", 0)
    time.sleep(0.02)
    plain = data.folder(pets, size=8)
    with reads(monkeypatch) as seen:
        first = data.folder(pets, size=8, index=index)
        assert len(seen) == 4 and ids_of(first) == ids_of(plain)
        assert first.fingerprint == plain.fingerprint
        seen.clear()
        assert data.folder(pets, size=8, index=index).fingerprint == plain.fingerprint
        assert not seen
        # The same size, and the time of modification set back: it is read again nevertheless.
        file = pets / "cats/a.png"
        before = os.stat(file)
        content = file.read_bytes()
        file.write_bytes(content[:-1] + b"?")
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        (pets / "dogs/c.jpg").write_bytes(b"broken")
        (pets / "cats/b.PNG").unlink()
        save(pets / "dogs/new.png")
        with pytest.warns(UserWarning, match="left out: 1 of 4 .*dogs/c.jpg"):
            photos = data.folder(pets, size=8, index=index, corrupt="skip")
        assert sorted(seen) == ["cats/a.png", "dogs/c.jpg", "dogs/new.png"]
    assert sorted(photos.paths) == ["cats/a.png", "dogs/new.png", "dogs/young/a.Jpeg"]
    same = photos.example_digests(photos.ids) == data.folder(
        pets, labels=lambda path: None
    ).example_digests(photos.ids)
    assert same.all()
    assert "cats/b.PNG" in json.loads(index.read_bytes())["files"]


def test_a_file_that_was_just_written_is_read_again(pets, tmp_path, monkeypatch):
    with reads(monkeypatch) as seen:
        for _ in range(2):
            data.folder(pets, index=tmp_path / "index")
    assert len(seen) == 8


def test_another_index_is_refused_and_of_another_decoding_the_ids_stay(pets, tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.write_text('{"format": "another"}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"index is no index of image files .* delete it"):
        data.folder(pets, index=index)
    index.unlink()
    monkeypatch.setattr(_file_checks, "_SETTLED", 0)
    time.sleep(0.02)
    data.folder(pets, index=index)
    document = json.loads(index.read_bytes())
    document["decoding"] -= 1
    document["files"]["cats/a.png"][0] = 5
    index.write_text(json.dumps(document), encoding="utf-8")
    with reads(monkeypatch) as seen:
        assert ids_of(data.folder(pets, index=index))["cats/a.png"] == 5
    assert len(seen) == 4


def test_a_folder_that_grew_and_changed_computes_only_that(pets, tmp_path, monkeypatch):
    def teach(params, images):
        del params
        return images.reshape(len(images), -1)[:, :3].astype(np.float32)

    options = {"size": 8, "corrupt": "skip"}
    teacher = from_function(teach, ())
    old, new = tmp_path / "old", tmp_path / "new"
    caches.build(old, teacher, data.folder(pets, **options), batch_size=1, progress=False)
    save(pets / "cats/a.png", (9, 9, 9))
    save(pets / "cats/added.png")
    (pets / "dogs/c.jpg").write_bytes(b"broken")
    with pytest.warns(UserWarning, match="dogs/c.jpg"):
        photos = data.folder(pets, **options)
    with pytest.raises(CacheError, match=r"1 of these 4 examples .*\(cats/a.png\)"):
        caches.open(old, teacher=teacher, dataset=photos, views=None)
    caches.subset(old, new, dataset=photos)
    stored, store = [], _build._store
    monkeypatch.setattr(
        _build, "_store", lambda writer, ids, *rest: stored.extend(ids) or store(writer, ids, *rest)
    )
    cache = caches.extend(new, teacher, photos, batch_size=1, progress=False)
    assert sorted(stored) == sorted(
        ids_of(photos)[path] for path in ("cats/a.png", "cats/added.png")
    )
    everything = cache.read(photos.ids, 0).decode()["logits"]
    np.testing.assert_allclose(everything, teach((), photos.read(photos.ids)))


def test_without_pillow_no_image_is_said_to_be_damaged(pets, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    for corrupt in ("refuse", "skip"):
        with pytest.raises(ImportError, match=r'pip install "jaxkd-distill\[data\]"'):
            data.folder(pets, size=8, corrupt=corrupt)
    with pytest.raises(ImportError, match="decoded by Pillow"):
        data.EncodedImages.from_source([b"1"], crop=CenterCrop(8), name="one", split="train")
