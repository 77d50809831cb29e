"""Experiments as the tests start them: in this process, or as one of their own."""

import csv
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
from absl import flags
from compiling import xla_flags
from ml_collections import config_flags

from experiments.common import launch

ROOT = pathlib.Path(__file__).parents[1]


def runtime():
    """What launch makes of the defaults of its flags: all devices, no trace."""
    flags.FLAGS.mark_as_parsed()
    return launch.runtime()


def chosen(config, options):
    """The default configuration with options such as `--config.seeds=2`, parsed as launch does."""
    values = flags.FlagValues()
    line = ["test", *options]
    holder = config_flags.DEFINE_config_dataclass(
        "config", config, flag_values=values, sys_argv=line
    )
    values(line)
    return holder.value


def run(name, workdir, *options, devices=1):
    """Runs the module of a name in a process of its own, to its end."""
    return subprocess.run(
        _command(name, workdir, options),
        cwd=ROOT,
        env=_environment(devices),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


def run_until(pattern, name, workdir, *options, devices=1):
    """Starts it, and kills it by SIGKILL once a file of the pattern is in its work directory."""
    process = subprocess.Popen(
        _command(name, workdir, options),
        cwd=ROOT,
        env=_environment(devices),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    deadline = time.monotonic() + 900
    while not list(workdir.glob(pattern)) and time.monotonic() < deadline:
        assert process.poll() is None, process.stdout.read().decode()
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()


def kill_in(folder, step, name, workdir, *options, devices=1):
    """Runs it until SIGKILL at a step of the training in a folder, behind a first checkpoint."""
    where = [name, str(workdir / folder), str(step), f"--workdir={workdir}"]
    process = subprocess.run(
        [sys.executable, "-m", "tests.killed_experiment", *where, *options],
        cwd=ROOT,
        env=_environment(devices),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    saved = [int(p.name) for p in workdir.glob(f"{folder}/checkpoints/*") if p.name.isdigit()]
    assert saved and max(saved) < step and not (workdir / folder / "result.npz").exists()


def uninterrupted(folder, name, workdir, *options, devices=1):
    """What the training in a folder comes to in one go, all else as it is: asserts the very same.

    Returns the work directory, a copy of the other.
    """
    copy = workdir.with_name(f"{workdir.name}_uninterrupted")
    shutil.copytree(workdir, copy)
    shutil.rmtree(copy / folder)
    process = run(name, copy, *options, devices=devices)
    assert process.returncode == 0, process.stderr
    found, wanted = (dict(np.load(at / folder / "result.npz")) for at in (workdir, copy))
    assert found.keys() == wanted.keys()
    for key in found.keys() - {"seconds"}:
        np.testing.assert_array_equal(found[key], wanted[key], err_msg=key)
    return copy


def table(file):
    """The rows of a CSV file."""
    return list(csv.DictReader(file.open()))


def _command(name, workdir, options):
    return [sys.executable, "-m", f"experiments.{name}", f"--workdir={workdir}", *options]


def _environment(devices):
    return {**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": xla_flags("", devices)}
