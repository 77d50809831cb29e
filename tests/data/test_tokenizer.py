"""Tokenizers: what is encoded is decoded, offsets are bytes, fingerprints name the content."""

import builtins
import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from jaxkd.data import Texts, Tokenizer

TEXTS = [
    "It is a truth universally acknowledged, that a single man in possession of a good fortune",
    "must be in want of a wife. Élinor's naïve café: 北京, 😀 and Ünïcode",
    "the the the and and and of of of a a truth a truth",
]


@pytest.fixture(scope="module")
def bpe():
    pytest.importorskip("tokenizers")
    return Tokenizer.train(TEXTS, 300)


@pytest.fixture(params=["bytes", "bpe"])
def tokenizer(request):
    return request.getfixturevalue("bpe") if request.param == "bpe" else Tokenizer.bytes()


def check_offsets(text, encoded, pieces):
    """The slices of the text are the tokens, one after the other."""
    content = text.encode()
    slices = [content[start:end] for start, end in encoded.offsets]
    assert slices == [pieces[index] for index in encoded.ids]
    assert b"".join(slices) == content


@pytest.mark.parametrize("text", [*TEXTS, "", " ", "\n\n x", "é", "😀😀", "a\u0301", "\x00\x7f"])
def test_bytes_of_the_offsets_are_the_tokens(tokenizer, text):
    (encoded,) = tokenizer.encode([text])
    assert encoded.ids.dtype == encoded.offsets.dtype == np.int32
    check_offsets(text, encoded, tokenizer.pieces)
    assert tokenizer.decode(encoded.ids) == text


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_survives(bpe, text):
    for tokenizer in (bpe, Tokenizer.bytes()):
        (encoded,) = tokenizer.encode([text])
        check_offsets(text, encoded, tokenizer.pieces)
        assert tokenizer.decode(encoded.ids) == text


def test_special_tokens_have_no_text(tokenizer):
    ids = [*tokenizer.encode(["one"])[0].ids, tokenizer.eos]
    assert tokenizer.decode(ids) == "one"
    assert tokenizer.pieces[tokenizer.eos] is None
    assert tokenizer.token("<|end|>") == tokenizer.eos
    with pytest.raises(ValueError, match="there is no token '<pad>'"):
        tokenizer.token("<pad>")
    with pytest.raises(ValueError, match=r"ids must be in \[0, "):
        tokenizer.decode([tokenizer.vocab_size])
    # A special token's name in a text is text to the bytes, and keeps its place in any case.
    text = "a<|end|>b"
    (encoded,) = tokenizer.encode([text])
    assert encoded.offsets[0, 0] == 0 and encoded.offsets[-1].tolist() == [8, 9]


def test_what_is_saved_is_read_back(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "tokenizer.json")
    same = Tokenizer.load(tmp_path / "tokenizer.json")
    assert same.fingerprint == tokenizer.fingerprint
    assert (same.eos, same.vocab_size) == (tokenizer.eos, tokenizer.vocab_size)
    for a, b in zip(same.encode(TEXTS), tokenizer.encode(TEXTS), strict=True):
        np.testing.assert_array_equal(a.ids, b.ids)
        np.testing.assert_array_equal(a.offsets, b.offsets)


def test_training_is_repeatable_and_the_vocabulary_is_in_the_fingerprint(bpe):
    again = Tokenizer.train(TEXTS, 300)
    assert again.fingerprint == bpe.fingerprint
    assert 256 < bpe.vocab_size <= 300
    others = [
        Tokenizer.train(TEXTS, 280),
        Tokenizer.train(TEXTS[:1], 300),
        Tokenizer.train(TEXTS, 300, specials=("<s>", "<|end|>")),
        Tokenizer.bytes(),
        Tokenizer.bytes(specials=("<s>",)),
    ]
    assert len({t.fingerprint for t in (bpe, *others)}) == 6
    with pytest.raises(ValueError, match="at least 257, for 256 bytes and 1 special.*got 100"):
        Tokenizer.train(TEXTS, 100)


def test_the_fingerprint_does_not_depend_on_how_a_release_writes(bpe, tmp_path):
    """Merges as text or as pairs, options that are off or left out, another decoder."""
    path = tmp_path / "tokenizer.json"
    bpe.save(path)
    document = json.loads(path.read_text(encoding="utf-8"))
    merges = document["model"]["merges"]
    assert isinstance(merges[0], list)
    document["model"]["merges"] = [" ".join(pair) for pair in merges]
    document["model"].pop("ignore_merges", None)
    document["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<|end|>",
    }
    document["jaxkd"] = {}
    older = tmp_path / "older.json"
    older.write_text(json.dumps(document | {"padding": None}), encoding="utf-8")
    assert Tokenizer.load(older).fingerprint == bpe.fingerprint
    # Padding that a file prescribes is never done: rows are laid out by pack and pad.
    older.write_text(json.dumps(document), encoding="utf-8")
    padding = Tokenizer.load(older, eos="<|end|>")
    assert padding.fingerprint == bpe.fingerprint and padding.eos == bpe.eos
    assert len(padding.encode(["the"])[0].ids) == len(bpe.encode(["the"])[0].ids)
    document["model"]["merges"] = document["model"]["merges"][::-1]
    older.write_text(json.dumps(document), encoding="utf-8")
    assert Tokenizer.load(older).fingerprint != bpe.fingerprint


