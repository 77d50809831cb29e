"""A folder of 20,000 JPEG files: the first batch, memory, speed beside PyTorch's, and growth.

  python benchmarks/folder.py [--files 20000] [--seconds 4]

Makes the folder (photographs of many sizes in 20 classes; every file has other bytes), and measures
each thing in a process of its own. PyTorch's `DataLoader` reads the same files with as many workers
as its documentation would have it written: Pillow opens, converts, resizes the shorter side and
cuts out the middle; it is left out where PyTorch is not installed. At last 300 files are added, 20
changed and 5 damaged, and a cache of the folder is brought up to date. Writes benchmarks/folder.md.
"""

import argparse
import itertools
import json
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from typing import Any

import numpy as np

HERE = pathlib.Path(__file__).parent
CLASSES, BATCH, SIZE, SMALL, WORKERS, ROUNDS = 20, 64, 224, 32, 2, 2
READ = 120  # batches over which memory is measured
ADDED, CHANGED, DAMAGED = 300, 20, 5
DISTINCT = 400  # photographs; each file has a comment of its own besides


def make_files(root: pathlib.Path, start: int, stop: int) -> None:
    """Writes JPEG files whose sizes, and those of their photographs, differ."""
    from jaxkd.data import _mock

    labels = np.arange(DISTINCT) % CLASSES
    contents = _mock.mock_jpegs(labels, "train", seed=0)
    for number in range(start, stop):
        content = contents[number % DISTINCT]
        comment = f"photograph {number}".encode()
        marker = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
        path = root / f"class_{number % CLASSES:02d}" / f"{number:05d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content[:2] + marker + content[2:])


def resident_mb() -> float:
    """Memory of this process, what it shares with others included."""
    for line in pathlib.Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_first(root: str, seconds: float) -> dict[str, Any]:
    """Time of opening the folder, and until the first batch."""
    from jaxkd import Views, data

    del seconds
    begun, busy = time.perf_counter(), time.process_time()
    photos = data.folder(root, crop=data.RandomResizedCrop(SIZE))
    opened = time.perf_counter() - begun
    assert data.Loader(photos, Views(), BATCH)[0]["inputs"].shape[0] == BATCH
    busy = time.process_time() - busy
    return {"opened": opened, "first": time.perf_counter() - begun, "busy": busy}


def measure_memory(root: str, seconds: float) -> dict[str, Any]:
    """Memory before and after many batches, none of which has a file of another."""
    from jaxkd import Views, data

    del seconds
    before = resident_mb()
    photos = data.folder(root, size=SIZE)
    opened = resident_mb()
    loader = data.Loader(photos, Views(), BATCH)
    seen = []
    for step in range(min(loader.steps_per_epoch, READ)):
        loader[step]
        seen.append(resident_mb())
    half = len(seen) // 2
    return {"before": before, "opened": opened, "half": max(seen[:half]), "end": max(seen[half:])}


def measure_ours(root: str, seconds: float, workers: int, draft: bool) -> dict[str, Any]:
    """Images a second of the loader, once it runs."""
    from jaxkd import Views, data

    photos = data.folder(root, crop=data.CenterCrop(SIZE, draft=draft))
    options = {"workers": workers} if workers else {"prefetch": 2}
    with data.Loader(photos, Views(), BATCH, **options) as loader:
        return {"speed": speed((loader[step]["inputs"] for step in range(10**6)), seconds)}


def speed(batches: Any, seconds: float) -> float:
    """Images a second, after some batches that start everything."""
    for _ in range(2 * WORKERS + 2):
        next(batches)
    count, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        count += len(next(batches))
    return count / (time.perf_counter() - begun)


