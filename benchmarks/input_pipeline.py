"""How fast each kind of data set is read, and how long the step waits for it.

  python benchmarks/input_pipeline.py [--seconds 2]

For each way to read: images a second of the reading alone; of the training step alone, on one batch
again and again; and of both together in `fit`, made to wait for each step before it requests the
next batch. "Waiting" is the share of its wall time that then passes in `batches[step]` and in
putting the batch on the device. On a CPU, reading and computing share the cores: the last column,
by how much training is slower than its step alone, has this in it too. The images are made up:
CIFAR's shape, and JPEG files of photographs' sizes (86 kB on average). Writes
benchmarks/input_pipeline.md.
"""

import argparse
import functools
import os
import pathlib
import tempfile
import time
from typing import Any

import grain
import jax
import optax
from absl import flags
from flax import nnx

import jaxkd
from jaxkd import make_train_step, recipes
from jaxkd.data import GrainSource, Loader, RandomResizedCrop, imagenet, images
from jaxkd.models import CNN, ConvNet, ResNet
from jaxkd.study import Column, Table
from jaxkd.training import fit
from jaxkd.views import Normalize, RandomCrop, RandomFlip, Views

HERE = pathlib.Path(__file__).parent
SMALL = Views((RandomCrop(4), RandomFlip(), Normalize()))
LARGE = Views((RandomFlip(), Normalize()))
WANTED = 0.05  # of the time, at most, for a loader that reads ahead


class Timed:
    """Something of which certain calls are timed; all else is as it was."""

    def __init__(self, of: Any, *methods: str):
        self._of, self.seconds = of, 0.0
        for name in methods:
            setattr(self, name, functools.partial(self._call, getattr(of, name)))

    def _call(self, method: Any, *arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments, **options)
        self.seconds += time.perf_counter() - started
        return result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._of, name)

    def __getitem__(self, step: int) -> dict[str, Any]:
        return self._call(self._of.__getitem__, step)


class FirstBatch:
    """A loader's first batch."""

    def __init__(self, loader: Any):
        self._batch = loader[0]

    def __getitem__(self, step: int) -> dict[str, Any]:
        return dict(self._batch)


class ByGrain:
    """Batches of a `GrainSource`, shuffled and batched by Grain, one after the other."""

    def __init__(self, source: GrainSource, batch_size: int, workers: int):
        dataset = grain.MapDataset.source(source).shuffle(seed=0).repeat().batch(batch_size)
        options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
        at_once = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
        self._batches = iter(dataset.to_iter_dataset(at_once).mp_prefetch(options))

    def __getitem__(self, step: int) -> dict[str, Any]:
        return next(self._batches)

    def close(self) -> None:
        """Ends the workers."""
        self._batches.close()


class Training:
    """A student's step, compiled once for all ways to read."""

    def __init__(self, network: jaxkd.Network, views: Views, objective: Any, batch_size: int):
        self.network, self.objective, self.batch_size = network, objective, batch_size
        self.optimizer = optax.sgd(1e-3)
        step = make_train_step(network, objective, self.optimizer, views=views)
        self.step = Timed(step, "put")
        # Otherwise the host would read while the device still works, and nothing would show.
        self.step.many = lambda *arguments: jax.block_until_ready(step.many(*arguments))
        self.steps_a_second = 0.0

    def run(self, batches: Any, steps: int) -> tuple[float, float]:
        """Seconds a step, and the share of them that passes in reading and putting."""
        state = self.step.init()
        timed, self.step.seconds = Timed(batches), 0.0
        started = time.perf_counter()
        fitted = fit(self.step, state, timed, steps=steps, log_every=steps, progress=None)
        jax.block_until_ready(fitted.state)
        wall = time.perf_counter() - started
        return wall / steps, (timed.seconds + self.step.seconds) / wall


