"""Several builders at one path: one cache results, whole, and whoever does not fit is refused."""

import concurrent.futures
import itertools
import re
import shutil
import threading

import numpy as np
import pytest
from written_caches import IMAGES, assert_written, fill, write, writer

from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, _plan
from jaxkd.cache._segment_list import read_segment_list

FIRST = IMAGES.select(IMAGES.ids[:128])


def at_once(monkeypatch, *builders):
    """Runs builders that have all read the list of segments before one of them changes it."""
    barrier = threading.Barrier(len(builders))
    waited = threading.local()

    def read(path, document):
        found = read_segment_list(path, document)
        if not hasattr(waited, "once"):
            waited.once = True
            barrier.wait(20)
        return found

    def outcome(builder):
        try:
            return builder()
        except CacheError as error:
            return str(error)

    with monkeypatch.context() as patch:
        patch.setattr(_plan, "read_segment_list", read)
        with concurrent.futures.ThreadPoolExecutor(len(builders)) as pool:
            return list(pool.map(outcome, builders))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            [{"block_size": 64}, {"block_size": 32}],
            r"has blocks of (64|32) examples, block_size=(64|32) is wanted: write block_size=",
        ),
        (
            [{"num_views": 1}, {"num_views": 2}],
            r"num_views: the cache has .*\n.*jaxkd\.cache\.(open\(path, t|extend\(.*num_views=2)",
        ),
    ],
)
def test_of_two_shapes_one_wins_and_the_other_is_refused(tmp_path, monkeypatch, options, message):
    outcomes = at_once(monkeypatch, *(lambda o=o: write(tmp_path, **o) for o in options))
    (refused,) = (o for o in outcomes if isinstance(o, str))
    assert re.search(message, refused)
    assert_written(Cache(tmp_path), Cache(tmp_path).num_views)
    assert caches.verify(tmp_path) == []
    assert len(list((tmp_path / "segments").iterdir())) == 1


def test_two_of_the_same_shape_share_the_work(tmp_path, monkeypatch):
    outcomes = at_once(monkeypatch, *[lambda: write(tmp_path, num_views=2)] * 3)
    assert all(isinstance(cache, Cache) for cache in outcomes)
    assert_written(outcomes[0], 2)
    assert caches.verify(tmp_path) == []


def test_two_extensions_are_planned_one_after_the_other(tmp_path, monkeypatch):
    write(tmp_path, data=FIRST)

    def views():
        return fill(writer(tmp_path, data=FIRST, extend=True, num_views=2))

    def examples():
        return fill(writer(tmp_path, extend=True))

    outcomes = at_once(monkeypatch, views, examples)
    assert len(read_segment_list(str(tmp_path), Cache(tmp_path).document).names) in (2, 3)
    grown = fill(writer(tmp_path, extend=True, num_views=2))
    assert_written(grown, 2)
    assert len(grown.ids) == 200 and len(outcomes) == 2


def test_threads_of_different_teachers_leave_one_whole_cache(tmp_path):
    barrier = threading.Barrier(4)

    def build(number):
        teacher, block_size = divmod(number, 2)
        barrier.wait(20)
        try:
            return write(path, str(teacher), seed=teacher, block_size=[64, 32][block_size])
        except CacheError as error:
            return str(error)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for turn in range(4):
            path = tmp_path / str(turn)
            outcomes = list(pool.map(build, range(4)))
            winners = [number for number, o in enumerate(outcomes) if isinstance(o, Cache)]
            assert len(winners) == 1, outcomes
            assert_written(Cache(path), seed=winners[0] // 2)
            assert caches.verify(path) == []


def test_a_builder_whose_place_was_taken_is_refused_at_its_end(tmp_path):
    late = writer(tmp_path / "c")
    for ids, view in late.missing(64):
        late.write(ids, view, np.zeros((len(ids), 5)))
    late.flush()  # nothing is written in the background while the directory goes
    shutil.rmtree(tmp_path / "c")
    other = write(tmp_path / "c", "two")
    with pytest.raises(CacheError, match=f"there is {other.document['id']} now: another one has"):
        late.close()
    shutil.rmtree(tmp_path / "c")
    with pytest.raises(CacheError, match="there is none now"):
        late.close()


def test_what_is_left_of_dead_writers_goes_when_the_cache_is_sealed(tmp_path):
    late, quick = writer(tmp_path), writer(tmp_path, process=(1, 2))
    late.write(IMAGES.ids[:9], 0, np.zeros((9, 5)))
    fill(quick)
    late.flush()  # and is killed: its blocks are complete without it
    (tmp_path / "identity" / "0").mkdir(parents=True)
    (tmp_path / "identity" / "0" / "teacher.json").write_text("{}", encoding="utf-8")
    fill(writer(tmp_path))
    assert not list(itertools.chain(tmp_path.rglob("*.npz"), tmp_path.rglob("teacher.json")))
    assert caches.verify(tmp_path) == []
    assert_written(Cache(tmp_path))
