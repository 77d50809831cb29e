"""The index of papers: each method with its formula, our recipe, our number, the published one."""

import csv
import functools
import inspect
import pathlib
import tomllib

from docstrings import escape

from experiments.cifar.published import PUBLISHED
from jaxkd import recipes

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAIR = "resnet32x4/resnet8x4"
MARK = "<!-- papers -->"


@functools.cache
def notes() -> dict[str, dict[str, str]]:
    """Formula and differences of each method."""
    path = pathlib.Path(__file__).with_name("papers.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


@functools.cache
def measured() -> dict[str, tuple[float, float]]:
    """Method → gain on labels in points and its deviation, of benchmarks/methods.py."""
    path = ROOT / "benchmarks" / "methods.csv"
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    gain, spread = "Gain on labels mean", "Gain on labels std"
    return {
        row["Method"]: (100 * float(row[gain]), 100 * float(row[spread]))
        for row in rows
        if row[gain]
    }


def page(text: str) -> str:
    """The written page with the index in place of its mark."""
    return text.replace(MARK, _table() + "\n\n" + "\n\n".join(map(section, recipes.names())))


def section(name: str) -> str:
    """What the index says of a method."""
    recipe, note = recipes.get(name), notes()[name]
    # The recipe of an optimizer is no function of its own.
    has_page = name.startswith("language.") or hasattr(recipes, name)
    link = f"reference/jaxkd.recipes.{name if has_page else 'create'}.md"
    parts = [
        f"## {name}",
        f"*{escape(recipe.reference)}*",
        f"- Formula: {escape(note['formula'])}",
        f"- Recipe: [`{call(name)}`]({link})",
        f"- Here: {_here(name)}",
        f"- Published: {_published(name)}",
    ]
    if "differs" in note:
        parts.append(f"- Where implementations differ: {note['differs']}")
    return "\n".join([parts[0], "", parts[1], "", *parts[2:]])


def call(name: str) -> str:
    """The call of a recipe with its defaults."""
    recipe = recipes.get(name)
    given = ["pair"] if recipe.needs_pair else []
    for option, value in recipe.options.items():
        if value is inspect.Parameter.empty:
            given.append(f"{option}=…")
        else:
            given.append(f"{option}={getattr(value, '__name__', repr(value))}")
    return f"recipes.{name}({', '.join(given)})"


def _here(name: str) -> str:
    if name not in measured():
        return "not in the table of methods; see its tests and the pages that use it"
    gain, spread = measured()[name]
    text = f"{gain:+.1f} ± {spread:.1f} points".replace("-", "−")
    return f"{text} on labels ([500 steps, nothing tuned](benchmarks/methods.md))"


def _published(name: str) -> str:
    table = PUBLISHED[PAIR]
    if name not in table:
        return "no number of the common CIFAR-100 protocol in this repository"
    return f"{table[name]} % (labels {table['labels']} %), CIFAR-100, {PAIR}, best of 240 epochs"


def _table() -> str:
    rows = []
    for name in recipes.names():
        here = f"{measured()[name][0]:+.1f}".replace("-", "−") if name in measured() else ""
        published = PUBLISHED[PAIR].get(name, "")
        gain = f"{float(published) - float(PUBLISHED[PAIR]['labels']):+.1f}" if published else ""
        anchor = name.replace(".", "")
        rows.append(f"| [{name}](#{anchor}) | {here} | {gain.replace('-', '−')} |")
    head = "| method | gain here, points | published gain, points |\n| :-- | --: | --: |"
    return "\n".join([head, *rows])
