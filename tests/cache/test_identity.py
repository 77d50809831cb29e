"""The contract is created once; documents of identity belong to it alone."""

import concurrent.futures
import shutil

import pytest
from written_caches import write

from jaxkd.cache import Cache, CacheError, _store
from jaxkd.cache._contract_document import create_contract, read_contract
from jaxkd.cache._identity import read_identity, write_identity


def test_of_many_creators_one_wins_and_all_see_its_contract(tmp_path):
    def create(number):
        identity = {"teacher": {"number": number}}
        return create_contract(str(tmp_path), {"teacher": number}, {}, identity)

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        found = list(pool.map(create, range(24)))
    assert len({document["id"] for document in found}) == 1
    (winner,) = {document["fields"]["teacher"] for document in found}
    assert read_contract(str(tmp_path)) == found[0]
    assert read_identity(str(tmp_path), found[0], "teacher") == {"number": winner}
    assert [f.name for f in (tmp_path / "identity").iterdir() if list(f.iterdir())] == [
        found[0]["id"]
    ]


def test_whoever_comes_second_with_another_teacher_is_refused(tmp_path, monkeypatch):
    """Both have seen that there is no contract before either has written one."""
    first = write(tmp_path / "there")
    real, seen = read_contract, []

    def blind(path):
        seen.append(path)
        return None if len(seen) == 1 else real(path)

    monkeypatch.setattr("jaxkd.cache._plan.read_contract", blind)
    with pytest.raises(CacheError, match='teacher.name: the cache has "one", this run has "two"'):
        write(tmp_path / "there", "two")
    assert Cache(tmp_path / "there").document == first.document


def test_documents_of_identity_are_bound_to_their_cache_and_kind(tmp_path):
    identity = {"teacher": {"outputs": [1.5]}, "views": {"pixels": [2]}}
    one, two = (
        create_contract(str(tmp_path / name), {}, None, identity) for name in ("one", "two")
    )
    assert one["id"] != two["id"] and one["format"] == 3
    path = str(tmp_path / "one")
    assert read_identity(path, one, "views") == {"pixels": [2]}
    assert read_identity(path, one, "of no such kind") is None
    places = {
        name: tmp_path / name / "identity" / document["id"]
        for name, document in {"one": one, "two": two}.items()
    }
    teacher, views = places["one"] / "teacher.json", places["one"] / "views.json"
    whole = teacher.read_bytes()
    for other in (views, places["two"] / "teacher.json"):
        shutil.copy(other, teacher)
        with pytest.raises(CacheError, match="damaged: .*teacher.json belongs to"):
            read_identity(path, one, "teacher")
    teacher.write_bytes(whole.replace(b"1.5", b"1.6"))
    with pytest.raises(CacheError, match="damaged: .*teacher.json does not have the digest"):
        read_identity(path, one, "teacher")
    teacher.unlink()
    with pytest.raises(CacheError, match="damaged: .*teacher.json is missing"):
        read_identity(path, one, "teacher")
    write_identity(path, one["id"], "teacher", {"outputs": [1.5]})
    assert teacher.read_bytes() == whole


def test_an_entry_that_a_document_of_identity_lacks_is_named(tmp_path):
    contract = {"id": "0" * 32, "identity": ["views"]}
    write_identity(str(tmp_path), contract["id"], "views", {"spots": {"ids": [1]}})
    found = read_identity(str(tmp_path), contract, "views")
    assert found["spots"]["ids"] == [1] and found.get("digests") is None
    with pytest.raises(CacheError, match=r"views.json has no entry 'digests', it has \['spots'\]"):
        found["digests"]
    with pytest.raises(CacheError, match="has no entry 'views'"):
        found["spots"]["views"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": None}, "'id' of contract.json should be a str, it is None"),
        ({"id": "7"}, "32 hexadecimal digits, it is '7'"),
        ({"fields": []}, "'fields' of contract.json should be a dict"),
        ({"probe": []}, "'probe'"),
        ({"identity": {}}, "'identity' .* should be a list"),
    ],
)
def test_a_contract_with_other_entries_is_refused_by_name(tmp_path, change, message):
    write(tmp_path)
    document = read_contract(str(tmp_path)) | change
    _store.write_document(tmp_path, "contract.json", document)
    with pytest.raises(CacheError, match=message):
        Cache(tmp_path)
