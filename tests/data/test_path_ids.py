import unicodedata

import numpy as np

from jaxkd.data import _path_ids
from jaxkd.data._path_ids import path_ids

PATHS = [f"cats/{number}.jpg" for number in range(300)]


def test_ids_are_those_of_the_paths_alone():
    ids = path_ids(PATHS)
    assert ids.dtype == np.int32 and ids.min() >= 0 and len(np.unique(ids)) == 300
    some = [PATHS[7], PATHS[200], PATHS[3]]
    assert path_ids(some).tolist() == ids[[7, 200, 3]].tolist()
    # Fixed for good: caches are addressed by them.
    assert path_ids(["cats/1.jpg", "café.png"]).tolist() == [1735176308, 1300916063]


def test_accents_are_the_same_however_a_file_system_writes_them():
    one, other = (unicodedata.normalize(form, "café/ü.png") for form in ("NFC", "NFD"))
    assert one != other
    assert path_ids([one]) == path_ids([other])
    both = path_ids([one, other])
    assert both[0] != both[1] and path_ids([other, one]).tolist() == both[::-1].tolist()
    assert path_ids(["\udce9.jpg"]) >= 0  # no UTF-8


def test_of_two_that_collide_one_keeps_its_number_whatever_else_there_is(monkeypatch):
    hashes = {}

    def small(path, attempt):
        """32 first choices, and 2**20 afterwards."""
        digest = _HASH(path, attempt)
        size = 1 << 26 if attempt == 0 else 1 << 11
        hashes[path] = int.from_bytes(digest[:4], "big") // size
        return (hashes[path] * 2).to_bytes(4, "big") + digest

    _HASH = _path_ids._hash
    monkeypatch.setattr(_path_ids, "_hash", small)
    first = path_ids(PATHS[:10])
    assert len(np.unique(first)) == 10
    shuffled = np.random.default_rng(0).permutation(10)
    assert path_ids([PATHS[place] for place in shuffled]).tolist() == first[shuffled].tolist()
    grown = path_ids(PATHS[:60])
    assert len(np.unique(grown)) == 60 and (grown[:10] != first).any()
    known = dict(zip(PATHS[:10], first.tolist(), strict=True))
    kept = path_ids(PATHS[:60], known)
    assert kept[:10].tolist() == first.tolist() and len(np.unique(kept)) == 60
    # Ids of files that are gone are given to no other.
    assert not set(path_ids(PATHS[10:60], known)) & set(first)
