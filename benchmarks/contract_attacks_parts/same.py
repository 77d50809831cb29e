"""What is right but looks different: none of it may be refused."""

import dataclasses
import functools
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

import jaxkd
from benchmarks.contract_attacks_parts import foreign, same_data, same_teachers, setting
from benchmarks.contract_attacks_parts.attempts import Attack, Attempt, Folder
from benchmarks.contract_attacks_parts.setting import VIEWS, WIDTH
from jaxkd import cache as caches
from jaxkd.data import Loader
from jaxkd.networks import Network
from jaxkd.targets import Dense, TopK
from jaxkd.views import Normalize, RandomCrop, Views

TEACHER, PLACE, DATA, PROCESS, OTHER = (
    "The teacher made again",
    "The same cache elsewhere",
    "A data set that grew, shrank or was made again",
    "Another process",
    "Other sizes and arguments",
)
# Names an interpreter with another version of JAX; without it that case is left out.
INTERPRETER = "CONTRACT_ATTACKS_PYTHON"
# Names a checkout that writes caches of format 2; without it that case is left out.
EARLIER = "CONTRACT_ATTACKS_BEFORE"


def attacks() -> Iterator[Attack]:
    for name, make in same_teachers.TEACHERS.items():
        yield Attack(TEACHER, name, functools.partial(same_teachers.attempts, make))
    for name, call in PLACES.items():
        yield Attack(PLACE, name, functools.partial(_place, call))
    for name, call in same_data.SETS.items():
        yield Attack(DATA, name, functools.partial(same_data.attempts, call))
    for name, environment in PROCESSES.items():
        yield Attack(PROCESS, name, functools.partial(_process, environment, sys.executable))
    if os.environ.get(INTERPRETER):
        attempts = functools.partial(_process, {}, os.environ[INTERPRETER])
        yield Attack(PROCESS, "another version of JAX", attempts)
    if os.environ.get(EARLIER):
        yield Attack(OTHER, "a cache of format 2", _earlier_format)
    for name, call in CALLS.items():
        yield Attack(OTHER, name, functools.partial(_call, name, call))


def _read(cache: Any) -> None:
    for view in range(cache.num_views):
        cache.read(cache.ids, view)


def _place(
    call: Callable[[Folder, pathlib.Path], pathlib.Path | str], folder: Folder
) -> Iterator[Attempt]:
    path = call(folder, folder.copy(setting.home(folder)))
    network, data = setting.teacher(), setting.dataset()
    yield "open", lambda: _read(setting.opened(path))
    yield "build", lambda: setting.build(path, network)
    yield "verify", lambda: _clean(path)
    yield (
        "fill",
        lambda: caches.open(
            path, teacher=network, dataset=data, views=VIEWS, mode="fill", num_views=2
        ).close(),
    )
    yield (
        "extend",
        lambda: caches.extend(
            path, network, data, VIEWS, num_views=3, progress=False, block_size=24
        ),
    )


def _clean(path: Any) -> None:
    if damaged := caches.verify(path):
        raise ValueError(f"a right cache is called damaged: {damaged[0].message}")


def _renamed(folder: Folder, path: pathlib.Path) -> pathlib.Path:
    return path.rename(folder.empty())


def _linked(folder: Folder, path: pathlib.Path) -> pathlib.Path:
    link = folder.empty()
    link.symlink_to(path)
    return link


def _archived(folder: Folder, path: pathlib.Path) -> pathlib.Path:
    import shutil

    archive = shutil.make_archive(str(folder.empty()), "tar", path)
    target = folder.empty()
    shutil.unpack_archive(archive, target, filter="data")
    return target


def _spaced(folder: Folder, path: pathlib.Path) -> pathlib.Path:
    return path.rename(folder.root / f"a cache, with spaces and ümlauts {path.name}")


PLACES: dict[str, Callable[[Folder, pathlib.Path], pathlib.Path | str]] = {
    "copied": lambda folder, path: path,
    "renamed": _renamed,
    "a copy of a copy": lambda folder, path: folder.copy(folder.copy(path)),
    "a link to it": _linked,
    "packed and unpacked": _archived,
    "a name with spaces and umlauts": _spaced,
    "a relative path": lambda folder, path: os.path.relpath(path),
    "a path with ..": lambda folder, path: path / ".." / path.name,
    "a slash at the end": lambda folder, path: f"{path}/",
    "a file URL": lambda folder, path: f"file://{path}/",
}


