"""One byte flipped, or a file cut short: is it found, and does the error say where and what to do?

  python benchmarks/cache_damage.py [--times 1000]

Of a sealed cache one file at a time is damaged at a random place, one bit flipped or everything
from there on cut off: records, ids, the description of an array, documents. Each time `verify` must
find it, and reading the damaged records must refuse them; the error must name the array or file and
the remedy. Then the file is restored. Writes benchmarks/cache_damage.md; exit status 1 if any
damage went unnoticed.
"""

import argparse
import collections
import json
import pathlib
import random
import sys
import tempfile

import numpy as np

from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, Writer
from jaxkd.data import Dataset
from jaxkd.study import Table
from jaxkd.targets import TopK

HERE = pathlib.Path(__file__).parent
EXAMPLES, VIEWS, CLASSES = 2_000, 2, 100
RECORDS = "records"


def build(path: pathlib.Path) -> None:
    rng = np.random.default_rng(0)
    inputs = np.zeros((EXAMPLES, 1), np.float32)
    data = Dataset.from_arrays(inputs, name="nothing", split="train", num_classes=CLASSES)
    writer = Writer(
        path,
        {"name": "random numbers"},
        data,
        shapes={"logits": (CLASSES,)},
        codec=TopK(4),
        num_views=VIEWS,
        block_size=512,
    )
    with writer:
        for ids, view in writer.missing(512):
            writer.write(ids, view, rng.normal(size=(len(ids), CLASSES)))


def kind_of(file: pathlib.Path) -> str:
    return RECORDS if "c" in file.parts else file.name


def found(path: pathlib.Path, file: pathlib.Path) -> bool:
    """Whether verifying and reading both refuse the damage, and name the remedy."""
    if kind_of(file) != RECORDS:
        try:
            messages = [damage.message for damage in caches.verify(path)]
        except CacheError as error:
            messages = [str(error)]
        return len(messages) == 1 and file.name in messages[0] and "damaged" in messages[0]
    array, view, block = file.parts[-5], int(file.parts[-3]), int(file.parts[-2])
    damages = [(d.array, d.view, d.block) for d in caches.verify(path) if "again" in d.message]
    if damages != [(array, view, block)]:
        return False
    cache = Cache(path, memory_limit=0)
    try:
        cache.read(cache.ids[block * 512 : (block + 1) * 512], view)
    except CacheError as error:
        return array in str(error) and "build again" in str(error)
    return False


def same(whole: bytes, data: bytearray) -> bool:
    """Whether a JSON document has the same content: a space more is no damage."""
    try:
        return bool(json.loads(whole) == json.loads(data))
    except ValueError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--times", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    counts: dict[tuple[str, str], list[int]] = collections.defaultdict(lambda: [0, 0])
    with tempfile.TemporaryDirectory() as name:
        path = pathlib.Path(name)
        build(path)
        files = sorted(f for f in path.rglob("*") if f.is_file() and "effort" not in f.parts)
        by_kind = collections.defaultdict(list)
        for file in files:
            by_kind[kind_of(file)].append(file)
        done = 0
        while done < arguments.times:
            # Half of all damage goes to records, the rest to what describes them.
            kind = RECORDS if rng.random() < 0.5 else rng.choice(sorted(by_kind))
            file = rng.choice(by_kind[kind])
            whole = file.read_bytes()
            data, place = bytearray(whole), rng.randrange(len(whole))
            way = rng.choice(["flipped", "cut short"])
            if way == "flipped":
                data[place] ^= 1 << rng.randrange(8)
            else:
                del data[place:]
            if file.suffix == ".json" and same(whole, data):
                continue
            file.write_bytes(data)
            count = counts[kind, way]
            count[0] += 1
            count[1] += found(path, file)
            if count[0] != count[1]:
                print(f"unnoticed: {file.relative_to(path)}, {way} at {place}", flush=True)
            file.write_bytes(whole)
            done += 1
        clean = not caches.verify(path)
    rows = [[kind, way, f"{n:,}", f"{ok:,}"] for (kind, way), (n, ok) in sorted(counts.items())]
    table = Table(
        "Damaged caches",
        ["File", "Damage", "Times", "Found, with place and remedy"],
        rows,
        f"A cache of {EXAMPLES:,} examples in {VIEWS} views, top-4 of {CLASSES} classes. "
        "`python benchmarks/cache_damage.py`.",
    )
    table.print()
    (HERE / "cache_damage.md").write_text(
        f"# {table.title}\n\n{table.to_markdown()}\n", encoding="utf-8"
    )
    return int(not clean or any(n != ok for n, ok in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
