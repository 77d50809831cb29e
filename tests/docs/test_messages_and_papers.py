"""The generated lists: every error message, every paper."""

import pathlib
import re

import messages
import papers
import pytest

from jaxkd import recipes

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def found():
    return messages.messages()


def test_no_error_of_the_library_is_missing(found):
    raised = {
        (str(path.relative_to(ROOT)), number)
        for path in (ROOT / "jaxkd").rglob("*.py")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        # What hands on the text of another error is no message of its own.
        if re.match(r"\s*raise [A-Z]\w+\((?!str\()", line)
    }
    missing = raised - {(message.file, message.line) for message in found}
    assert len(raised) > 1_000 and not missing


def test_every_message_has_a_text_and_its_package_a_remedy(found):
    assert not [message for message in found if not message.text]
    assert {message.package for message in found} == set(messages.remedies())
    assert min(map(len, messages.remedies().values())) > 50


def test_every_message_has_a_remedy_of_its_own(found):
    without = [f"{message.file}: {message.text}" for message in found if not message.remedy]
    assert not without, "say in the message what to write, or in docs/site/remedies.toml"
    written = messages.written_remedies()
    assert set(written) == {key for message in found for key in message.written}
    assert not [message for message in found if len(message.written) > 1]
    assert all(text.endswith(".") and len(text) > 7 for text in written.values())


@pytest.mark.parametrize(
    ("words", "states"),
    [
        ("labels are integers, not", "value"),
        ("cannot be read as JSON", ""),
        ("must lie in [0, 1], not {momentum}", "value"),
        ("which column has the labels", "message"),
        ("keep these groups complete with protect=", "message"),
    ],
)
def test_a_message_says_what_to_do_or_what_is_valid_or_neither(found, words, states):
    assert states in {message.states for message in found if words in message.text}


@pytest.mark.parametrize(
    "text", ["cannot be read: {error}", "{name} has 3 rows", "the loss is not finite"]
)
def test_a_new_message_without_a_remedy_is_found(text):
    new = messages.Message("ValueError", text, "jaxkd/new.py", 1, "new", "")
    assert new.remedy == ""


def test_messages_are_on_the_page_of_their_package(found):
    pages = dict(messages.pages())
    for message in found:
        page = pages[f"messages/{message.package}.md"]
        assert f"/{message.file}#L{message.line})" in page
        assert messages.remedies()[message.package] in page


def test_every_method_is_in_the_index_of_papers():
    text = papers.page(papers.MARK)
    assert set(papers.notes()) == set(recipes.names())
    for name in recipes.names():
        assert f"\n## {name}\n" in text and papers.call(name) in text
    assert "recipes.kd(alpha=0.9, temperature=4.0)" in text
    assert "76.32 % (labels 72.50 %)" in papers.section("dkd")
    assert "+3.4 ± 1.9 points" in papers.section("dkd")
