import pytest

from experiments.datasets._sentences import split_sentences


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
