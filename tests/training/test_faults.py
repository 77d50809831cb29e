"""What may go wrong while training: signals, damaged and full disks, numbers that are none."""

import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import warnings

import chex
import jax
import numpy as np
import optax
import pytest
from conftest import random_images
from tiers import few

from jaxkd import Objective, Term, losses, make_train_step, recipes
from jaxkd.data import Loader
from jaxkd.training import Checkpoints, Partitioning, Preempted, fit, make_mesh
from jaxkd.training._digests import digests
from jaxkd.views import Normalize, RandomCrop, Views

VIEWS = Views((RandomCrop(1), Normalize()))
ADAM = optax.adamw(optax.cosine_decay_schedule(1e-2, 100))
QUIET = {"tensorboard": False, "progress": None}


def start(student, partitioning=None, optimizer=ADAM, objective=None):
    objective = objective or recipes.labels()
    step = make_train_step(student, objective, optimizer, views=VIEWS, partitioning=partitioning)
    return step, step.init(seed=3)


def run(student, workdir, loader=None, steps=60, partitioning=None, **options):
    options = {"log_every": 20, "checkpoint_every": 20, **QUIET, **options}
    loader = loader or Loader(random_images(), VIEWS, 32)
    return fit(*start(student, partitioning), loader, steps=steps, workdir=workdir, **options)


class Signaling(Loader):
    """Batches of which one sends a signal to the process."""

    def __init__(self, step: int, number: int = signal.SIGTERM):
        super().__init__(random_images(), VIEWS, 32)
        self.step, self.number = step, number

    def __getitem__(self, step):
        if step == self.step:
            os.kill(os.getpid(), self.number)
        return super().__getitem__(step)


@few("steps_per_call", [8, 1])
def test_sigterm_saves_and_resumes_to_the_last_bit(small, tmp_path, steps_per_call):
    """In the middle of a log interval, whose row is as if nothing had happened."""
    options = {"steps_per_call": steps_per_call}
    before = signal.getsignal(signal.SIGTERM)
    whole = run(small(), tmp_path / "whole", **options)
    with pytest.raises(Preempted, match="start the same command again") as stopped:
        run(small(), tmp_path / "cut", Signaling(33), **options)
    assert stopped.value.exit_code == 75 and stopped.value.step in (34, 36)
    assert signal.getsignal(signal.SIGTERM) is before
    resumed = run(small(), tmp_path / "cut", **options)
    chex.assert_trees_all_equal(resumed.state.params, whole.state.params)
    chex.assert_trees_all_equal(resumed.state.opt_state, whole.state.opt_state)
    texts = [
        (tmp_path / name / "train.csv").read_text(encoding="utf-8") for name in ("whole", "cut")
    ]
    assert texts[0] == texts[1] and texts[0].count("\n") == 4


def test_sigterm_during_the_last_evaluation_is_not_swallowed(mlp, tmp_path):
    def score(state):
        os.kill(os.getpid(), signal.SIGTERM)
        return {"at": int(state.step)}

    with pytest.raises(Preempted, match="after step 20"):
        run(mlp(), tmp_path, steps=20, evaluate=score)
    assert [row["step"] for row in run(mlp(), tmp_path, steps=20).eval] == [20]


def test_checksums_see_constants_keys_and_all_kinds_of_numbers():
    numbers = np.arange(8) - 3
    kinds = ("float32", "bfloat16", "float16", "int8", "uint8", "int32", "bool", "complex64")
    for kind in kinds:
        array = jax.numpy.asarray(numbers, kind)
        flat = {name: jax.numpy.full(64, value, kind) for name, value in [("a", 0), ("b", 1)]}
        assert digests(flat)["['a']"] != digests(flat)["['b']"], kind
        assert digests({"x": array}) != digests({"x": array[::-1]}), kind
        assert digests({"x": array}) == digests({"x": jax.numpy.array(array)})


def test_random_keys_of_an_optimizer_are_saved_too(mlp, tmp_path):
    noisy = optax.chain(optax.add_noise(0.01, 0.5, jax.random.key(3)), optax.sgd(0.01))
    options = {"log_every": 5, "checkpoint_every": 5, "workdir": tmp_path, **QUIET}
    loader = Loader(random_images(), VIEWS, 32)
    fit(*start(mlp(), optimizer=noisy), loader, steps=10, **options)
    cut = fit(*start(mlp(), optimizer=noisy), loader, steps=20, **options)
    whole = fit(*start(mlp(), optimizer=noisy), loader, steps=20, log_every=5, **QUIET)
    chex.assert_trees_all_equal(cut.state.params, whole.state.params)


