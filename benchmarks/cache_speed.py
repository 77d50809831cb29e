"""How fast a cache is read, written and trained from, side by side with the alternatives.

  pip install array_record   # for the comparison with it; left out where it is missing
  python benchmarks/cache_speed.py [--pairs 9]

Reading: records of 128 bytes, batches of 256 random ids from memory; the same records from an
ArrayRecord file; all in order from the files. Building: the teacher, a ResNet-8, over 28×28 images
with the cache written, against the same forward passes alone; both compile. Training: a perceptron
fed by a `Loader` from the cache, against one whose targets are a NumPy array in memory. Ratios are
medians over interleaved pairs. Writes benchmarks/cache_speed.md; exit status 1 if a goal is missed.
"""

import argparse
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import jax
import numpy as np
import optax
from flax import nnx

import jaxkd
from benchmarks.side_by_side import interleaved, timed
from jaxkd import make_train_step, recipes
from jaxkd.cache import Cache, Writer
from jaxkd.data import Dataset, Loader, raw_batch
from jaxkd.models import MLP, ResNet
from jaxkd.study import Table
from jaxkd.targets import Codec
from jaxkd.views import Normalize, Views

HERE = pathlib.Path(__file__).parent
RECORDS, WIDTH, BATCH = 200_000, 32, 256
VIEWS = Views((Normalize(),))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--examples", type=int, default=16_384, help="for the teacher")
    arguments = parser.parse_args()
    rows = [*reading(arguments.pairs)]
    rows.append(building(arguments.pairs, arguments.examples))
    rows.append(training(arguments.pairs))
    table = Table(
        "The speed of a cache",
        ["What", "Figure", "Wanted", "Holds"],
        [[what, figure, wanted, "yes" if holds else "NO"] for what, figure, wanted, holds in rows],
        f"Medians over {arguments.pairs} interleaved pairs; {jax.device_count()} × "
        f"{jax.devices()[0].device_kind}, jax {jax.__version__}. "
        "`python benchmarks/cache_speed.py`.",
    )
    table.print()
    (HERE / "cache_speed.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n", encoding="utf-8"
    )
    return int(not all(holds for *_, holds in rows))


def reading(pairs: int):
    data = Dataset.from_arrays(
        np.zeros((RECORDS, 1), np.float32), name="nothing", split="train", num_classes=WIDTH
    )
    outputs = np.random.default_rng(0).normal(size=(RECORDS, WIDTH)).astype(np.float32)
    path = tempfile.mkdtemp()
    with Writer(path, {"name": "random"}, data, shapes={"logits": (WIDTH,)}) as writer:
        for ids, view in writer.missing(8192):
            writer.write_records(ids, view, {"logits.values": outputs[ids]})
    cache = writer.cache()
    rng = np.random.default_rng(1)
    ids = [rng.integers(0, RECORDS, BATCH).astype(np.int32) for _ in range(200)]

    def from_memory() -> float:
        return rate(lambda: [cache.read(some, 0) for some in ids], BATCH * len(ids))

    def in_order() -> float:
        fresh = Cache(path)  # nothing of it is in memory
        return rate(lambda: [None for _ in fresh.stream(0)], RECORDS)

    from_memory()
    read_array = array_record(outputs)
    rates = [[from_memory(), read_array(ids) if read_array else np.nan] for _ in range(pairs)]
    memory, other = np.median(rates, axis=0)
    what = "records of 128 bytes at random from memory"
    yield what, f"{memory / 1e6:.1f} M/s", "1 M/s", memory >= 1e6
    if read_array:
        ratio = float(np.median([a / b for a, b in rates]))
        figure = f"{ratio:,.0f} × ({other / 1e6:.2f} M/s)"
        yield "… over ArrayRecord's", figure, "10 ×", ratio >= 10
    stream = float(np.median([in_order() for _ in range(pairs)]))
    yield "all in order, from the files", f"{stream / 1e6:.1f} M/s", "2 M/s", stream >= 2e6


