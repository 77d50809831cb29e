"""Part D: two to four builders at once on one path."""

import collections
import dataclasses
import pathlib
import random
import shutil
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import track

from benchmarks.contract_attacks_parts import builders, setting
from benchmarks.contract_attacks_parts.attempts import said
from benchmarks.contract_attacks_parts.builders import Builder, Result
from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError

# Races of each kind, in threads and again in processes.
TIMES = 4
KINDS: dict[str, list[Builder]] = {
    "build: two teachers": [Builder(), Builder(teacher=1)],
    "build: three teachers": [Builder(), Builder(teacher=1), Builder(teacher=2)],
    "build: one teacher": [Builder(), Builder(), Builder(), Builder()],
    "build: one teacher, batch sizes": [Builder(), Builder(batch_size=7), Builder(batch_size=50)],
    "build: one teacher, block sizes": [Builder(), Builder(block_size=32)],
    "build: one teacher, numbers of views": [Builder(), Builder(num_views=3)],
    "build: two teachers, block sizes": [
        Builder(),
        Builder(teacher=1),
        Builder(block_size=48),
        Builder(teacher=1, block_size=48),
    ],
    "build and fill: one teacher": [Builder(), Builder("fill")],
    "build and fill: two teachers": [Builder(), Builder("fill", teacher=1)],
    "fill: two teachers, block sizes": [Builder("fill"), Builder("fill", 1, block_size=48)],
    "build and Writer": [Builder(), Builder("write")],
    "Writer: two names, one twice": [Builder("write"), Builder("write", 1), Builder("write")],
    "build and merge: one teacher": [Builder(), Builder("merge")],
    "merge: two teachers, build": [Builder("merge"), Builder("merge", 1), Builder(teacher=2)],
    "extend: one teacher": [Builder("extend", num_views=3), Builder("extend", num_views=3)],
    "extend: numbers of views": [Builder("extend", num_views=3), Builder("extend", num_views=4)],
    "extend: block sizes": [
        Builder("extend", num_views=3),
        Builder("extend", num_views=3, block_size=48),
    ],
    "extend: another teacher": [
        Builder("extend", num_views=3),
        Builder("extend", 1, num_views=3),
        Builder("build"),
    ],
}


def run(folder: pathlib.Path, *, seed: int = 0, first: int | None = None) -> dict[str, Any]:
    """Runs all races, or the first kinds of them once each."""
    parts = folder / "parts"
    builders.prepare(parts)
    expected = [_records(Cache(parts / f"{i}_long")) for i in range(len(builders.TEACHERS))]
    chance = random.Random(seed)
    races = [
        (kind, where)
        for kind in list(KINDS)[:first]
        for where in ("threads", "processes")
        for _ in range(TIMES if first is None else 1)
    ]
    rows: dict[str, collections.Counter[str]] = {}
    wrong = []
    with builders.processes(max(map(len, KINDS.values()))) as processes:
        for number, (kind, where) in enumerate(track(races, "one wins?", transient=True)):
            # At the same moment, or some milliseconds apart, in the midst of each other.
            spread = 0.05 if number % 2 else 0.002
            racing = [dataclasses.replace(b, delay=chance.random() * spread) for b in KINDS[kind]]
            path = folder / f"race{number}"
            if racing[0].call == "extend":
                shutil.copytree(parts / "0", path)
            race = processes.race if where == "processes" else builders.in_threads
            results = race(str(path), racing, str(parts))
            count = rows.setdefault(f"{kind}, {where}", collections.Counter())
            count["races"] += 1
            count.update(result.ended for result in results)
            problems = judged(path, racing, results, expected, str(parts))
            count["as it should be"] += not problems
            wrong += [f"{kind}, {where}, race {number}: {problem}" for problem in problems]
            shutil.rmtree(path, ignore_errors=True)
    columns = ["Builders", "Races", "Complete", "Refused", "One contract, whole and usable"]
    table_rows = [
        [kind, c["races"], c["complete"], c["refused"], c["as it should be"]]
        for kind, c in rows.items()
    ]
    table_rows.append(["All", *(sum(row[i] for row in table_rows) for i in range(1, 5))])
    table = {"columns": columns, "rows": table_rows, "compared": columns[-1]}
    caption = (
        "Afterwards the cache opens with the teacher of those that completed it and with no other, "
        "`verify` finds nothing, every record is that teacher's, and building it again writes "
        "nothing."
    )
    return {"table": table, "wrong": wrong, "caption": caption}


def judged(
    path: pathlib.Path,
    racing: Sequence[Builder],
    results: Sequence[Result],
    expected: Sequence[Any],
    parts: str,
) -> list[str]:
    """Returns what is wrong after a race."""
    problems = [
        f"{builder.call} of teacher {builder.teacher} ended with {result.text}"
        for builder, result in zip(racing, results, strict=True)
        if result.ended == "error"
    ]
    won = [b for b, r in zip(racing, results, strict=True) if r.ended == "complete"]
    if not won:
        # All gave way to each other: whoever comes next must be able to finish.
        won = [b for b in racing if builders.ran(str(path), b, parts).ended == "complete"][:1]
        if not won:
            return [*problems, "nobody can use the cache: " + "; ".join(r.text for r in results)]
    if len({(b.teacher, b.call == "write") for b in won}) > 1:
        problems.append(f"two teachers report success: {won}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            problems += _of_cache(path, won, expected, parts)
        except Exception as error:
            problems.append(said(error)[:300])
    return problems


def _of_cache(
    path: pathlib.Path, won: Sequence[Builder], expected: Sequence[Any], parts: str
) -> list[str]:
    problems = [f"verify: {damaged.message[:200]}" for damaged in caches.verify(path)]
    winner = max(won, key=lambda builder: builder.num_views)
    written = winner.call == "write"
    for index in range(len(builders.TEACHERS)):
        network = builders.teacher(index)
        named = builders.name_of(index) if written else network.fingerprint()
        try:
            cache = setting.opened(path, named, memory_limit=0)
        except CacheError as error:
            if index == winner.teacher:
                problems.append(f"the winner cannot open it: {error}")
            continue
        if index != winner.teacher:
            problems.append(f"it opens for teacher {index}, teacher {winner.teacher} has won")
            continue
        right = builders.outputs(index) if written else expected[index]
        for view, found in enumerate(_records(cache)):
            if not np.allclose(found, right if written else right[view], rtol=1e-4, atol=1e-4):
                problems.append(f"records of view {view} are not those of teacher {index}")
        if cache.num_views < max(b.num_views for b in won):
            problems.append(f"{cache.num_views} views, {won} report more")
    before = _files(path)
    if (again := builders.ran(str(path), winner, parts)).ended != "complete":
        problems.append(f"the winner cannot go on: {again.text}")
    if _files(path) != before:
        problems.append("the winner writes records again")
    return problems


def _records(cache: Cache) -> list[np.ndarray]:
    return [np.asarray(cache.read(cache.ids, v).decode()["logits"]) for v in range(cache.num_views)]


def _files(path: pathlib.Path) -> dict[str, int]:
    return {str(f): f.stat().st_mtime_ns for f in path.rglob("c/**/*") if f.is_file()}
