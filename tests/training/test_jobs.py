"""Jobs of several processes on this machine."""

import os
import pathlib
import re
import socket
import subprocess
import sys

import numpy as np
import pytest
from compiling import xla_flags

from jaxkd.training import initialize

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parents[1]


def run_job(count: int, workdir: pathlib.Path, terminate_at: int = -1) -> list[str]:
    """Runs `job.py` in `count` processes with four devices in all; returns what they print."""
    workdir.mkdir(exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": xla_flags(""),
        "JAX_NUM_CPU_DEVICES": str(4 // count),
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(HERE.parent)]),
    }
    numbers = str(port), str(workdir), str(terminate_at)
    processes = [
        subprocess.Popen(
            [sys.executable, HERE / "job.py", str(count), str(index), *numbers],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )  # fmt: skip
        for index in range(count)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    codes = {process.returncode for process in processes}
    assert codes == ({0} if terminate_at < 0 else {75}), outputs
    return outputs


def result(workdir: pathlib.Path) -> dict[str, np.ndarray]:
    with np.load(workdir / "result.npz") as stored:
        return dict(stored)


@pytest.mark.slow
def test_processes_change_nothing_but_who_computes_what(tmp_path):
    """Cache from a spread teacher, training, SIGTERM and resume, evaluation, logs."""
    run_job(1, tmp_path / "1")
    stopped = run_job(2, tmp_path / "2", terminate_at=6)
    # The signal reached one of them, both stopped at the same step.
    steps = {re.findall(r"stopped by SIGTERM after step (\d+)", text)[0] for text in stopped}
    assert len(steps) == 1 and 6 < int(steps.pop()) <= 20
    run_job(2, tmp_path / "2")
    alone, two = result(tmp_path / "1"), result(tmp_path / "2")
    assert sorted(alone) == sorted(two)
    for name, value in alone.items():
        np.testing.assert_allclose(two[name], value, atol=1e-5, rtol=1e-4, err_msg=name)
    for name in ("train.csv", "eval.csv"):
        rows = [
            (tmp_path / c / "run" / name).read_text(encoding="utf-8").splitlines()
            for c in ("1", "2")
        ]
        assert len(rows[0]) == len(rows[1]) and rows[0][0] == rows[1][0]
        table = [[[float(x) for x in line.split(",")] for line in r[1:]] for r in rows]
        np.testing.assert_allclose(*table, rtol=1e-4, atol=1e-5)
    assert len(list((tmp_path / "2" / "run").glob("events*"))) == 2  # one a call, by one process


@pytest.mark.slow
def test_a_killed_process_ends_the_others_and_loses_nothing():
    """A tiny run of the benchmark: it fails unless survivors end and states agree to the bit."""
    command = [sys.executable, ROOT / "benchmarks" / "train_kills.py", "--kills=1", "--seed=1"]
    run = subprocess.run(
        [*command, "--processes", "2"],
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"2 processes, 1 kills, equal: True", run.stdout)


def test_half_an_address_is_refused():
    with pytest.raises(ValueError, match="'localhost:1'.* without process_id and|give all three"):
        initialize("localhost:1", 2)
    with pytest.raises(ValueError, match="process_id=2 is not one of num_processes=2"):
        initialize("localhost:1", 2, 2)