def _process(environment: dict[str, str], python: str, folder: Folder) -> Iterator[Attempt]:
    folder_path = folder.built("process", lambda path: setting.build(path, _perceptron()))
    path = folder.copy(folder_path)
    tree = pathlib.Path(jaxkd.__file__).resolve().parent.parent
    parts = pathlib.Path(__file__).resolve().parent.parent.parent
    code = (
        f"import sys; sys.path[:0] = {[str(tree), str(parts)]!r}\n"
        "from benchmarks.contract_attacks_parts import same\n"
        f"same.in_another_process({str(path)!r})\n"
    )

    def run() -> None:
        result = subprocess.run(
            [python, "-c", code],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
        )
        if result.returncode:
            raise ValueError(result.stderr.strip().splitlines()[-1])

    yield "open, build, fill", run


def _earlier_format(folder: Folder) -> Iterator[Attempt]:
    path, parts = folder.empty(), pathlib.Path(__file__).resolve().parents[2]
    code = (
        f"import sys; sys.path[:0] = {[os.environ[EARLIER], str(parts)]!r}\n"
        "from benchmarks.contract_attacks_parts import setting\n"
        f"setting.build({str(path)!r}, setting.teacher())\n"
    )
    environment = {name: v for name, v in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True)
    converted = folder.copy(path)
    yield "open", lambda: _read(setting.opened(path))
    yield "build", lambda: setting.build(folder.copy(path), setting.teacher())
    yield "convert", lambda: _converted(converted)


def _converted(path: pathlib.Path) -> None:
    from jaxkd.cache import __main__ as command

    try:
        status = command.main(["convert", str(path)])
    except SystemExit as error:  # of a library without the command
        status = error.code
    if status:
        raise ValueError("the command failed")
    _read(setting.opened(path))
    _clean(path)


def _perceptron() -> Network:
    return jaxkd.from_nnx(jaxkd.models.MLP(WIDTH, (8,), setting.CLASSES, rngs=nnx.Rngs(5)))


def in_another_process(path: str) -> None:
    """What a child does with a cache that its parent built."""
    network, data = _perceptron(), setting.dataset()
    allow = {"jax_version"}
    _read(setting.opened(path, network, allow=allow))
    setting.build(path, network, allow=allow)
    given = {"teacher": network, "dataset": data, "views": VIEWS, "allow": allow}
    caches.open(path, mode="fill", num_views=2, **given).close()


