"""How numbers stand in text: minus signs and plurals."""

import re


def with_minus(text: str) -> str:
    """Writes the hyphens before numbers as minus signs; a zero has none."""
    text = re.sub(r"(?<![\w.])-(?=0(?:\.0+)?(?![\d.]))", "", text)
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def unbroken(text: str) -> str:
    """Keeps numbers beside their signs and units when a line ends, and a space before each %."""
    text = re.sub(r"(?<=\d)%", " %", with_minus(text))
    return re.sub(r" (?=[±%])|(?<=±) ", "\u00a0", text)


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, `"1 seed"` or `"3 seeds"`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def spread_over(seeds: int) -> str:
    """Returns what the numbers of a table are, as far as the seeds go."""
    if seeds == 1:
        return "One student (seed), without spread"
    return f"Mean ± standard deviation of {seeds:,} students (seeds)"


def inside(sentence: str) -> str:
    """Returns a sentence as it stands behind a colon."""
    return sentence[:1].lower() + sentence[1:]


def budget_of(steps: int | None, seconds: float | None) -> str:
    """Returns what a student may train, `"1 step"` or `"30 seconds of training"`."""
    return counted(steps, "step") if steps else f"{seconds:g} seconds of training"
