"""CPU seconds of every test, those of its processes included.

Commands, from the root:
  python -m pytest -p tests.cpu_seconds --cpu-seconds=cpu.csv   # a line "seconds,wall,test" each
  python -m tests.cpu_seconds cpu.csv 10    # Markdown: files of 10 s or more, the largest tests

What several tests share, a fixture or a compiled program, counts for the first that needs it.
"""

import collections
import os
import sys
import time

import pytest


def pytest_addoption(parser):
    parser.addoption("--cpu-seconds", help="append a line 'seconds,wall,test' for each test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = yield
    if path := item.config.getoption("cpu_seconds"):
        cpu, wall = _cpu_seconds() - cpu, time.perf_counter() - wall
        with open(
            path, "a", encoding="utf-8"
        ) as file:  # A short line is appended whole, by every worker.
            file.write(f"{cpu:.3f},{wall:.3f},{item.nodeid}\n")
    return result


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(path: str, least: float = 1.0, largest: int = 30) -> None:
    """Prints the sum of each file that takes `least` seconds or more, and the largest tests."""
    with open(path, encoding="utf-8") as file:
        lines = [line.rstrip("\n").split(",", 2) for line in file]
    tests = {test: float(seconds) for seconds, _, test in lines}
    files = collections.defaultdict(list)
    for test, seconds in tests.items():
        files[test.split("::")[0]].append(seconds)
    print(f"{len(tests)} tests, {sum(tests.values()) / 60:.1f} CPU minutes\n")
    print("| file | tests | CPU s |\n|---|---:|---:|")
    for name, seconds in sorted(files.items(), key=lambda item: -sum(item[1])):
        if sum(seconds) >= least:
            print(f"| {name} | {len(seconds)} | {sum(seconds):.0f} |")
    print("\n| test | CPU s |\n|---|---:|")
    for test, seconds in sorted(tests.items(), key=lambda item: -item[1])[:largest]:
        name = test.replace("|", "\\|")
        print(f"| `{name}` | {seconds:.1f} |")


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
