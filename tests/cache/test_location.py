import errno
import functools
import http.server
import os
import pathlib
import resource
import socket
import subprocess
import threading

import jax
import numpy as np
import pytest

from jaxkd import cache as caches
from jaxkd import from_function
from jaxkd.cache import CacheError, Writer, _location
from jaxkd.data import Dataset

DATA = Dataset.from_arrays(
    np.arange(12, dtype=np.float32).reshape(6, 2), name="d", split="train", num_classes=3
)
TEACHER = {"name": "elsewhere"}
LOGITS = np.arange(18, dtype=np.float32).reshape(6, 3)


def write(path, **options):
    with Writer(path, TEACHER, DATA, shapes={"logits": (3,)}, **options) as writer:
        writer.write(DATA.ids, 0, LOGITS)


def read(path):
    cache = caches.open(path, teacher=TEACHER, dataset=DATA)
    return cache.read(DATA.ids, view=0).decode()["logits"]


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    path = tmp_path_factory.mktemp("built") / "c"
    write(path)
    return path


def test_one_directory_has_one_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/b")
    wanted = str(tmp_path / "a")
    names = ["a", "./a", "a/", "a//", "~/a", "b/../a", "link/..", f"file://{wanted}", f"{wanted}/"]
    names += [tmp_path / "a", pathlib.Path("a/b/.."), f"file://localhost{wanted}/", "a/./b/.."]
    assert {_location.normalized(name) for name in names} == {wanted}
    odd = str(tmp_path / "ä b#?%41")
    assert _location.normalized("ä b#?%41") == odd
    assert _location.normalized(pathlib.Path(odd).as_uri()) == odd
    assert _location.normalized("s3://b/x/y//") == "s3://b/x/y"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "the path is empty: name a file or folder"),
        (" ", "the path is empty"),
        (pathlib.Path("s3://bucket/x"), "lost a slash: give it as a text"),
        ("~nobody-of-this-name/x", "begins with ~, and .* write the whole path"),
        ("file://elsewhere/x", "is no file of this machine: write file:///folder/name"),
        ("s3://", "is no URL of a cache: write s3://bucket/folder/name"),
        ("s3://bucket/a/../b", "is no URL of a cache"),
        ("gs://bucket//b", "is no URL of a cache"),
        ("ftp://host/b", "cannot be opened: .*unsupported.*Caches lie in directories, and under"),
    ],
)
def test_a_path_that_names_no_one_place_is_refused(path, message):
    for use in (read, write):
        with pytest.raises(CacheError, match=message):
            use(path)


def test_a_cache_is_found_by_each_of_its_names_and_after_a_change_of_directory(
    built, tmp_path, monkeypatch
):
    monkeypatch.chdir(built.parent)
    monkeypatch.setenv("HOME", str(built.parent))
    relative = caches.open("c", teacher=TEACHER, dataset=DATA, memory_limit=0)
    for name in ("c/", "../c/../" + built.parent.name + "/c", "~/c", built.as_uri()):
        np.testing.assert_array_equal(read(name), LOGITS)
    monkeypatch.chdir(tmp_path)
    np.testing.assert_array_equal(relative.read(DATA.ids, view=0).decode()["logits"], LOGITS)
    assert relative.path == str(built)
    with Writer("ü b", TEACHER, DATA, shapes={"logits": (3,)}) as writer:
        writer.write(DATA.ids, 0, LOGITS)
        monkeypatch.chdir("/")
    np.testing.assert_array_equal(read(tmp_path / "ü b"), LOGITS)
    with pytest.raises(CacheError, match="the target .* is a source too"):
        caches.subset(built, f"{built.parent}/x/../c")