def damage(directory: pathlib.Path, how: str, chance: random.Random) -> None:
    """Damages one file of a checkpoint, not an empty one."""
    files = sorted(f for f in directory.rglob("*") if f.is_file() and f.stat().st_size)
    file = chance.choice(files)
    content = bytearray(file.read_bytes())
    if how == "gone":
        file.unlink()
    elif how == "cut":
        file.write_bytes(content[: len(content) // 2])
    else:
        place = chance.randrange(len(content))
        content[place] ^= 1 << chance.randrange(8)
        file.write_bytes(content)


@few("how", ["flipped", "cut", "gone"])
def test_a_damaged_checkpoint_never_passes_for_a_whole_one(small, tmp_path, how):
    """Damage either touches nothing that is read, or the one before is taken, with a warning."""
    step, state = start(small())
    loader, chance = Loader(random_images(), VIEWS, 32), random.Random(0)
    saved = {}
    with Checkpoints(tmp_path / "original") as checkpoints:
        for index in range(4):
            state, _ = step(state, loader[index])
            if index in (1, 3):
                checkpoints.save(state)
                saved[index + 1] = jax.device_get(state.params)
    fell_back = 0
    for number in range(8):
        copy = tmp_path / str(number)
        subprocess.run(["cp", "-r", tmp_path / "original", copy], check=True)
        damage(copy / "4", how, chance)
        with Checkpoints(copy) as checkpoints:
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                restored, _ = checkpoints.restore(start(small(5))[1])
            at = int(restored.step)
            chex.assert_trees_all_equal(jax.device_get(restored.params), saved[at])
            messages = [str(w.message) for w in caught if "is damaged" in str(w.message)]
            assert len(messages) == (at == 2)
            fell_back += at == 2
            assert checkpoints.latest() == at
            if at == 2:
                assert len(list((tmp_path / f"{number}.damaged").glob("4.*"))) == 1
    assert fell_back >= 2


def test_whole_arrays_of_another_step_are_not_taken(small, tmp_path):
    """As an incomplete copy leaves them: only the checksums distinguish them from its own."""
    step, state = start(small())
    loader = Loader(random_images(), VIEWS, 32)
    with Checkpoints(tmp_path / "original") as checkpoints:
        for index in range(2):
            state, _ = step(state, loader[index])
            checkpoints.save(state)
    first, second = (tmp_path / "original" / number / "state" for number in "12")
    shutil.rmtree(second)
    shutil.copytree(first, second)
    with (
        Checkpoints(tmp_path / "original") as checkpoints,
        pytest.warns(UserWarning, match="step 2 .*not the numbers that were saved"),
    ):
        restored, _ = checkpoints.restore(start(small(5))[1])
    assert int(restored.step) == checkpoints.latest() == 1


def test_a_damaged_document_is_not_another_students_state(small, tmp_path):
    step, state = start(small())
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state)
        (state, _), saved = step(state, Loader(random_images(), VIEWS, 32)[0]), state
        checkpoints.save(state, {"seen": (1, 2), "names": {10: "ten", 9: "nine"}})
        assert checkpoints.restore(state)[1]["names"] == {"10": "ten", "9": "nine"}
    (document,) = (
        file
        for file in (tmp_path / "c" / "1").rglob("*")
        if file.is_file() and b"student" in (text := file.read_bytes()) and b"digests" in text
    )
    document.write_bytes(document.read_bytes().replace(b"norm.scale", b"norm.skale"))
    with (
        Checkpoints(tmp_path / "c") as checkpoints,
        pytest.warns(UserWarning, match="step 1 .* is damaged .its document is not what was saved"),
    ):
        assert int(checkpoints.restore(saved)[0].step) == 0


def test_nothing_whole_is_an_error_and_another_state_too(small, mlp, tmp_path):
    step, state = start(small())
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(state)
        with pytest.raises(ValueError, match=r"of another state .*conv\.bias.*nothing now"):
            checkpoints.restore(start(mlp())[1])
        for file in (tmp_path / "c" / "0").rglob("*"):
            if file.is_file():
                file.write_bytes(b"")
        for _ in range(2):  # and again: nothing is moved, no run begins anew by itself
            with pytest.raises(OSError, match="none of the checkpoints in .* can be read"):
                checkpoints.restore(state)
        assert checkpoints.latest() == 0


def test_a_run_goes_on_with_another_number_of_devices(mlp, tmp_path):
    """Saved on eight, resumed on one, then on four, parameters spread or not."""
    whole = run(mlp(), tmp_path / "whole", steps=48, log_every=16, checkpoint_every=16)
    meshes = [
        Partitioning(make_mesh(fsdp=4, explicit=True), min_size=0),
        None,
        Partitioning(make_mesh(model=2, devices=jax.devices()[:4]), min_size=0),
    ]
    for turn, partitioning in enumerate(meshes):
        last = run(
            mlp(), tmp_path / "moved", steps=16 * (turn + 1), partitioning=partitioning,
            log_every=16, checkpoint_every=16,
        )  # fmt: skip
    assert [row["step"] for row in last.train] == [16, 32, 48]
    for name, value in whole.state.params["student"].items():
        np.testing.assert_allclose(last.state.params["student"][name], value, atol=2e-4)


FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
sys.path[:0] = [{here!r}, {tests!r}]
from test_faults import run
from conftest import small_network
import jaxkd
from flax import nnx
run(jaxkd.from_nnx(jaxkd.models.MLP(64, (2000,), 5, rngs=nnx.Rngs(0))), {workdir!r})
"""


@pytest.mark.slow
def test_a_full_disk_is_named_and_damages_nothing(mlp, tmp_path):
    """Files may not grow beyond a limit, as on a disk that is full."""
    here = pathlib.Path(__file__).parent
    run(mlp(width=2000), tmp_path / "w", steps=20)
    code = FULL.format(here=str(here), tests=str(here.parent), workdir=str(tmp_path / "w"))
    full = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=False
    )
    assert full.returncode != 0
    assert "the checkpoint of step 40 could not be written" in full.stderr
    assert "the newest whole one is of step 20" in full.stderr
    whole = run(mlp(width=2000), tmp_path / "other")
    resumed = run(mlp(width=2000), tmp_path / "w")
    chex.assert_trees_all_equal(resumed.state.params, whole.state.params)
    texts = [(tmp_path / name / "train.csv").read_text(encoding="utf-8") for name in ("w", "other")]
    assert texts[0] == texts[1]


@pytest.mark.skipif(not pathlib.Path("/sys/kernel").exists(), reason="no read-only tree at hand")
def test_a_directory_that_cannot_be_written_is_refused_before_anything_runs(mlp):
    class Untouchable:
        def __getitem__(self, step):
            raise AssertionError("a batch was read")

    with pytest.raises(OSError, match="the work directory /sys/kernel/w cannot be written to"):
        run(mlp(), "/sys/kernel/w", Untouchable())


def poisoned(at: int) -> Objective:
    """Labels, and a term that is no number at one step."""

    def not_a_number(student, step):
        return jax.numpy.where(step == at, jax.numpy.nan, 0.0) * student.sum(-1)

    return Objective(label=Term(losses.cross_entropy), poison=Term(not_a_number))


def test_a_loss_that_is_no_number_stops_with_the_state_saved(small, tmp_path):
    step, state = start(small(), objective=poisoned(30))
    options = {"log_every": 10, "checkpoint_every": 10, "workdir": tmp_path, **QUIET}
    loader = Loader(random_images(), VIEWS, 32)
    with pytest.raises(FloatingPointError, match="before step 40.*is saved in .*nonfinite"):
        fit(step, state, loader, steps=60, **options)
    with Checkpoints(tmp_path / "checkpoints") as saved, Checkpoints(tmp_path / "nonfinite") as bad:
        assert saved.latest() == 30 and bad.latest() == 40
        restored, _ = bad.restore(start(small(), objective=poisoned(30))[1])
    assert not np.isfinite(restored.params["student"]["head.kernel"]).all()


def test_updates_that_are_not_finite_are_left_out_by_apply_if_finite(small, tmp_path):
    """Parameters, optimizer and statistics are those of a run without that step's update."""
    optimizer = optax.apply_if_finite(optax.sgd(0.02), max_consecutive_errors=3)
    step, state = start(small(), optimizer=optimizer, objective=poisoned(30))
    loader = Loader(random_images(), VIEWS, 32)
    for index in range(30):
        state, _ = step(state, loader[index])
    before = jax.device_get((state.params, state.model_state))
    state, metrics = step(state, loader[30])
    chex.assert_trees_all_equal(jax.device_get((state.params, state.model_state)), before)
    assert float(metrics["skipped"]) == 1 and int(state.step) == 31
    fitted = fit(
        *start(small(), optimizer=optimizer, objective=poisoned(30)), loader,
        steps=60, log_every=20, workdir=tmp_path, **QUIET,
    )  # fmt: skip
    assert [row["skipped"] for row in fitted.train] == pytest.approx([0, 1 / 20, 0])
    assert np.isfinite([row["loss"] for row in fitted.train]).all()


def test_a_trace_is_written_if_profile_is_given(mlp, tmp_path):
    run(mlp(), tmp_path, profile=5)
    assert list((tmp_path / "profile").rglob("*.xplane.pb"))
    with pytest.raises(ValueError, match="profile=0|profile must be at least 1"):
        run(mlp(), tmp_path / "n", profile=0)
    with pytest.raises(ValueError, match="needs a workdir"):
        run(mlp(), None, profile=5, checkpoint_every=None)
