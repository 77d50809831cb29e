"""Whatever is wrong is refused and named, and whatever is right is accepted: tried in many ways.

  python benchmarks/contract_attacks.py [--only A B C D E F] [--before CHECKOUT [--count]]

A  Other teachers, modes, views, examples, classes, codecs, paths and runs than those of a cache or
   a work directory, through every entrance: none may be accepted, and each error names the thing.
B  The same things made again, moved, grown or in another process: none may be refused.
C  Files of a cache exchanged, copied, taken from another cache or from an earlier moment, renamed:
   `verify` and reading must both find it.
D  Two to four builders at once on one path, threads and processes: one wins, the others are refused
   or complete it; never a mixture, never a cache that nobody can use.
E  Two runs in one work directory, and owners that are killed.
F  Opening a cache of 60,000 examples and reading it at random.

With `--before`, another checkout of the library is compared with in F, and writes the cache of an
earlier format that B opens. With `--count` it goes through all other attacks too, and its counts
are kept in benchmarks/contract_attacks_before.json, from where later runs take them. Writes
benchmarks/contract_attacks.md; the exit status is 1 if anything was wrong.
`CONTRACT_ATTACKS_PYTHON` names an interpreter with another version of JAX, for one case of B.
"""

import argparse
import importlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
BEFORE = HERE / "contract_attacks_before.json"
PARTS = {
    "A": ("wrong", "Wrong, and tried everywhere"),
    "B": ("right", "Right, but it looks different"),
    "C": ("placements", "Files in another place"),
    "D": ("races", "Builders at once on one path"),
    "E": ("workdirs", "Runs in one work directory"),
    "F": ("opening", "Opening and random reads, 60,000 examples"),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--before", type=pathlib.Path, help="another checkout, for comparison")
    parser.add_argument("--count", action="store_true", help="attack the other checkout as well")
    parser.add_argument("--first", type=int, help="how many cases of each kind; by default all")
    parser.add_argument("--out", type=pathlib.Path, default=HERE, help="folder for the tables")
    parser.add_argument("--tree", type=pathlib.Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=pathlib.Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.count and given.before is None:
        parser.error("--count counts what another checkout accepts: name it by --before CHECKOUT")
    given.out.mkdir(parents=True, exist_ok=True)
    # The library of the tree that is tried, and these parts, which an earlier one does not have.
    for path in (ROOT, given.tree.resolve()):
        if str(path) in sys.path:
            sys.path.remove(str(path))
        sys.path.insert(0, str(path))
    if given.before is not None:
        os.environ.setdefault("CONTRACT_ATTACKS_BEFORE", str(given.before.resolve()))
    reports = {name: _run(name, given) for name in given.only}
    if given.json is not None:
        counts = [{k: v for k, v in report.items() if k != "wrong"} for report in reports.values()]
        text = json.dumps(dict(zip(reports, counts, strict=True)), indent=1)
        given.json.write_text(text + "\n", encoding="utf-8")
        return 0
    if given.count:
        # First what has been measured: the other checkout may fail.
        _write(reports, given)
        _run_before(given)
    _write(reports, given)
    return int(any(report["wrong"] for report in reports.values()))


def _write(reports: dict, given: argparse.Namespace) -> None:
    before = json.loads(BEFORE.read_text(encoding="utf-8")) if BEFORE.exists() else {}
    from benchmarks.contract_attacks_parts import reports as tables

    tables.write(reports, before, {name: title for name, (_, title) in PARTS.items()}, given.out)


def _run(name: str, given: argparse.Namespace) -> dict:
    """Runs a part of the library in `tree`."""
    module = importlib.import_module(f"benchmarks.contract_attacks_parts.{PARTS[name][0]}")
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        options = {}
        if name == "F" and given.before is not None:
            options["trees"] = (given.tree, given.before)
        report = module.run(pathlib.Path(folder), seed=given.seed, first=given.first, **options)
    return {**report, "seconds": time.monotonic() - started}


def _run_before(given: argparse.Namespace) -> None:
    """Runs the same parts with the library of another checkout, in a process of its own."""
    command = [sys.executable, __file__, "--tree", str(given.before), "--json", str(BEFORE)]
    # F measures both trees in turn.
    command += ["--only", *sorted(set(given.only) - {"F"}), "--seed", str(given.seed)]
    command += [] if given.first is None else ["--first", str(given.first)]
    paths = os.pathsep.join([str(given.before.resolve()), str(ROOT)])
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths})


if __name__ == "__main__":
    sys.exit(main())