@pytest.fixture
def limit_of_files():
    """Has files end at a number of bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_an_error_of_the_system_and_the_build_resumes(tmp_path, limit_of_files):
    data = Dataset.from_arrays(
        np.zeros((600, 1), np.float32), name="d", split="train", num_classes=64
    )
    logits = np.random.default_rng(0).normal(size=(600, 64)).astype(np.float32)
    arguments = TEACHER, data

    def writer():
        return Writer(tmp_path / "c", *arguments, shapes={"logits": (64,)}, block_size=256)

    first = writer()
    first.write(data.ids[:300], 0, logits[:300])
    first.flush()
    limit_of_files(8192)
    with pytest.raises(OSError, match=r"cannot take [\d,]+ bytes more. Make room and build ag"):
        first.write(data.ids[300:], 0, logits[300:])
        first.close()
    limit_of_files(resource.RLIM_INFINITY)
    with writer() as second:
        assert 0 < second.remaining() <= 300
        second.write(data.ids[300:], 0, logits[300:])
    cache = second.cache()
    np.testing.assert_array_equal(cache.read(data.ids, view=0).decode()["logits"], logits)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_each_error_of_a_full_disk_is_told(number):
    told = ValueError(f"RESOURCE_EXHAUSTED: Failed writing: \"/c/x\" [os_error_code='{number}']")
    found = _location.os_error(told, "/c", 4096)
    assert found.errno == number and "the cache /c cannot take 4,096 bytes more" in str(found)
    assert _location.os_error(ValueError("DATA_LOSS: crc32c"), "/c") is None
    missing = ValueError(f"NOT_FOUND: [os_error_code='{errno.ENOENT}']")
    assert _location.os_error(missing, "/c") is None


@pytest.fixture
def read_only(tmp_path):
    """Makes a directory one that cannot be written to, and undoes it."""
    undo = []

    def make(path):
        if os.geteuid():
            folders = [path, *(p for p in path.rglob("*") if p.is_dir())]
            for folder in folders:
                folder.chmod(0o500)
            undo.append(lambda: [folder.chmod(0o700) for folder in folders])
            return
        bind = ["mount", "--bind", path, path]
        if subprocess.run(bind, capture_output=True, check=False).returncode:
            pytest.skip("neither a user whom permissions hold for, nor one who may mount")
        undo.append(lambda: subprocess.run(["umount", path], check=True))
        subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)

    yield make
    for step in undo:
        step()


def test_a_cache_that_cannot_be_written_to_is_read_and_refused_before_the_teacher_runs(
    built, tmp_path, read_only
):
    ran = []

    def logits(_, inputs):
        shape = jax.ShapeDtypeStruct((len(inputs), 3), np.float32)
        return jax.pure_callback(lambda x: ran.append(1) or x[:, :1] + np.zeros(3), shape, inputs)

    store = tmp_path / "store"
    store.mkdir()
    write(store / "c")
    half = Writer(store / "half", TEACHER, DATA, shapes={"logits": (3,)})
    half.write(DATA.ids[:2], 0, LOGITS[:2])
    half.close()
    read_only(store)
    np.testing.assert_array_equal(read(store / "c"), LOGITS)
    assert not caches.verify(store / "c")
    with Writer(store / "c", TEACHER, DATA, shapes={"logits": (3,)}) as complete:
        assert not complete.remaining()
    np.testing.assert_array_equal(read(store / "c"), LOGITS)
    with pytest.raises(OSError, match=r"the cache .*new .*make it writeable and build again"):
        caches.build(store / "new", from_function(logits, np.float32(1)), DATA, progress=False)
    with pytest.raises(OSError, match=r"the cache .*half .*make it writeable and build again"):
        Writer(store / "half", TEACHER, DATA, shapes={"logits": (3,)})
    assert not ran


@pytest.fixture
def silent():
    """A server that takes connections and never answers; its address."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_store_that_does_not_answer_is_given_up_and_named(monkeypatch, silent):
    monkeypatch.setattr(_location, "_CONTACT_SECONDS", 0.5)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", f"http://{silent}")
    with pytest.raises(TimeoutError, match=rf"s3 dead at http://{silent} has not answered within"):
        read("s3://dead/c")
    with pytest.raises(TimeoutError, match=rf"http://{silent} has not answered within 0.5 s, for"):
        read(f"http://{silent}/c")


def test_a_store_that_refuses_connections_is_named(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    few = {"max_retries": 1, "initial_delay": "0.01s", "max_delay": "0.01s"}
    context = {"s3_request_retries": few, "http_request_retries": few}
    monkeypatch.setattr(_location, "_CONTEXT", context)
    with socket.socket() as closed:  # bound and not listening: nobody else gets its port
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", address)
        with pytest.raises(ConnectionError, match=rf"{address} cannot be reached .* check the add"):
            write("s3://dead/c")
        with pytest.raises(ConnectionError, match=rf"{address} cannot be reached"):
            read(f"{address}/c")


def test_a_server_that_only_reads_is_refused_before_the_teacher_runs(tmp_path):
    handler = functools.partial(_Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(OSError, match=rf"{address} cannot do this .*copy the cache {address}/"):
            write(f"{address}/c")
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass
