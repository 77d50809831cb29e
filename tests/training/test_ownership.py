"""One run writes to a work directory at a time; a dead one's successor may take its place."""

import concurrent.futures
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import optax
import pytest

from jaxkd import make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.training import fit, own_workdir
from jaxkd.training.ownership import STALE
from jaxkd.views import Normalize, Views

HERE = pathlib.Path(__file__).parent
VIEWS = Views((Normalize(),))


def run(student, data, workdir, batches=None, **options):
    step = make_train_step(student, recipes.labels(), optax.sgd(0.1), views=VIEWS)
    loader = batches or Loader(data, VIEWS, 32)
    options = {"steps": 4, "log_every": 1, "checkpoint_every": 2} | options
    return fit(
        step, step.init(), loader, workdir=workdir, tensorboard=False, progress=None, **options
    )


def forge(workdir, **changes):
    """Leaves the file of an owner that this process's own is changed into."""
    with own_workdir(workdir):
        (file,) = workdir.glob(".owner.*.json")
        document = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(document | changes), encoding="utf-8")
    return file


def in_another_thread(function):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(function).result()


def test_a_second_run_is_refused_and_the_first_ends_undisturbed(images, mlp, tmp_path):
    refusals = []

    class Meanwhile(Loader):
        def __getitem__(self, step):
            if step == 3 and not refusals:
                with pytest.raises(RuntimeError) as refusal:
                    in_another_thread(lambda: run(mlp(), images, tmp_path / "w"))
                refusals.append(str(refusal.value))
            return super().__getitem__(step)

    run(mlp(), images, tmp_path / "w", Meanwhile(images, VIEWS, 32))
    (message,) = refusals
    thread = threading.current_thread().name
    assert f"in use by process {os.getpid()} (thread {thread}) on " in message
    assert "since 20" in message and "choose another workdir" in message
    run(mlp(), images, tmp_path / "alone")
    texts = [(tmp_path / name / "train.csv").read_text(encoding="utf-8") for name in ("w", "alone")]
    assert texts[0] == texts[1]
    # It was given back.
    assert run(mlp(), images, tmp_path / "w").state.step == 4


def test_a_thread_may_hold_its_directory_once_more(images, mlp, tmp_path):
    with own_workdir(tmp_path):
        run(mlp(), images, tmp_path)
        with pytest.raises(RuntimeError, match="is in use by"):
            in_another_thread(lambda: run(mlp(), images, tmp_path))


def test_a_dead_process_is_replaced_at_once_and_a_living_one_is_not(tmp_path):
    code = (
        "import sys, time\nfrom jaxkd.training import own_workdir\n"
        "with own_workdir(sys.argv[1]):\n  print('held', flush=True)\n  time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        try:
            assert process.stdout.readline() == "held\n"
            with (
                pytest.raises(RuntimeError, match=f"in use by process {process.pid} "),
                own_workdir(tmp_path),
            ):
                pass
            process.send_signal(signal.SIGKILL)
            # Dead, and not yet waited for by its parent.
            while "Z" not in pathlib.Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8"):
                time.sleep(0.01)
            with own_workdir(tmp_path) as owner:
                owner.check()
        finally:
            process.kill()


def test_the_number_of_a_dead_process_may_be_another_ones(tmp_path):
    forge(tmp_path, started=1)
    with own_workdir(tmp_path) as owner:
        owner.check()


@pytest.mark.parametrize("text", [None, "{", ""], ids=["whole", "cut short", "empty"])
def test_an_owner_on_another_host_is_dead_without_a_sign_of_life(tmp_path, text):
    file = forge(tmp_path, place="another", host="node7")
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(RuntimeError, match="sign of life 0 s ago.* 60 s after"):
        own_workdir(tmp_path).__enter__()
    old = time.time() - STALE - 5
    os.utime(file, (old, old))
    with own_workdir(tmp_path) as owner:
        owner.check()


def test_a_displaced_owner_stops_before_it_writes(images, mlp, tmp_path):
    class Displaced(Loader):
        def __getitem__(self, step):
            if step == 3:
                (file,) = tmp_path.glob(".owner.*.json")
                document = json.loads(file.read_text(encoding="utf-8")) | {"host": "node7"}
                number = int(file.name.split(".")[2])
                other = tmp_path / f".owner.{number + 1}.json"
                other.write_text(json.dumps(document), encoding="utf-8")
            return super().__getitem__(step)

    with pytest.raises(RuntimeError, match="node7, since .* took it over"):
        run(mlp(), images, tmp_path, Displaced(images, VIEWS, 32), checkpoint_every=2)
    # Neither the row nor the checkpoint of what followed; and the successor still has it.
    rows = (tmp_path / "train.csv").read_text(encoding="utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2"]
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2"]
    assert "released" not in json.loads(
        max(tmp_path.glob(".owner.*.json")).read_text(encoding="utf-8")
    )


def test_of_several_successors_one_succeeds(tmp_path):
    for round in range(20):
        workdir = tmp_path / str(round)
        forge(workdir, started=1) if round % 2 else workdir.mkdir()
        barrier, over = threading.Barrier(4), threading.Barrier(4)

        def enter(workdir=workdir, barrier=barrier, over=over):
            barrier.wait()
            try:
                with own_workdir(workdir) as owner:
                    over.wait()
                    owner.check()
                    return True
            except RuntimeError as error:
                assert "is in use by" in str(error)
                over.wait()
                return False

        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            results = [future.result() for future in [pool.submit(enter) for _ in range(4)]]
        assert sum(results) == 1, round


def test_a_copy_of_a_directory_in_use_is_free(tmp_path):
    with own_workdir(tmp_path / "w") as owner:
        shutil.copytree(tmp_path / "w", tmp_path / "copy")
        in_another_thread(lambda: own_workdir(tmp_path / "copy").__enter__().check())
        owner.check()


def test_a_directory_that_is_deleted_meanwhile_is_named(tmp_path):
    with own_workdir(tmp_path / "w") as owner:
        shutil.rmtree(tmp_path / "w")
        with pytest.raises(RuntimeError, match=r"w was deleted or moved .* start the same command"):
            owner.check()
    with own_workdir(tmp_path / "w") as owner:
        owner.check()


def test_a_forked_process_does_not_hold_what_its_parent_holds(tmp_path, monkeypatch):
    with own_workdir(tmp_path) as owner:
        number = os.getpid()
        with monkeypatch.context() as forked:
            forked.setattr(os, "getpid", lambda: number + 1)
            with pytest.raises(RuntimeError, match=rf"belongs to process {number}"):
                owner.check()
            owner.release()
            with pytest.raises(RuntimeError, match=f"in use by process {number} "):
                own_workdir(tmp_path).__enter__()
        owner.check()


@pytest.mark.slow
def test_successors_of_owners_killed_at_twenty_moments_end_bit_identical(tmp_path):
    def start(name):
        command = [sys.executable, str(HERE / "killed_run.py"), str(tmp_path / name), "0"]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    began = time.monotonic()
    assert start("whole").wait() == 0
    seconds = time.monotonic() - began
    moments = np.random.default_rng(0).uniform(0.2, 0.9, 20) * seconds
    for moment in moments:
        with start("cut") as process:
            try:
                process.wait(moment)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
    assert start("cut").wait() == 0
    with np.load(tmp_path / "whole.npz") as a, np.load(tmp_path / "cut.npz") as b:
        assert sorted(a) == sorted(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    for name in ("train.csv", "eval.csv"):
        texts = [(tmp_path / run / name).read_text(encoding="utf-8") for run in ("whole", "cut")]
        assert texts[0] == texts[1]
