import hashlib

import pytest
from r_files import r_string, r_strings, write_database

from experiments.datasets import austen


@pytest.fixture
def novels(tmp_path, monkeypatch):
    """Six novels of twelve chapters that count as published; folder of R's files."""
    contents = {}
    for novel in austen.NOVELS:
        lines = [novel.upper(), "", "VOLUME I", ""]
        for chapter in range(1, 13):
            heading = f"CHAPTER {chapter}" if novel != "emma" else f"Chapter {'I' * chapter}"
            lines += [heading, "", f"This is chapter {chapter} of {novel}. It", "is short.", "", ""]
        contents[novel] = r_strings([r_string(line.encode()) for line in lines])
        text = "\n".join(lines) + "\n"
        monkeypatch.setitem(austen._SHA256, novel, hashlib.sha256(text.encode()).hexdigest())
    (tmp_path / "source").mkdir()
    write_database(tmp_path / "source", contents)
    return tmp_path / "source"


def test_novels_are_prepared_and_loaded_by_chapter(novels, tmp_path):
    folder = austen.prepare(novels, tmp_path / "data")
    assert sorted(p.name for p in folder.iterdir()) == sorted(f"{n}.txt" for n in austen.NOVELS)
    train, test = (austen.load(split, data_dir=tmp_path / "data") for split in ("train", "test"))
    assert len(train) == 66 and test.ids.tolist() == [10, 1010, 2010, 3010, 4010, 5010]
    assert test.texts[3] == "This is chapter 10 of emma. It\nis short."
    one = austen.load("train", data_dir=tmp_path / "data", novels=("persuasion",))
    assert one.ids.min() == 5001 and len(one) == 11
    found = austen.sentences("test", data_dir=tmp_path / "data")
    assert found.ids[:2].tolist() == [10_000, 1_010_000] and len(found) == 6
    assert found.texts[0] == "This is chapter 10 of sensesensibility."
    short = austen.sentences("test", data_dir=tmp_path / "data", min_characters=1)
    assert short.ids[:2].tolist() == [10_000, 10_001] and short.texts[1] == "It is short."


def test_novels_that_are_missing_or_others_are_refused(novels, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="experiments.datasets.austen prepare"):
        austen.load("train", data_dir=tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="r-cran-janeaustenr"):
        austen.prepare(tmp_path / "nowhere", tmp_path / "data")
    folder = austen.prepare(novels, tmp_path / "data")
    (folder / "emma.txt").write_text("Emma Woodhouse", encoding="utf-8")
    with pytest.raises(ValueError, match="emma in .* is not the text of janeaustenr 1.0.0"):
        austen.load("train", data_dir=tmp_path / "data")
    monkeypatch.setitem(austen._SHA256, "emma", "0")
    with pytest.raises(ValueError, match="emma in .* is not the text"):
        austen.prepare(novels, tmp_path / "other")
    assert not (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="there is no novel 'ulysses'"):
        austen.load("train", novels=("ulysses",))
    with pytest.raises(ValueError, match="split must be 'train' or 'test', got 'all'"):
        austen.load("all")


def test_the_command_of_austen_prepares(novels, tmp_path, monkeypatch, capsys):
    arguments = [
        "austen",
        "prepare",
        "--source_dir",
        str(novels),
        "--data_dir",
        str(tmp_path / "d"),
    ]
    monkeypatch.setattr("sys.argv", arguments)
    austen._main()
    assert "split 'test': 6 texts" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*arguments[:3], str(tmp_path / "none"), *arguments[4:]])
    with pytest.raises(SystemExit, match="1"):
        austen._main()
    assert "r-cran-janeaustenr" in capsys.readouterr().err