def reading_alone(batches: Any, seconds: float) -> float:
    """Seconds a batch."""
    batches[0]
    started, step = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        step += 1
        batches[step]
    return (time.perf_counter() - started) / step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement, roughly")
    arguments = parser.parse_args()
    flags.FLAGS.mark_as_parsed()  # Grain's workers read them
    rows: list[list[Any]] = []
    starting: list[float] = []

    def measure(name: str, training: Training, make: Any) -> None:
        loader = make()
        alone = reading_alone(loader, arguments.seconds / 3)
        first_batch = FirstBatch(loader)
        loader.close()
        if not training.steps_a_second:
            training.run(first_batch, 2)  # compiles
            training.steps_a_second = 1 / training.run(first_batch, 5)[0]
        steps = max(5, round(arguments.seconds * training.steps_a_second))
        # Before and after, as a machine's speed drifts.
        before = training.run(first_batch, steps)[0]
        loader = make()
        started = time.perf_counter()
        loader[0]
        starting.append(time.perf_counter() - started)
        together, waiting = training.run(loader, steps)
        bare = (before + training.run(first_batch, steps)[0]) / 2
        loader.close()
        size = training.batch_size
        rows.append([name, size / alone, size / bare, size / together, waiting, together / bare])
        print(*rows[-1], flush=True)

    small = images.load("cifar10", "train", mock=20_000)
    make_cnn = functools.partial(CNN, (32, 32, 3), (16, 32), 64, 10)
    teacher = jaxkd.from_nnx(make_cnn(rngs=nnx.Rngs(1)))
    cnn = jaxkd.from_nnx(make_cnn(rngs=nnx.Rngs(0)))
    plain = Training(cnn, SMALL, recipes.labels(), 128)
    measure("32×32 in memory", plain, lambda: Loader(small, SMALL, 128))
    measure("32×32, 2 ahead by threads", plain, lambda: Loader(small, SMALL, 128, prefetch=2))
    with tempfile.TemporaryDirectory() as path:
        cache = jaxkd.cache.build(path, teacher, small, SMALL, num_views=1, progress=False)
        distilled = Training(cnn, SMALL, recipes.kd(), 128)
        measure("32×32, with a cache", distilled, lambda: Loader(small, SMALL, 128, cache=cache))
    for name, workers in (("on demand", 0), ("1 worker", 1)):
        make = functools.partial(ByGrain, GrainSource(small, SMALL), 128, workers)
        measure(f"32×32, Grain over GrainSource, {name}", plain, make)

    photos = imagenet.load("imagenette", "train", mock=1000)
    for side, size, model in (
        (64, 32, ResNet(8, 3, 10, rngs=nnx.Rngs(0))),
        (224, 32, ConvNet(3, 10, widths=(16, 32, 64), strides=(2, 2, 2), rngs=nnx.Rngs(0))),
    ):
        records = photos.with_crop(RandomResizedCrop(side))
        name = f"JPEG to {side}×{side}, {type(model).__name__}"
        training = Training(jaxkd.from_nnx(model), LARGE, recipes.labels(), size)
        for how, options in (
            ("on demand", {}),
            ("2 ahead by threads", {"prefetch": 2}),
            ("1 worker", {"workers": 1}),
            ("2 workers", {"workers": 2}),
        ):
            make = functools.partial(Loader, records, LARGE, size, **options)
            measure(f"{name}, {how}", training, make)

    per_second = "{:,.0f}".format
    note = (
        "CNN of 16 and 32 channels at 32×32, batch 128; ResNet-8 at 64×64, batch 32; ConvNet of "
        "16, 32 and 64 channels at 224×224, batch 32; RandomResizedCrop. Reading alone has all "
        f"cores to itself. The first batch of two workers takes {starting[-1]:.1f} s, which is not "
        f"counted. {os.cpu_count()} cores, {jax.device_count()} × "
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}, grain {grain.__version__}."
    )
    table = Table(
        "Reading and training",
        [
            "Way to read",
            Column("Reading alone, images/s", per_second),
            Column("Step alone, images/s", per_second),
            Column("Training, images/s", per_second),
            Column("Waiting", lambda x: f"{100 * x:.1f} %"),
            Column("Training over step alone", lambda x: f"{x:.2f}"),
        ],
        rows,
        note,
    )
    table.print()
    late = [row[0] for row in rows if row[4] > WANTED and "on demand" not in row[0]]
    verdict = f"Waiting above {WANTED:.0%} while reading ahead or from memory: " + (
        "; ".join(late) or "nowhere."
    )
    print(verdict)
    (HERE / "input_pipeline.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n\n{note}\n\n{verdict}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