def test_a_vocabulary_of_words_counts_bytes_of_characters(tmp_path):
    """A lower-casing WordPiece with tokens around the text, as of a BERT."""
    library = pytest.importorskip("tokenizers")
    words = ["[UNK]", "[CLS]", "[SEP]", "caf", "##é", "le", "##s", "!"]
    inner = library.Tokenizer(
        library.models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]")
    )
    inner.normalizer = library.normalizers.Lowercase()
    inner.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
    inner.post_processor = library.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    inner.save(str(tmp_path / "words.json"))
    tokenizer = Tokenizer.load(tmp_path / "words.json")
    assert tokenizer.eos is None
    plain, around = (tokenizer.encode(["Les CAFÉ!"], specials=s)[0] for s in (False, True))
    assert plain.ids.tolist() == [5, 6, 3, 4, 7]
    assert plain.offsets.tolist() == [[0, 2], [2, 3], [4, 7], [7, 9], [9, 10]]
    assert around.ids.tolist() == [1, 5, 6, 3, 4, 7, 2]
    assert around.offsets[0].tolist() == [0, 0] and around.offsets[-1].tolist() == [10, 10]
    texts = Texts.from_texts(["les!"], [1], name="t", split="s", num_classes=2)
    rows = texts.padded(tokenizer, 6, labels="class", specials=True)
    assert rows.tokens.tolist() == [[1, 5, 6, 7, 2, 0]] and rows.labels.tolist() == [1]
    cut = texts.padded(tokenizer, 4, labels="class", specials=True)
    assert cut.tokens.tolist() == [[1, 5, 6, 2]]
    assert cut.offsets.tolist() == [[[0, 0], [0, 2], [2, 3], [4, 4]]]


def test_shared_tokens_stand_for_the_same_bytes(bpe):
    here, there = bpe.shared(Tokenizer.bytes())
    assert len(here) == 256
    assert all(bpe.pieces[a] == bytes([b]) for a, b in zip(here, there, strict=True))
    smaller = Tokenizer.train(TEXTS, 270)
    here, there = bpe.shared(smaller)
    assert len(here) >= 256 and len(set(here.tolist())) == len(here)
    assert all(bpe.pieces[a] == smaller.pieces[b] for a, b in zip(here, there, strict=True))


def test_files_that_are_none_are_refused(tmp_path):
    pytest.importorskip("tokenizers")
    path = tmp_path / "x.json"
    for content in ("{}", "no json", '{"model": {"type": "Unheard"}}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(ValueError, match=r"x.json is no tokenizer.json"):
            Tokenizer.load(path)


def test_without_the_package_the_extra_is_named(monkeypatch, tmp_path):
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name == "tokenizers":
            raise ImportError("no tokenizers")
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / "tokenizer.json"
    with pytest.raises(ImportError, match=r'pip install "jaxkd-distill\[text\]"'):
        Tokenizer.train(TEXTS, 300)
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ImportError, match=r"jaxkd-distill\[text\]"):
        Tokenizer.load(path)
    Tokenizer.bytes().save(path)
    assert Tokenizer.load(path).vocab_size == 257


@pytest.mark.parametrize("lowercase", [True, False])
def test_accents_that_follow_the_case_and_accents_that_stay_are_two_tokenizers(lowercase, tmp_path):
    pytest.importorskip("tokenizers")
    made = {}
    for accents in (None, False, True):
        document = {
            "added_tokens": [],
            "normalizer": {
                "type": "BertNormalizer",
                "clean_text": True,
                "handle_chinese_chars": True,
                "strip_accents": accents,
                "lowercase": lowercase,
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "cafe": 1}, "unk_token": "[UNK]"},
        }
        path = tmp_path / "tokenizer.json"
        path.write_text(json.dumps(document), encoding="utf-8")
        made[accents] = Tokenizer.load(path)
    assert len({tokenizer.fingerprint for tokenizer in made.values()}) == 3
    found = {accents: t.encode(["café"])[0].ids.tolist() for accents, t in made.items()}
    assert found == {None: [int(lowercase)], False: [0], True: [1]}
