import json

import pytest

from jaxkd.data import Tokenizer

pytest.importorskip("tokenizers")
WORDS = {"a": 0, "b": 1, "[UNK]": 2}


def added(number, content):
    flags = ("single_word", "lstrip", "rstrip", "normalized", "special")
    return {"id": number, "content": content} | dict.fromkeys(flags, False)


def load(tmp_path, vocab=None, **changes):
    model = {"type": "WordLevel", "vocab": vocab or WORDS, "unk_token": "[UNK]"}
    document = {"version": "1.0", "pre_tokenizer": {"type": "Whitespace"}, "model": model}
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(document | changes), encoding="utf-8")
    return Tokenizer.load(path)


@pytest.mark.parametrize("number", [2**31, 2**22, -1, 1.5, True, None, "7", 10**400])
def test_ids_that_no_network_has_rows_for_are_refused(tmp_path, number):
    with pytest.raises(ValueError, match=r"tokenizer.json.*'c' has the id .*in \[0, 4,194,304\)"):
        load(tmp_path, WORDS | {"c": number})
    with pytest.raises(ValueError, match=r"tokenizer.json.*'c' has the id"):
        load(tmp_path, added_tokens=[added(number, "c")])
    around = {"type": "BertProcessing", "sep": ["c", number], "cls": ["a", 0]}
    with pytest.raises(ValueError, match=r"tokenizer.json.*'c' has the id"):
        load(tmp_path, post_processor=around)


def test_an_id_is_that_of_one_token(tmp_path):
    with pytest.raises(ValueError, match="the id 0 is that of 'a' and of 'c'"):
        load(tmp_path, WORDS | {"c": 0})
    with pytest.raises(ValueError, match="the id 3 is that of 'c' and of 'd'"):
        load(tmp_path, added_tokens=[added(3, "c"), added(3, "d")])
    with pytest.raises(ValueError, match=r"'c' has the id 70, and is numbered 3 .* without a gap"):
        load(tmp_path, added_tokens=[added(70, "c")])
    with pytest.raises(ValueError, match="puts 'c' around a text as id 3, and the largest id is 2"):
        load(tmp_path, post_processor={"type": "BertProcessing", "sep": ["c", 3], "cls": ["a", 0]})
    path = tmp_path / "twice.json"
    path.write_text('{"model": {"vocab": {"a": 0, "a": 1}}}', encoding="utf-8")
    with pytest.raises(ValueError, match="twice.json is no tokenizer.json: it gives 'a' twice"):
        Tokenizer.load(path)


def test_the_size_of_a_vocabulary_with_gaps_has_a_row_for_every_id(tmp_path):
    tokenizer = load(tmp_path, WORDS | {"c": 9})
    assert tokenizer.vocab_size == 10 and len(tokenizer.pieces) == 10
    assert tokenizer.encode(["a c"])[0].ids.tolist() == [0, 9]
    assert tokenizer.pieces[8:] == (None, b"c") and tokenizer.decode([9, 0]) == "c a"


def test_what_is_right_is_read(tmp_path):
    around = {"type": "BertProcessing", "sep": ["b", 1], "cls": ["a", 0]}
    tokenizer = load(tmp_path, added_tokens=[added(1, "b"), added(3, "c")], post_processor=around)
    assert tokenizer.vocab_size == 4
    assert tokenizer.encode(["c"], specials=True)[0].ids.tolist() == [0, 3, 1]


@pytest.mark.parametrize("specials", ["ab", ["a", "a"], [1], None])
def test_names_of_special_tokens_are_a_list_of_texts(tmp_path, specials):
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"jaxkd": {"specials": specials}}), encoding="utf-8")
    with pytest.raises(ValueError, match="tokenizer.json is no tokenizer.json: specials must"):
        Tokenizer.load(path)
