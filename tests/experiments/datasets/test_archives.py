import gzip
import io
import resource
import tarfile
import zlib

import pytest

from experiments.datasets._archives import gunzip, inflate, tar_members

LIMITS = {"limit": 100, "total": 1 << 20}


def archive(path, *members):
    """Writes members: a name with its content, or a `TarInfo`."""
    with tarfile.open(path, "w:gz") as file:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                file.addfile(member)
            else:
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                file.addfile(info, io.BytesIO(member[1]))
    return path


def special(name, kind, target=""):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def wanted(name):
    return name.endswith(".txt")


def test_wanted_members_are_read_and_others_passed_over(tmp_path):
    path = archive(
        tmp_path / "a.tgz",
        ("a.txt", b"one"),
        ("large.bin", b"\0" * 5000),
        special("link.bin", tarfile.SYMTYPE, "/etc/passwd"),
        special("folder.txt", tarfile.DIRTYPE),
        ("b/b.txt", b"two"),
    )
    assert [*tar_members(path, wanted, **LIMITS)] == [("a.txt", b"one"), ("b/b.txt", b"two")]


@pytest.mark.parametrize(
    "member",
    [
        ("../up.txt", b"x"),
        ("a/../../up.txt", b"x"),
        ("/absolute.txt", b"x"),
        special("soft.txt", tarfile.SYMTYPE, "/etc/passwd"),
        special("hard.txt", tarfile.LNKTYPE, "a.txt"),
        special("device.txt", tarfile.CHRTYPE),
        special("pipe.txt", tarfile.FIFOTYPE),
    ],
    ids=lambda member: getattr(member, "name", member[0] if isinstance(member, tuple) else ""),
)
def test_members_that_are_no_plain_files_inside_are_refused(tmp_path, member):
    path = archive(tmp_path / "a.tgz", ("a.txt", b"one"), member)
    with pytest.raises(ValueError, match=r"a.tgz holds .*txt', which is a link, a device or"):
        [*tar_members(path, wanted, **LIMITS)]


def test_archives_that_decompress_to_more_than_they_should_are_refused(tmp_path):
    path = archive(tmp_path / "a.tgz", ("a.txt", b"x" * 101))
    with pytest.raises(ValueError, match=r"'a.txt' in .*a.tgz decompresses to more than 100 bytes"):
        [*tar_members(path, wanted, **LIMITS)]
    path = archive(tmp_path / "b.tgz", ("large.bin", b"\0" * (1 << 21)), ("a.txt", b"x"))
    with pytest.raises(ValueError, match=r"b.tgz decompresses to more than 1,048,576 bytes"):
        [*tar_members(path, wanted, **LIMITS)]
    # A header of a member may itself be long.
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"comment": "x" * (1 << 21)}
    path = archive(tmp_path / "c.tgz", info)
    with pytest.raises(ValueError, match=r"c.tgz decompresses to more than 1,048,576 bytes"):
        [*tar_members(path, wanted, **LIMITS)]


@pytest.mark.parametrize("cut", [10, -20])
def test_archives_that_are_not_whole_are_refused(tmp_path, cut):
    path = archive(tmp_path / "a.tgz", ("a.txt", bytes(range(100))))
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ValueError, match=r"a.tgz is no whole .tgz"):
        [*tar_members(path, wanted, **LIMITS)]


def test_a_bomb_is_refused_before_it_is_in_memory(tmp_path):
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(256):
            file.write(bytes(1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"bomb.gz decompresses to more than 1,000 bytes"):
        gunzip(path, 1000)
    with pytest.raises(ValueError, match="it decompresses to more than 1,000 bytes"):
        inflate(zlib.compress(bytes(1 << 22)), 1000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kilobytes


def test_compressed_files_that_are_whole_are_read(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"1" * 50))
    assert gunzip(path, 50) == b"1" * 50 and inflate(zlib.compress(b"2"), 1) == b"2"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ValueError, match="a.gz cannot be decompressed"):
        gunzip(path, 50)
    with pytest.raises(ValueError, match="it ends too early"):
        inflate(zlib.compress(b"2" * 100)[:-4], 100)
    with pytest.raises(ValueError, match="it cannot be decompressed"):
        inflate(b"no stream", 100)
