"""Writes the table of public names that moved, were renamed or removed into the changelog.

  python benchmarks/public_names.py BEFORE [--renamed FILE] [--changelog CHANGELOG.md]

For 0.2.0: BEFORE is the last revision of 0.1 and FILE is benchmarks/public_names_0.2.txt.

BEFORE is a git revision. The packages of both trees are imported, each in a process of its own, and
every name that is reached by a path without underscores is listed. A name that is gone is *moved*
where one of the same name is found in another place, *renamed* where FILE says so (a line each:
`jaxkd.old.name -> jaxkd.new.name`, or `jaxkd.old.name -> removed: why`), and *removed* otherwise.
Without `--changelog` the table is printed.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping

ROOT = pathlib.Path(__file__).resolve().parent.parent
MARK = "<!-- names: written by benchmarks/public_names.py -->"
_RENAMED = re.compile(r"^\s*(?P<old>[\w.]+)\s*->\s*(?P<new>.+?)\s*$")

# Runs within either tree.
_LIST = """
import importlib, json, pkgutil, sys, types
import jaxkd

names = {}
def walk(module):
    for name in dir(module):
        value = getattr(module, name, None)
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        home = getattr(value, "__module__", module.__name__)
        # A package gives names of its modules; a module is not the place of what it imports.
        package = hasattr(module, "__path__")
        if home.split(".")[0] == "jaxkd" if package else home == module.__name__:
            names[f"{module.__name__}.{name}"] = getattr(value, "__qualname__", name)
    for info in pkgutil.iter_modules(getattr(module, "__path__", [])):
        if info.name.startswith("_"):
            continue
        child = importlib.import_module(f"{module.__name__}.{info.name}")
        # A module that a function of its name hides is reached through the function alone.
        if isinstance(getattr(module, info.name, child), types.ModuleType):
            walk(child)

walk(jaxkd)
json.dump(names, sys.stdout)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("before", help="git revision")
    parser.add_argument("--renamed", type=pathlib.Path)
    parser.add_argument("--changelog", type=pathlib.Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        archive = subprocess.run(
            ["git", "archive", given.before, "jaxkd"], cwd=ROOT, capture_output=True, check=True
        )
        subprocess.run(["tar", "-x", "-C", directory], input=archive.stdout, check=True)
        before = names_in(pathlib.Path(directory))
    after = names_in(ROOT)
    lines = given.renamed.read_text(encoding="utf-8").splitlines() if given.renamed else []
    text = table(before, after, chosen(lines))
    if given.changelog is None:
        print(text)
        return
    page = given.changelog.read_text(encoding="utf-8")
    start = page.index(MARK) + len(MARK)
    end = page.find("\n## ", start)
    end = len(page) if end < 0 else end
    given.changelog.write_text(f"{page[:start]}\n\n{text}\n{page[end:]}", encoding="utf-8")


def names_in(tree: pathlib.Path) -> dict[str, str]:
    """Every public name of the package in a tree, with the qualified name of what it is."""
    run = subprocess.run(
        [sys.executable, "-c", _LIST],
        cwd=tree,
        env={"PYTHONPATH": str(tree), "JAX_PLATFORMS": "cpu", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(run.stdout)


def chosen(lines: Iterable[str]) -> dict[str, str]:
    """Old names with their new ones, or what became of them."""
    matches = [_RENAMED.match(line) for line in lines]
    return {match["old"]: match["new"] for match in matches if match}


def table(before: Mapping[str, str], after: Mapping[str, str], renamed: Mapping[str, str]) -> str:
    """A Markdown table with a row for each name that is no longer where it was."""
    homes: dict[str, list[str]] = {}
    for name in after:
        homes.setdefault(name.rpartition(".")[2], []).append(name)
    rows, kinds = [], {"moved": 0, "renamed": 0, "removed": 0}
    for old in sorted(set(before) - set(after)):
        new, kind = became(old, after, homes, renamed)
        kinds[kind] += 1
        rows.append(f"| `{old}` | {kind} | {new} |")
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    added = sorted(set(after) - set(before))
    head = (
        f"Of {len(before)} public names, {len(before) - len(rows)} are where they were; {counted}; "
        f"{len(added)} names are new or new places."
    )
    return "\n".join([head, "", "| before | | after |", "| :-- | :-- | :-- |", *rows])


def became(
    old: str, after: Mapping[str, str], homes: Mapping[str, list[str]], renamed: Mapping[str, str]
) -> tuple[str, str]:
    """What became of a name: the text of the table's last column, and the kind of change."""
    package, _, last = old.rpartition(".")
    path = old
    # The longest renamed part of the path counts, so that a module may be renamed in one line.
    while path:
        if path in renamed:
            new = renamed[path]
            if new.startswith("removed"):
                return new.removeprefix("removed").lstrip(": "), "removed"
            full = new + old[len(path) :]
            # In a module that moved, the name itself may have changed too.
            if full in after or not full.startswith("jaxkd."):
                found = full
            elif (found := _new_name(last, homes, renamed) or "") == "":
                return "no longer public", "removed"
            return f"`{found}`", "moved" if found.rpartition(".")[2] == last else "renamed"
        path = path.rpartition(".")[0]
    places = sorted(homes.get(last, []), key=lambda name: (_distance(package, name), len(name)))
    if places:
        return f"`{places[0]}`", "moved"
    found = _new_name(last, homes, renamed)
    return (f"`{found}`", "renamed") if found else ("", "removed")


def _new_name(last: str, homes: Mapping[str, list[str]], renamed: Mapping[str, str]) -> str | None:
    """A public name that a name of this last part became anywhere, or None."""
    for old, new in renamed.items():
        if old.rpartition(".")[2] == last and (found := homes.get(new.rpartition(".")[2])):
            return new if new in found else min(found, key=len)
    return min(homes[last], key=len) if last in homes else None


def _distance(package: str, name: str) -> int:
    """How many parts at the end of the old package are not those of the new name."""
    old, new = package.split("."), name.split(".")
    same = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(old))
    return len(old) - same


if __name__ == "__main__":
    main()