class Photographs:
    """The folder as a `Dataset` of PyTorch, without torchvision: what its transforms do."""

    def __init__(self, root: str):
        self.paths = sorted(pathlib.Path(root).glob("*/*.jpg"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Any:
        import torch
        from PIL import Image

        with Image.open(self.paths[index]) as image:
            image = image.convert("RGB")
        width, height = image.size
        scale = round(SIZE * 8 / 7) / min(width, height)
        image = image.resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
        left, upper = ((side - SIZE) // 2 for side in image.size)
        image = image.crop((left, upper, left + SIZE, upper + SIZE))
        return torch.from_numpy(np.array(image)), index % CLASSES


def measure_torch(root: str, seconds: float, workers: int) -> dict[str, Any]:
    """Images a second of PyTorch's loader, once it runs."""
    import torch

    loader = torch.utils.data.DataLoader(
        Photographs(root), BATCH, shuffle=True, num_workers=workers, drop_last=True
    )
    epochs = itertools.chain.from_iterable(itertools.repeat(loader))
    return {"speed": speed((images for images, _ in epochs), seconds)}


def measure_growth(root: str, seconds: float) -> dict[str, Any]:
    """Builds a cache of the folder, changes files, and brings it up to date."""
    import jax.numpy as jnp

    import jaxkd
    from jaxkd import data
    from jaxkd.cache import CacheError, _build

    del seconds
    place = pathlib.Path(root).parent
    times, computed, store = {}, [], _build._store
    _build._store = lambda writer, ids, *rest: (
        computed.append(len(ids)) or store(writer, ids, *rest)
    )

    def timed(name: str, function: Any, *arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        result = function(*arguments, **options)
        times[name] = time.perf_counter() - begun
        return result

    def teach(params: Any, images: Any) -> Any:
        return images.reshape(len(images), -1).astype(jnp.float32) @ params

    params = np.random.default_rng(0).normal(size=(SMALL**2 * 3, CLASSES)) / 1000
    teacher = jaxkd.from_function(teach, jnp.asarray(params, jnp.float32))
    options = {"size": SMALL, "corrupt": "skip", "index": place / "index"}
    build = {"batch_size": BATCH, "progress": False}
    time.sleep(3)  # the last files that were written are settled then
    photos = timed("index", data.folder, root, **options)
    timed("build", jaxkd.cache.build, place / "cache", teacher, photos, **build)
    all_of_them = sum(computed)
    total = len(photos)
    make_files(pathlib.Path(root), total, total + ADDED)
    damaged = [photos.paths[row] for row in range(DAMAGED)]
    changed = [photos.paths[row] for row in range(DAMAGED, DAMAGED + CHANGED)]
    for path in changed:
        file = pathlib.Path(root, path)
        file.write_bytes(file.read_bytes().replace(b"photograph", b"PHOTOGRAPH"))
    for path in damaged:
        file = pathlib.Path(root, path)
        file.write_bytes(file.read_bytes()[:5000])
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        grown = timed("index again", data.folder, root, **options)
    named = [path for path in damaged if path in str(warned[0].message)]
    computed.clear()
    try:
        jaxkd.cache.open(place / "cache", teacher=teacher, dataset=grown, views=None)
        refused = ""
    except CacheError as error:
        refused = str(error)
    timed("subset", jaxkd.cache.subset, place / "cache", place / "new", dataset=grown)
    cache = timed("extend", jaxkd.cache.extend, place / "new", teacher, grown, **build)
    rows = grown.ids[:: len(grown) // 100]
    wanted = teach(params, grown.read(rows))
    close = np.abs(cache.read(rows, 0).decode()["logits"] - np.asarray(wanted)).max() < 1e-3
    return {
        "times": times,
        "built": all_of_them,
        "computed": sum(computed),
        "damaged": len(named),
        "refused": refused.splitlines()[1].strip() if refused else "",
        "right": bool(close and len(grown) == total + ADDED - DAMAGED),
    }


def run(name: str, root: pathlib.Path, seconds: float, *more: Any) -> dict[str, Any] | None:
    """Measures one thing in a process of its own; None where PyTorch is missing."""
    command = [sys.executable, __file__, "--measure", json.dumps([name, str(root), seconds, *more])]
    result = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    if "No module named 'torch'" in result.stderr:
        return None
    if result.returncode:
        raise RuntimeError(result.stderr)
    found = json.loads(result.stdout.splitlines()[-1])
    print(name, *more, found, flush=True)
    return found


LOADERS = (
    ("jaxkd, threads", ("ours", 0, True)),
    ("jaxkd, threads, JPEG decoded in full", ("ours", 0, False)),
    (f"jaxkd, {WORKERS} workers", ("ours", WORKERS, True)),
    (f"jaxkd, {WORKERS} workers, JPEG decoded in full", ("ours", WORKERS, False)),
    (f"PyTorch DataLoader, {WORKERS} workers", ("torch", WORKERS)),
)


def report(files: int, size_mb: float, results: dict[str, Any]) -> str:
    """The page of the results."""
    first, memory, growth = (results[name] for name in ("first", "memory", "growth"))
    times = growth["times"]
    lines = [
        "# A folder of images",
        "",
        f"{files:,} JPEG files of {CLASSES} classes, {size_mb / files * 1000:.0f} kB and "
        f"300×500 to 500×500 pixels on average, read as {SIZE}×{SIZE}; batches of {BATCH}, "
        f"{os.cpu_count()} cores, files in the cache of the operating system. "
        "`python benchmarks/folder.py`.",
        "",
        "| what | figure |",
        "| :-- | --: |",
        f"| opening the folder | {first['opened']:.2f} s |",
        f"| until the first batch, opening included; processor time of it | {first['first']:.2f}; "
        f"{first['busy']:.2f} s |",
        "| memory of the process before; after opening; most in half of "
        f"{READ} batches; in the other half | {memory['before']:.0f}; {memory['opened']:.0f}; "
        f"{memory['half']:.0f}; {memory['end']:.0f} MB |",
        "",
        f"| loader | images/s, best of {ROUNDS} |",
        "| :-- | --: |",
    ]
    for name, speeds in results["loaders"].items():
        lines.append(
            f"| {name} | {max(speeds):,.0f} |" if speeds else f"| {name} | not installed |"
        )
    lines += [
        "",
        f"Then {ADDED} files are added, {CHANGED} changed and {DAMAGED} damaged; the teacher is a "
        f"linear map of {SMALL}×{SMALL} pixels, so that the times are those of reading, decoding "
        "and storing.",
        "",
        "| step | time | records computed |",
        "| :-- | --: | --: |",
        f'| `data.folder(…, corrupt="skip", index=…)`, the first time: all are decoded | '
        f"{times['index']:.1f} s | |",
        f"| `cache.build` | {times['build']:.1f} s | {growth['built']:,} |",
        f"| `data.folder` after the changes; names {growth['damaged']} of {DAMAGED} damaged files "
        f"| {times['index again']:.2f} s | |",
        f"| `cache.subset`: what is still right | {times['subset']:.2f} s | 0 |",
        f"| `cache.extend`: added and changed | {times['extend']:.1f} s | {growth['computed']:,} |",
        "",
        f"The old cache is refused before: `{growth['refused']}`",
        "",
        f"Records of 100 examples of all kinds are right afterwards: {growth['right']}.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--measure", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        name, *arguments = options.measure
        print(json.dumps(globals()[f"measure_{name}"](*arguments)))
        return
    folder = pathlib.Path(tempfile.mkdtemp())
    try:
        root = folder / "photographs"
        make_files(root, 0, options.files)
        size_mb = sum(path.stat().st_size for path in root.glob("*/*")) / 1e6
        results: dict[str, Any] = {
            name: run(name, root, options.seconds) for name in ("first", "memory")
        }
        results["loaders"] = {name: [] for name, _ in LOADERS}
        for _ in range(ROUNDS):
            for name, (kind, *more) in LOADERS:
                if found := run(kind, root, options.seconds, *more):
                    results["loaders"][name].append(found["speed"])
        results["growth"] = run("growth", root, options.seconds)
        page = report(options.files, size_mb, results)
    finally:
        shutil.rmtree(folder)
    print(page)
    (HERE / "folder.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