PROCESSES: dict[str, dict[str, str]] = {
    "a fresh one": {},
    "four devices": {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"},
    "one thread": {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false"},
    "another seed of hashes": {"PYTHONHASHSEED": "77"},
}


def _call(name: str, call: Callable[[Folder, pathlib.Path], Any], folder: Folder):
    path = folder.copy(setting.home(folder))
    yield name, lambda: call(folder, path)


def _allowed_name(folder: Folder, path: pathlib.Path) -> None:
    other = setting.dataset(name="forms")
    for _, call in setting.everywhere(
        folder, path, setting.teacher(), other, allow={"dataset.name"}
    ):
        call()


def _halves(folder: Folder, path: pathlib.Path) -> None:
    data, parts = setting.dataset(), []
    for ids in (data.ids[:50], data.ids[50:]):
        parts.append(folder.empty())
        setting.build(parts[-1], setting.teacher(), data.select(ids))
    target = folder.empty()
    caches.merge(target, parts)
    _read(setting.opened(target))
    setting.build(target, setting.teacher())
    _clean(target)


def _part(folder: Folder, path: pathlib.Path) -> None:
    target = folder.empty()
    ids = setting.dataset().ids[10:50]
    caches.subset(path, target, ids=ids, block_size=16)
    _read(setting.opened(target, data=setting.dataset().select(ids)))
    _clean(target)


def _resumed_otherwise(folder: Folder, path: pathlib.Path) -> None:
    target = folder.empty()
    given = {"teacher": setting.teacher(), "dataset": setting.dataset(), "views": VIEWS}
    with caches.open(target, mode="fill", num_views=2, block_size=24, **given) as cache:
        cache.read(setting.dataset().ids[:30], 0)
    setting.build(target, setting.teacher(), batch_size=7)
    _read(setting.opened(target))


def _sharded(folder: Folder, path: pathlib.Path) -> None:
    mesh = jax.make_mesh((1,), ("data",))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    setting.build(path, setting.teacher(), batch_sharding=spread)
    setting.build(folder.empty(), setting.teacher(), batch_sharding=spread)


def _written(folder: Folder, path: pathlib.Path) -> None:
    target = folder.empty()
    foreign.write(target, foreign.NAMED)
    _read(setting.opened(target, dict(reversed(foreign.NAMED.items()))))
    foreign.write(target, foreign.NAMED)
    foreign.write(target, foreign.NAMED, num_views=3, extend=True)


def _views_again(folder: Folder, path: pathlib.Path) -> None:
    again = Views([RandomCrop(1), Normalize()])
    _read(setting.opened(path, views=again))
    setting.train(Loader(setting.dataset(), again, 16, cache=setting.opened(path)), views=again)


def _own_views(folder: Folder, path: pathlib.Path) -> None:
    def views() -> Views:
        @dataclasses.dataclass(frozen=True)
        class Shift:
            by: int = 1

            def __call__(self, key, image):
                shift = jax.random.randint(key, (), 0, self.by + 1)
                return jnp.roll(image, shift, 0).astype(jnp.float32) / 255

        return Views((Shift(),))

    target = folder.empty()
    setting.build(target, setting.teacher(), views=views())
    _read(setting.opened(target, views=views()))
    setting.build(target, setting.teacher(), views=views())


def _features(folder: Folder, path: pathlib.Path) -> None:
    target = folder.empty()
    network = jaxkd.networks.add_outputs(
        setting.teacher(), lambda _, out: {"squares": out["logits"] ** 2}
    )
    setting.build(target, network, codec={"squares": Dense("float16"), "logits": TopK(2)})
    setting.build(target, network, codec={"logits": TopK(2), "squares": Dense("float16")})
    _read(setting.opened(target, network))


def _mixed(folder: Folder, path: pathlib.Path) -> None:
    from jaxkd.views import Mixup

    views = Views((*VIEWS.transforms, Mixup(setting.CLASSES)))
    target = folder.empty()
    setting.build(target, setting.teacher(), views=views)
    _read(setting.opened(target, views=views))
    setting.train(
        Loader(setting.dataset(), views, 16, cache=setting.opened(target, views=views)), views=views
    )


def _batch(size: int) -> Callable[[Folder, pathlib.Path], Any]:
    def call(folder: Folder, path: pathlib.Path) -> None:
        setting.build(path, jaxkd_teacher(), batch_size=size)

    return call


def jaxkd_teacher() -> Network:
    return setting.teacher()


CALLS: dict[str, Callable[[Folder, pathlib.Path], Any]] = {
    "batches of 1": _batch(1),
    "batches of 1,000": _batch(1000),
    "no block size": lambda folder, path: setting.build(path, setting.teacher(), block_size=None),
    "one of two processes": lambda folder, path: setting.build(
        path, setting.teacher(), process=(1, 2)
    ),
    "codec and views by name": lambda folder, path: setting.build(
        path, setting.teacher(), codec={"logits": Dense("float32")}, views=VIEWS
    ),
    "the teacher's fingerprint": lambda folder, path: _read(
        setting.opened(path, setting.teacher().fingerprint())
    ),
    "a field that may differ": _allowed_name,
    "two halves merged": _halves,
    "a part copied": _part,
    "begun by a training run, finished by a build": _resumed_otherwise,
    "batches on a mesh": _sharded,
    "a teacher of another framework, named in another order": _written,
    "views made again from a list": _views_again,
    "views of one's own made again": _own_views,
    "codecs in another order": _features,
    "mixed views made again": _mixed,
    "float64 for float32, allowed by name": same_data.float64,
}
