"""What several tests use: eight devices, a tiny data set and small networks."""

import atexit
import gc
import os
import pathlib
import shutil
import signal
import tempfile

import hypothesis
import jax
import numpy as np
import pytest
from compiling import xla_flags
from flax import nnx

import jaxkd
from jaxkd.data import Dataset

# Read when JAX looks for devices, which importing it does not. With no more threads than devices,
# as there are on few cores, XLA now and then waits for ever where devices exchange arrays.
os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""), devices=8)
os.environ.setdefault("NPROC", "16")
# Tracing makes many objects and few cycles: looking for these less often saves a twentieth.
gc.set_threshold(50_000, 20, 20)
# A shell that starts tests in the background has them ignore Ctrl-C, which some of them send.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Generated examples have no time limit, since a busy machine would exceed it.
hypothesis.settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("untimed")

# Compiled programs are cached for the run: the other workers, and the processes that tests start,
# inherit the folder and load programs from it. The process that made it removes it at its end.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    _programs = tempfile.mkdtemp(prefix="jaxkd-programs-")
    atexit.register(shutil.rmtree, _programs, ignore_errors=True)
    for _name, _setting in {
        "jax_compilation_cache_dir": _programs,
        "jax_persistent_cache_min_compile_time_secs": 0.1,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }.items():
        os.environ[_name.upper()] = str(_setting)
        jax.config.update(_name, _setting)  # JAX is imported already, and has read its variables.


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks examples that are a further variant of what tests hold.

    Those of networks make them at full size, which tests/models does in small; those of losses and
    connectors compile operation by operation what the contract of the losses, the golden numbers
    and their own files in tests/ compile at once; those of the other packages named here build
    networks, caches and trainings of their own, which the folders of their names in tests/ share.
    """
    connectors = pathlib.Path(__file__).parent / "connectors"
    library = pathlib.Path(jaxkd.__file__).parent
    guarded = {"losses", "models", "recipes", "cache", "compression", "strategies", "study"}
    guarded |= {"training", "metrics", "generation"}
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.path.is_relative_to(library):
            package = item.path.relative_to(library).parts[0]
            own = package == "connectors" and any(connectors.glob(f"test_*{item.path.stem}*.py"))
            if own or package in guarded:
                item.add_marker(pytest.mark.exhaustive)


def random_images() -> Dataset:
    """200 random 8×8 images of 5 classes, ids 3, 6, 9, …"""
    generator = np.random.default_rng(0)
    return Dataset.from_arrays(
        generator.integers(0, 256, (200, 8, 8, 1), np.uint8),
        generator.integers(0, 5, 200),
        ids=3 * np.arange(1, 201),
        name="random",
        split="train",
        num_classes=5,
    )


@pytest.fixture(autouse=True, scope="module")
def few_compiled_programs():
    """Forgets compiled programs before they have all memory maps that Linux gives a process.

    Each has some, and thousands of tests need more than 65,530, after which XLA may crash.

    Yields:
      Nothing.
    """
    yield
    maps = pathlib.Path("/proc/self/maps")
    if maps.exists() and maps.read_bytes().count(b"\n") > 30_000:
        jax.clear_caches()
        gc.collect()


@pytest.fixture
def images() -> Dataset:
    """What `random_images` returns."""
    return random_images()


class Small(nnx.Module):
    """Convolution, batch norm, dropout, head."""

    def __init__(self, num_classes: int, *, rngs: nnx.Rngs, width: int = 4, activation=nnx.relu):
        self.conv = nnx.Conv(1, width, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(width, rngs=rngs)
        self.dropout = nnx.Dropout(0.3, rngs=rngs)
        self.head = nnx.Linear(width * 16, num_classes, rngs=rngs)
        self.activation = activation

    def __call__(self, x):
        x = self.activation(self.norm(self.conv(x)))
        x = x.reshape(x.shape[0], 4, 2, 4, 2, -1).mean((2, 4))
        return self.head(self.dropout(x.reshape(x.shape[0], -1)))


def small_network(
    seed: int = 0, num_classes: int = 5, features=None, dtype=None, **options
) -> jaxkd.Network:
    """A `Small` network for 8×8 images."""
    model = Small(num_classes, rngs=nnx.Rngs(seed), **options)
    return jaxkd.from_nnx(model, features=features, dtype=dtype)


@pytest.fixture
def small():
    """Makes networks: `small(seed, num_classes=5, …)`."""
    return small_network


@pytest.fixture
def mlp():
    """Makes a small multilayer perceptron for 8×8 images."""

    def make(seed: int = 0, num_classes: int = 5, width: int = 16) -> jaxkd.Network:
        return jaxkd.from_nnx(jaxkd.models.MLP(64, (width,), num_classes, rngs=nnx.Rngs(seed)))

    return make