def array_record(outputs: np.ndarray):
    """A function that reads batches of ids from an ArrayRecord file; None where it is missing."""
    try:
        from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter
    except ImportError:
        return None
    path = f"{tempfile.mkdtemp()}/records.array_record"
    # One record a group, as it is read fastest at random.
    writer = ArrayRecordWriter(path, "group_size:1")
    for output in outputs:
        writer.write(output.tobytes())
    writer.close()
    options = "readahead_buffer_size:0,max_parallelism:0"
    reader = ArrayRecordReader(path, options=options)

    def read(ids: list[np.ndarray]) -> float:
        def run() -> None:
            for some in ids[:20]:
                raw = reader.read(some.tolist())
                np.frombuffer(b"".join(raw), np.float32).reshape(-1, WIDTH)

        return rate(run, BATCH * 20)

    read(ids=[np.arange(BATCH)])
    return read


def building(pairs: int, examples: int):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, 28, 28, 1), np.uint8)
    data = Dataset.from_arrays(images, name="random", split="train", num_classes=10)
    teacher = jaxkd.from_nnx(ResNet(8, 1, 10, rngs=nnx.Rngs(0)))
    times = interleaved(*passes_and_build(teacher, data, BATCH), pairs)
    what = "building, over the teacher's forward passes alone"
    figure = f"{times.ratio:.3f} × ({times.medians[1]:.1f} s)"
    return what, figure, "1.05 ×", times.ratio <= 1.05


def passes_and_build(
    teacher: jaxkd.Network, data: Dataset, batch_size: int, codec: Codec | None = None
) -> tuple[Callable[[], float], Callable[[], float]]:
    """The teacher's forward passes alone, and building a cache; both compile and return seconds."""

    def passes():
        @jax.jit
        def forward(params, state, batch):
            return teacher.apply(params, state, VIEWS.render(batch)["inputs"])[0]["logits"]

        view = np.zeros(batch_size, np.int32)
        batches = (data.ids[i : i + batch_size] for i in range(0, len(data), batch_size))
        return [
            forward(teacher.params, teacher.state, raw_batch(data, VIEWS, ids, view))
            for ids in batches
        ]

    def build() -> float:
        with tempfile.TemporaryDirectory() as path:
            started = time.perf_counter()
            jaxkd.cache.build(
                path, teacher, data, VIEWS, codec=codec, batch_size=batch_size, progress=False
            )
            return time.perf_counter() - started

    return timed(passes), build


def training(pairs: int, steps: int = 300):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12_800, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, 12_800)
    data = Dataset.from_arrays(images, labels, name="random", split="train", num_classes=10)
    teacher = jaxkd.from_nnx(MLP(784, (64,), 10, rngs=nnx.Rngs(0)))
    student = jaxkd.from_nnx(MLP(784, (128,), 10, rngs=nnx.Rngs(1)))
    cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, VIEWS, progress=False)
    table = np.asarray(cache.read(data.ids, 0).decode()["logits"])

    class FromArray(Loader):
        def __getitem__(self, step):
            batch = super().__getitem__(step)
            return batch | {"teacher": table[batch["id"]]}

    def runner(loader: Loader) -> Callable[[], float]:
        adam = optax.adamw(1e-3)
        step = make_train_step(student, recipes.kd(), adam, views=VIEWS)
        state = step.init()

        def run() -> float:
            nonlocal state
            started = time.perf_counter()
            for index in range(steps):
                state, _ = step(state, loader[index])
            jax.block_until_ready(state)
            return time.perf_counter() - started

        run()
        return run

    array = runner(FromArray(data, VIEWS, 128, num_views=1))
    cached = runner(Loader(data, VIEWS, 128, cache=cache))
    times = interleaved(cached, array, 3 * pairs)
    ratio, seconds = times.ratio, times.medians[1]
    what = "training from the cache, over training from an array in memory (speed)"
    return what, f"{ratio:.3f} × ({1e3 * seconds / steps:.2f} ms a step)", "0.97 ×", ratio >= 0.97


def rate(run: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    run()
    return count / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
