"""Mutation check: puts faults into the code, one at a time, and sees whether tests find them.

Run from the repository's root, in the environment that the tests run in:

    python tests/mutations.py                     # all faults
    python tests/mutations.py --list
    python tests/mutations.py --only "records of another view" --no-whole

Each fault of `mutation_faults.py` replaces one text that occurs once in one file. The tracked files
are copied to a temporary directory, where one fault after the other is put in and taken out again;
the working tree is not touched. With a fault in place the tests that should find it run first; if
these pass, so do all tests of `make test`, which takes minutes (`--no-whole` leaves that out, and
the fault counts as not caught). Before any fault, all these tests must pass.

A fault is caught by a test that fails, not by code that no longer imports. The exit status is 1 if
more than one fault is not caught, and 2 if the check itself cannot be made: a text that has
changed, a test that is gone, tests that fail without a fault. `test_mutations.py` looks for the
first two in every run of the tests.
"""

import argparse
import compileall
import os
import pathlib
import py_compile
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

from mutation_faults import FAULTS, Fault

ROOT = pathlib.Path(__file__).resolve().parent.parent
# The tests that `make test` runs.
FAST = "not slow and not exhaustive"
ALLOWED_MISSES = 1
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", re.MULTILINE)


class CheckError(Exception):
    """The check cannot be made, so that it shows nothing about the tests."""


def mutated(fault: Fault, text: str) -> str:
    """The text of the fault's file with the fault in it.

    Raises:
      CheckError: what is to be replaced does not occur exactly once.
    """
    if (count := text.count(fault.old)) != 1:
        raise CheckError(
            f"{fault.name!r}: the text to be replaced occurs {count} times in {fault.file}, not "
            f"once: the code has changed, so change the fault too.\n  {fault.old}"
        )
    return text.replace(fault.old, fault.new)


def copy_tracked(target: pathlib.Path) -> None:
    """Copies the files that git tracks, as they are in the working tree."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, encoding="utf-8"
    )
    for name in listed.stdout.split("\0"):
        source = ROOT / name
        if name and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    # Compiled once, and again where the content of a file, not its time, is another.
    checked = py_compile.PycInvalidationMode.CHECKED_HASH
    compileall.compile_dir(target / "jaxkd", quiet=1, invalidation_mode=checked)


def run_tests(tree: pathlib.Path, tests: Sequence[str], workers: int) -> str | None:
    """The first test of a tree that fails, or None if all pass.

    Args:
      tree: the copy.
      tests: for pytest; none for all.
      workers: processes that run them.

    Raises:
      CheckError: they do not run to an end: a test that is gone, code that does not import.
    """
    command = [sys.executable, "-m", "pytest", "-x", "--tb=no", "-rfE", "-m", FAST]
    command += ["-p", "no:cacheprovider", f"--ignore={tree / 'tests' / 'test_mutations.py'}"]
    if workers > 1:
        command += ["-n", str(workers), "--dist", "worksteal"]
    ran = subprocess.run(
        [*command, *tests], cwd=tree, env=_environment(tree), capture_output=True, encoding="utf-8"
    )
    if ran.returncode == 0:
        return None
    if failed := _FAILED.search(ran.stdout):
        return failed[1]
    raise CheckError(f"the tests do not run:\n{(ran.stdout + ran.stderr)[-3000:]}")


def _environment(tree: pathlib.Path) -> dict[str, str]:
    # Else tests and faulty files would be compiled to files whose times are compared by the second.
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}


def check_tree(tree: pathlib.Path, faults: Sequence[Fault]) -> None:
    """Refuses a copy that is not what is tested, or whose tests fail without a fault.

    Raises:
      CheckError: saying which.
    """
    program = "import jaxkd; print(jaxkd.__file__)"
    ran = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tree,
        env=_environment(tree),
        capture_output=True,
        encoding="utf-8",
    )
    if not ran.stdout.startswith(str(tree)):
        raise CheckError(f"not the copy's jaxkd is imported: {ran.stdout}{ran.stderr}")
    tests = list(dict.fromkeys(test for fault in faults for test in fault.tests))
    if failed := run_tests(tree, tests, 1):
        raise CheckError(f"{failed} fails without a fault")


def caught_by(tree: pathlib.Path, fault: Fault, whole: bool, workers: int) -> str | None:
    """The test that finds a fault, None if none does; the tree is as before.

    Raises:
      CheckError: a text that has changed, a fault that prevents the tests from running.
    """
    file = tree / fault.file
    text = file.read_text(encoding="utf-8")
    file.write_text(mutated(fault, text), encoding="utf-8")
    try:
        found = run_tests(tree, fault.tests, 1)
        return run_tests(tree, (), workers) if found is None and whole else found
    except CheckError as error:
        raise CheckError(f"{fault.name!r}: {error}") from error
    finally:
        file.write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the check; returns the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--list", action="store_true", help="names the faults and ends")
    parser.add_argument("--only", action="append", metavar="NAME", help="this fault; repeatable")
    parser.add_argument(
        "--whole",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="runs all fast tests where the expected ones pass",
    )
    parser.add_argument("--workers", type=int, default=2, help="processes for all fast tests")
    options = parser.parse_args(arguments)
    if options.list:
        for fault in FAULTS:
            print(f"{fault.name}  ({fault.file})")
        return 0
    if unknown := set(options.only or ()) - {fault.name for fault in FAULTS}:
        parser.error(f"there is no fault {sorted(unknown)}; see --list")
    faults = [fault for fault in FAULTS if not options.only or fault.name in options.only]

    missed = 0
    width = max(len(fault.name) for fault in faults)
    with tempfile.TemporaryDirectory(prefix="mutations.") as folder:
        tree = pathlib.Path(folder).resolve()
        try:
            copy_tracked(tree)
            for fault in faults:
                mutated(fault, (tree / fault.file).read_text(encoding="utf-8"))
            check_tree(tree, faults)
            for fault in faults:
                start = time.monotonic()
                found = caught_by(tree, fault, options.whole, options.workers)
                missed += found is None
                seconds = time.monotonic() - start
                print(
                    f"{fault.name:{width}}  {seconds:5.0f} s  {found or 'NOT caught'}", flush=True
                )
        except CheckError as error:
            print(error, file=sys.stderr)
            return 2
    print(f"{len(faults) - missed} of {len(faults)} faults are caught")
    return int(missed > ALLOWED_MISSES)


if __name__ == "__main__":
    sys.exit(main())
