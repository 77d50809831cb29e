"""How numbers stand in text: minus signs and plurals."""

import re


def with_minus(text: str) -> str:
    """Writes the hyphens before numbers as minus signs; a zero has none."""
    text = re.sub(r"(?<![\w.])-(?=0(?:\.0+)?(?![\d.]))", "", text)
    return re.sub(r"(?<![\w.])-(?=\d)", "\u2212", text)


def counted(number: int, noun: str) -> str:
    """Returns a number with its noun, `"1 seed"` or `"3 seeds"`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def budget_of(steps: int | None, seconds: float | None) -> str:
    """Returns what a student may train, `"1 step"` or `"30 seconds of training"`."""
    return counted(steps, "step") if steps else f"{seconds:g} seconds of training"
