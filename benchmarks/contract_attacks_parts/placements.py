"""Part C: files and folders of a cache in another place, from another cache or another moment."""

import collections
import dataclasses
import itertools
import pathlib
import shutil
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.contract_attacks_parts import setting
from benchmarks.contract_attacks_parts.attempts import said
from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError
from jaxkd.networks import Network, add_outputs
from jaxkd.targets import Dense

VIEWS = 3
CODEC = {"logits": Dense(), "squares": Dense("float16")}
FOUND, UNFOUND, BARE, SAME = "found", "not found", "bare error", "the same bytes"


@dataclasses.dataclass(frozen=True)
class Placement:
    """One change of a cache's files.

    Attributes:
      kind: a row of the table.
      name: what exactly.
      apply: makes the change in a copy of the cache; returns False where it changes no byte.
      read: whether reading must find it too: what only lies about is never read.
    """

    kind: str
    name: str
    apply: Callable[[pathlib.Path], bool]
    read: bool = True


@dataclasses.dataclass(frozen=True)
class Sources:
    """The cache, and those that files are taken from.

    Attributes:
      whole: the cache that is changed.
      foreign: one of another teacher, in every size the same.
      twin: one of the same teacher, built another time.
      earlier: the cache itself before it was extended.
    """

    whole: pathlib.Path
    foreign: pathlib.Path
    twin: pathlib.Path
    earlier: pathlib.Path


def network(scale: float = 1.0) -> Network:
    """A teacher of two outputs."""
    return add_outputs(setting.teacher(scale), lambda _, out: {"squares": out["logits"] ** 2})


def run(folder: pathlib.Path, *, seed: int = 0, first: int | None = None) -> dict[str, Any]:
    """Tries all placements; of each kind the first ones, if a number is given."""
    del seed  # they are tried all, in the order of their names
    sources = _sources(folder)
    counts: dict[str, collections.Counter[str]] = {}
    records, wrong = _records(sources.whole), []
    found = list(_placements(sources))
    if first is not None:
        groups = itertools.groupby(found, lambda placement: placement.kind)
        found = [p for _, group in groups for p in itertools.islice(group, first)]
    for placement in track(found, "found?", transient=True):
        outcome, text = _tried(placement, sources, folder / "changed", records)
        counts.setdefault(placement.kind, collections.Counter())[outcome] += 1
        if outcome in (UNFOUND, BARE):
            wrong.append(f"{outcome}: {placement.kind} / {placement.name} {text[:300]}")
    rows = [
        [kind, sum(count.values()) - count[SAME], count[FOUND], count[SAME]]
        for kind, count in counts.items()
    ]
    rows.append(["All", *(sum(row[i] for row in rows) for i in range(1, 4))])
    columns = ["Placement", "Tried", "Found by verify and by reading", "The same bytes"]
    caption = (
        f"A cache of two outputs, {VIEWS} views in two segments, {setting.EXAMPLES} examples in "
        "blocks of 24."
    )
    table = {"columns": columns, "rows": rows, "compared": columns[2]}
    return {"table": table, "wrong": wrong, "caption": caption}


def _sources(folder: pathlib.Path) -> Sources:
    sources = Sources(*(folder / name for name in ("whole", "foreign", "twin", "earlier")))
    for path, scale in ((sources.whole, 1.0), (sources.foreign, 2.0), (sources.twin, 1.0)):
        setting.build(path, network(scale), codec=CODEC)
        if path is sources.whole:
            shutil.copytree(path, sources.earlier)
        caches.extend(
            path,
            network(scale),
            setting.dataset(),
            setting.VIEWS,
            num_views=VIEWS,
            block_size=24,
            progress=False,
        )
    return sources


def _records(path: pathlib.Path) -> list[dict[str, np.ndarray]]:
    """All records, as a run reads them that knows its teacher by name."""
    cache = setting.opened(path, network().fingerprint(), memory_limit=0)
    return [_flat(cache, view) for view in range(VIEWS)]


def _flat(cache: Cache, view: int) -> dict[str, np.ndarray]:
    arrays = cache.read(cache.ids, view).arrays
    return {f"{o}.{n}": np.asarray(a) for o, named in arrays.items() for n, a in named.items()}


