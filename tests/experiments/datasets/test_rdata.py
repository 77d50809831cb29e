"""R's files: character vectors are read, what is damaged is refused."""

import gzip
import struct

import pytest
from r_files import integers, r_string, r_strings, write_database

from experiments.datasets._rdata import read_strings


@pytest.mark.parametrize("version", [2, 3])
def test_character_vectors_of_r_are_read(tmp_path, version):
    path = write_database(
        tmp_path,
        {
            "plain": r_strings([r_string(b"one"), integers(9, -1), r_string(b"")]),
            "accents": r_strings([r_string("é".encode(), 0x8009), r_string(b"\xe9", 0x4009)]),
            "numbers": integers(14, 1) + struct.pack(">d", 1.5),
            "closure": integers(3),
        },
        version,
    )
    assert read_strings(path, "plain") == ["one", "", ""]
    assert read_strings(path, "accents") == ["é", "é"]
    with pytest.raises(ValueError, match="'numbers' in .* is no character vector"):
        read_strings(path, "numbers")
    with pytest.raises(ValueError, match="it holds a closure"):
        read_strings(path, "closure")
    with pytest.raises(ValueError, match=r"has no 'x', it has \['accents', 'closure'"):
        read_strings(path, "x")


def test_damaged_files_of_r_are_refused(tmp_path):
    path = write_database(tmp_path, {"plain": r_strings([r_string(b"one")])})
    whole = (tmp_path / "Rdata.rdb").read_bytes()
    (tmp_path / "Rdata.rdb").write_bytes(whole[:-3])
    with pytest.raises(ValueError, match="'plain' cannot be read from .*it ends before byte"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdb").write_bytes(whole[:6] + b"\0" * (len(whole) - 6))
    with pytest.raises(ValueError, match="'plain' cannot be read from"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(b"RDX3"))
    with pytest.raises(ValueError, match="no index of an R package's data"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").write_bytes(gzip.compress(b"X\n" + integers(4, 0, 0)))
    with pytest.raises(ValueError, match="has the version 4"):
        read_strings(path, "plain")
    (tmp_path / "Rdata.rdx").unlink()
    with pytest.raises(FileNotFoundError):
        read_strings(path, "plain")
