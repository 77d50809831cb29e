"""`verify` looks at every file: what is missing, foreign, unlisted or left behind is named."""

import pathlib
import shutil

import pytest
from written_caches import IMAGES, LOGITS, fill, write, writer

from jaxkd import cache as caches
from jaxkd.cache import Cache, CacheError, _store
from jaxkd.cache.__main__ import _disagreement, main


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Two caches of two segments and documents of identity."""
    folder = tmp_path_factory.mktemp("built")

    def outputs(ids, view):
        return LOGITS[IMAGES.rows(ids)]

    for name in ("a", "b"):
        write(folder / name, data=IMAGES.select(IMAGES.ids[:128]), spot_check=outputs)
        fill(writer(folder / name, extend=True, spot_check=outputs))
    return folder


@pytest.fixture
def grown(tmp_path, built):
    """A copy of one of them, beside the other."""
    return shutil.copytree(built, tmp_path / "copies") / "a"


def damages():
    """What is done to a cache, and the file or folder that is named."""
    other = "../b"

    def delete(name):
        return lambda path, file: shutil.rmtree(file) if file.is_dir() else file.unlink()

    def copy(name):
        def do(path, file):
            own, theirs = (next((p / "identity").iterdir()).name for p in (path, path / other))
            source = pathlib.Path(
                str(file).replace(str(path), str(path / other)).replace(own, theirs)
            )
            shutil.copy(source, file)

        return do

    def add(name):
        def do(path, file):
            new = file.with_name(name)
            shutil.copytree(file, new) if file.is_dir() else new.write_bytes(b"{}")

        return do

    second, identity = "segments/views0-0_*", "identity/*/teacher.json"
    yield "an extension deleted", second, -1, delete, "", "is listed and not complete"
    yield "a seal deleted", f"{second}/seal.json", -1, delete, "", "is listed and not complete"
    yield "an identity deleted", identity, 0, delete, "", "teacher.json is missing"
    yield "an identity of another cache", identity, 0, copy, "", "teacher.json belongs to"
    yield "one more identity", identity, 0, add, "more.json", "belongs to no cache that is here"
    yield "digests deleted", f"{second}/examples", 0, delete, "", "examples should have the digest"
    yield "a segment copied", second, 0, add, "views0-0_x", "is not in the list of segments"
    yield "a file left behind", f"{second}/ids", 0, add, "ids.tmp", "is no part of the segment"
    yield "damaged cost", "effort/0.json", 0, add, "0.json", "effort/0.json cannot be read"


@pytest.mark.filterwarnings("ignore:the cache .* is not complete")
@pytest.mark.parametrize("damage", list(damages()), ids=lambda damage: damage[0])
def test_it_is_named_and_the_command_fails(grown, capsys, damage):
    _, pattern, which, kind, name, message = damage
    assert main(["verify", str(grown)]) == 0
    file = sorted(grown.glob(pattern))[which]
    kind(name)(grown, file)
    (found,) = caches.verify(grown)
    assert message in found.message and found.file
    assert (found.array, found.view, found.block) == ("", -1, -1)
    assert main(["verify", str(grown)]) == 1
    printed = capsys.readouterr().out
    assert message in printed and "0 blocks damaged, 1 other files not in order" in printed


def test_of_a_block_that_is_gone_no_file_is_to_be_deleted(grown):
    next(file for file in grown.glob("segments/*/records/*/c/**/*") if file.is_file()).unlink()
    (found,) = caches.verify(grown)
    assert "is missing. Build again with the same arguments" in found.message


def test_fields_of_a_contract_are_checked_by_name(tmp_path):
    write(tmp_path)
    document = _store.read_document(tmp_path, "contract.json")
    for field in ("codec", "shapes"):
        for value in (
            None,
            7,
            [],
            {},
            {"logits": 3},
            {"other": [5]},
            {"logits": {"name": "Dense", "dtyp": 1}},
        ):
            fields = {**document["fields"], field: value}
            _store.write_document(tmp_path, "contract.json", document | {"fields": fields})
            with pytest.raises(CacheError, match=f"contract.*{field}|codec"):
                Cache(tmp_path)
        del fields[field]
        _store.write_document(tmp_path, "contract.json", document | {"fields": fields})
        with pytest.raises(CacheError, match=f"its field '{field}' should .*it is None"):
            Cache(tmp_path)


@pytest.mark.parametrize(
    "changed,difference,status",
    [(0, 9.0, 0), (1, 1e-3, 0), (2, 1e-3, 0), (3, 1e-3, 1), (1, 9.0, 1), (20, 9.0, 1)],
)
def test_predictions_may_differ_by_rounding_alone(tmp_path, capsys, changed, difference, status):
    """One per cent of the records, whose logits differ by two per cent of the largest at most."""
    cache = write(tmp_path)
    agreement = caches.SpotCheckResult(256, {"logits": difference}, changed)
    assert _disagreement(cache, agreement) == status
    assert ("not the one that is stored" in capsys.readouterr().err) == bool(status)


def test_files_of_no_block_beside_those_of_an_unfinished_one_are_left_alone(tmp_path):
    unfinished = writer(tmp_path)
    ids, view = next(unfinished.missing(16))
    unfinished.write(ids, view, LOGITS[IMAGES.rows(ids)])
    unfinished.flush()
    (folder,) = tmp_path.glob("segments/*/partial")
    for name in ("notes.npz", "x/0/writer0.npz", "0/notes.npz", "0/0/.DS_Store"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    fill(writer(tmp_path))
    assert caches.verify(tmp_path) == []