def _tried(
    placement: Placement, sources: Sources, path: pathlib.Path, records: Any
) -> tuple[str, str]:
    shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(sources.whole, path)
    if not placement.apply(path):
        return SAME, ""
    verified, said_verify = _found_by(lambda: _verified(path))
    outcome, said_read = FOUND, ""
    if placement.read:
        outcome, said_read = _found_by(lambda: _same_records(path, records))
        if outcome == UNFOUND:
            # What is known of the teacher and of each example is read where it is needed: by
            # whoever has the teacher itself, or a data set that grew or shrank.
            outcome, said_read = _found_by(lambda: _opened_otherwise(path))
    worst = max((verified, outcome), key=[FOUND, BARE, UNFOUND].index)
    return worst, f"verify: {verified} {said_verify}; reading: {outcome} {said_read}"


def _opened_otherwise(path: pathlib.Path) -> None:
    images, labels = setting.arrays()
    setting.opened(path, network(), setting.dataset(images[:60], labels[:60]))


def _found_by(call: Callable[[], Any]) -> tuple[str, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            call()
        except CacheError as error:
            return FOUND, said(error)[:120]
        except Exception as error:
            return BARE, said(error)
    return UNFOUND, ""


def _verified(path: pathlib.Path) -> None:
    if damaged := caches.verify(path):
        raise CacheError(damaged[0].message)


def _same_records(path: pathlib.Path, records: Any) -> None:
    """Reads everything; records that are not right make it no less unfound."""
    found = _records(path)
    for one, other in zip(found, records, strict=True):
        for name, array in other.items():
            np.testing.assert_array_equal(one[name].shape, array.shape)


def _placements(sources: Sources) -> Iterator[Placement]:
    files = sorted(
        f.relative_to(sources.whole)
        for f in sources.whole.rglob("*")
        if f.is_file() and f.parts[len(sources.whole.parts)] != "effort"
    )
    shards = [f for f in files if "c" in f.parts]
    documents = [f for f in files if "c" not in f.parts]
    yield from _of_shards(sources, shards)
    yield from _of_documents(sources, documents)
    yield from _of_folders(sources)


def _of_shards(sources: Sources, shards: list[pathlib.Path]) -> Iterator[Placement]:
    same = [(a, b) for a, b in itertools.combinations(shards, 2) if a.parts[:4] == b.parts[:4]]
    for a, b in same:
        yield Placement("two shards of an array exchanged", f"{a} {b}", _exchange(a, b))
    for a, b in itertools.combinations(shards, 2):
        if a.parts[4:] == b.parts[4:] and a.parts[3] != b.parts[3] and a.parts[1] == b.parts[1]:
            yield Placement("shards of two arrays exchanged", f"{a} {b}", _exchange(a, b))
    for a, b in itertools.combinations(shards, 2):
        if a.parts[1] != b.parts[1] and a.parts[3:] == b.parts[3:]:
            yield Placement("shards of two segments exchanged", f"{a} {b}", _exchange(a, b))
    for a, b in same[:: max(1, len(same) // 40)]:
        yield Placement("a shard copied over another", f"{a} {b}", _copy(a, b))
    for a in shards:
        yield Placement("a shard of another teacher's", str(a), _take(sources.foreign, a))
    for a in shards:
        yield Placement("a shard of another cache of the teacher", str(a), _take(sources.twin, a))
    for a in shards:
        yield Placement("a shard renamed", str(a), _rename(a, a.with_name("7")))
    for a, b in same[1 :: max(1, len(same) // 30)]:
        yield Placement("a shard moved over another", f"{a} {b}", _rename(a, b))


def _of_documents(sources: Sources, documents: list[pathlib.Path]) -> Iterator[Placement]:
    for a in documents:
        yield Placement("a document of another teacher's", str(a), _take(sources.foreign, a))
    for a in documents:
        yield Placement("a document of another cache", str(a), _take(sources.twin, a))
    for a in documents:
        yield Placement("a document of an earlier moment", str(a), _take(sources.earlier, a))
    for a in documents:
        yield Placement("a document renamed", str(a), _rename(a, a.with_name(f"{a.name}.old")))
    for a, b in itertools.combinations(documents, 2):
        if a.name == b.name or a.parent == b.parent:
            yield Placement("two documents exchanged", f"{a} {b}", _exchange(a, b))


def _of_folders(sources: Sources) -> Iterator[Placement]:
    kind = "a folder exchanged, foreign or renamed"
    segments = sorted(
        p.relative_to(sources.whole) for p in (sources.whole / "segments").iterdir() if p.is_dir()
    )
    arrays = sorted(
        p.relative_to(sources.whole) for p in sources.whole.glob("segments/*/records/*")
    )
    views = sorted(
        p.relative_to(sources.whole) for p in sources.whole.glob("segments/*/records/*/c/*")
    )
    for group in (segments, arrays, views):
        for a, b in itertools.combinations(group, 2):
            if a.parts[:-1] == b.parts[:-1] or group is arrays:
                yield Placement(kind, f"{a} {b}", _exchange(a, b))
        for a in group:
            yield Placement(kind, f"foreign {a}", _take(sources.foreign, a))
            yield Placement(kind, f"twin {a}", _take(sources.twin, a))
            yield Placement(kind, f"renamed {a}", _rename(a, a.with_name("views7-7_0123")))
    for name in ("segments", "identity"):
        a = pathlib.Path(name)
        if (sources.whole / a).exists():
            yield Placement(kind, f"foreign {a}", _take(sources.foreign, a))
            yield Placement(kind, f"twin {a}", _take(sources.twin, a))
            yield Placement(kind, f"renamed {a}", _rename(a, pathlib.Path(f"{name}.old")))
    for name in ("contract.json", "segments.json"):
        together = [pathlib.Path(name), pathlib.Path("identity")]
        yield Placement(kind, f"foreign {name} and identity", _take(sources.foreign, *together))
        yield Placement(kind, f"twin {name} and identity", _take(sources.twin, *together))
    for a in segments:
        extra = pathlib.Path("segments/views5-5_0123456789abcdef")
        yield Placement(
            "a segment that does not belong there",
            f"{a} as {extra.name}",
            _add(sources.foreign, a, extra),
            read=False,
        )


def _bytes(path: pathlib.Path) -> Any:
    if path.is_dir():
        return {f.relative_to(path): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    return path.read_bytes() if path.exists() else None


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _exchange(a: pathlib.Path, b: pathlib.Path) -> Callable[[pathlib.Path], bool]:
    def apply(path: pathlib.Path) -> bool:
        if _bytes(path / a) == _bytes(path / b):
            return False
        aside = path.with_name("aside")
        (path / a).rename(aside)
        (path / b).rename(path / a)
        aside.rename(path / b)
        return True

    return apply


def _copy(a: pathlib.Path, b: pathlib.Path) -> Callable[[pathlib.Path], bool]:
    def apply(path: pathlib.Path) -> bool:
        changed = bool(_bytes(path / a) != _bytes(path / b))
        shutil.copy(path / a, path / b)
        return changed

    return apply


def _take(source: pathlib.Path, *names: pathlib.Path) -> Callable[[pathlib.Path], bool]:
    """Replaces files or folders by those of another cache; what it does not have stays."""

    def apply(path: pathlib.Path) -> bool:
        changed = False
        for name in names:
            taken = _counterpart(source, name)
            content = _bytes(taken)
            if not content or content == _bytes(path / name):
                continue
            _remove(path / name)
            copy = shutil.copytree if taken.is_dir() else shutil.copy
            copy(taken, path / name)
            changed = True
        return changed

    return apply


def _counterpart(source: pathlib.Path, name: pathlib.Path) -> pathlib.Path:
    """The same file of another cache, whose documents of identity lie under its own id."""
    if name.parts[0] == "identity" and len(name.parts) > 2:
        return next(source.glob(f"identity/*/{name.name}"), source / name)
    return source / name


def _rename(a: pathlib.Path, b: pathlib.Path) -> Callable[[pathlib.Path], bool]:
    def apply(path: pathlib.Path) -> bool:
        (path / a).rename(path / b)
        return True

    return apply


def _add(source: pathlib.Path, a: pathlib.Path, b: pathlib.Path) -> Callable[[pathlib.Path], bool]:
    def apply(path: pathlib.Path) -> bool:
        shutil.copytree(source / a, path / b)
        return True

    return apply
