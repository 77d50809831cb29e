"""English prose into sentences, by rules."""

import re

# What ends a sentence, with the quotes and brackets that close after it; a blank line does, too.
_END = re.compile(r"[.!?]+(?:[\"'”’)\]_]|--(?=\s))*(?=\s)|\n\s*\n")
_OPENS = re.compile(r"[\"'“‘(\[_]*[A-Z0-9]")
_ABBREVIATIONS = frozenset(
    ("mr", "mrs", "ms", "dr", "st", "messrs", "esq", "col", "capt", "gen", "lieut", "rev", "hon")
    + ("no", "vol", "chap", "etc", "viz")
)


def split_sentences(text: str) -> list[str]:
    r"""Splits where a sentence ends and the next one begins with a capital or a number.

    Not after abbreviations (Mr., St.) or initials, nor where speech goes on in lower case after a
    question or exclamation ("Is it?" said she).

    Args:
      text: of any number of paragraphs, which are parted by blank lines.

    Returns:
      The sentences, each in one line with single spaces.

    Example:
      >>> split_sentences('Mr. Bennet was silent.  "Is that his design?" said he.\n\nIt was')
      ['Mr. Bennet was silent.', '"Is that his design?" said he.', 'It was']
    """
    found, start = [], 0
    for match in _END.finditer(text):
        if match[0].strip():
            rest = text[match.end() : match.end() + 80].lstrip()
            if rest and not _OPENS.match(rest[:8]):
                continue
            if match[0].startswith(".") and _is_abbreviation(text[start : match.start()]):
                continue
        found.append(text[start : match.end()])
        start = match.end()
    found.append(text[start:])
    lines = (" ".join(sentence.split()) for sentence in found)
    return [line for line in lines if line]


def _is_abbreviation(before: str) -> bool:
    words = re.findall(r"[A-Za-z]+", before[-12:])
    if not words or not before[-1:].isalpha():
        return False
    return words[-1].lower() in _ABBREVIATIONS or (len(words[-1]) == 1 and words[-1] != "I")
