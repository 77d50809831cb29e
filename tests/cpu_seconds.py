"""A pytest plugin that writes the CPU seconds of every test, those of its processes included.

    python -m pytest -p tests.cpu_seconds --cpu-seconds=cpu.csv

What several tests share, a fixture or a compiled program, counts for the first that needs it.
"""

import os
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
        with open(path, "a") as file:  # A short line is appended whole, by every worker.
            file.write(f"{cpu:.3f},{wall:.3f},{item.nodeid}\n")
    return result


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
