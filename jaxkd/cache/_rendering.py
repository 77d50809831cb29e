"""Views by what they look like: digests and sketches of some that are rendered."""

import collections
import functools
import hashlib
import os
import pathlib
import platform
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract
from jaxkd.cache._sketch import choose_spots, packed, read_spots, sketch, unpacked
from jaxkd.data import Examples
from jaxkd.networks._trace import trace
from jaxkd.views import Views

# Views that are rendered, at how many at a time: always the same program, whatever is at hand. Of a
# change that hits one view in twenty, so many miss with a probability of 2e-6.
SPOTS, _BATCH = 256, 32
# Relative to the spread of all that is rendered: rounding differs between processors.
_TOLERANCE = 1e-4
_WIDTH = 16
_PROGRAMS: collections.OrderedDict[str, Callable[..., Any]] = collections.OrderedDict()


def document(dataset: Examples, views: Views, num_views: int) -> dict[str, Any]:
    """Renders what a new cache keeps of its views.

    Args:
      dataset: the examples.
      views: how they are rendered.
      num_views: number of views of each example.

    Returns:
      The document of identity of the kind `"views"`.
    """
    # As a change may hit the later views alone, at least two are rendered.
    ids, view = choose_spots(dataset.ids, max(2, num_views), SPOTS)
    digests, sketches, program = _rendered(dataset, views, ids, view)
    return {
        "jax_version": jax.__version__,
        "program": program,
        "platform": _platform(),
        "spots": {"ids": ids.tolist(), "views": view.tolist()},
        "digests": digests,
        "sketches": packed(sketches),
    }


def check(
    path: str,
    contract: Mapping[str, Any],
    dataset: Examples,
    views: Views,
    allow: Collection[str] = (),
    changed: np.ndarray | None = None,
) -> None:
    """Refuses a cache if this process renders its views otherwise than its builder did.

    Bytes are compared where the platform is the same, otherwise numbers within rounding.

    Args:
      path: path of the cache, for the message.
      contract: its contract.
      dataset: the examples.
      views: how they are rendered.
      allow: names of fields that may differ; `"views.probe"`: nothing is rendered.
      changed: ids of examples with another content, which are rendered otherwise of course.

    Raises:
      CacheError: names one view, with both results.
    """
    if "views.probe" in allow:
        return
    stored = read_spots(path, contract, "views")
    if stored is None:
        if "probe" in contract:
            _contract.check_probe(path, contract["probe"], dataset, views, allow, changed)
        return
    ids, view = (np.asarray(stored["spots"][name], np.int32) for name in ("ids", "views"))
    here = np.isin(ids, dataset.ids)
    if changed is not None:
        here &= ~np.isin(ids, changed)
    if not here.any():
        # A selection without the examples rendered: its source's fingerprint vouches for the data.
        return
    digests, sketches, _ = _rendered(dataset, views, ids[here], view[here])
    kept = unpacked(stored["sketches"])
    old = kept[here].astype(np.float64)
    if stored["platform"] == _platform():
        there = [digest for digest, present in zip(stored["digests"], here, strict=True) if present]
        differ = np.array([a != b for a, b in zip(there, digests, strict=True)])
    else:
        differ = differing(kept, here, sketches)
    if differ.any():
        first = int(np.argmax(differ))
        what = f"view {view[here][first]} of example {ids[here][first]}: "
        off = f" ({int(differ.sum())} of {len(differ)} views that were rendered differ)"
        _contract.check(
            path,
            {"views.probe": what + _contract.numbers(old[first])},
            {"views.probe": what + _contract.numbers(sketches[first]) + off},
            allow,
        )


def differing(kept: np.ndarray, rows: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Returns which views were rendered to other numbers, beyond rounding.

    Args:
      kept: sketches `[n, k]`, of all spots.
      rows: the spots that were rendered.
      own: their sketches.
    """
    old = kept[rows].astype(np.float64)
    if old.shape != own.shape:
        return np.ones(len(old), bool)
    spread = np.sqrt(np.mean((kept - kept.mean(axis=0)) ** 2) + np.mean(kept**2) * 1e-4)
    return np.abs(own - old).max(axis=1) > _TOLERANCE * spread


def _rendered(
    dataset: Examples, views: Views, ids: np.ndarray, view: np.ndarray
) -> tuple[list[str], np.ndarray, str | None]:
    """Digests of the bytes of rendered views, their sketches `[n, k]`, and the program's digest."""
    digests: list[str] = []
    sketches = []
    first = _raw(dataset, views, np.resize(ids, _BATCH), np.resize(view, _BATCH))
    run, program = _program(views, first)
    for start in range(0, len(ids), _BATCH):
        some, number = ids[start : start + _BATCH], view[start : start + _BATCH]
        batch = first
        if start:
            batch = _raw(dataset, views, np.resize(some, _BATCH), np.resize(number, _BATCH))
        inputs, numbers = jax.device_get(run(batch))
        for row in range(len(some)):
            digest = hashlib.blake2b(digest_size=8)
            for leaf in jax.tree.leaves(inputs):
                digest.update(f"{leaf.dtype}{leaf.shape[1:]}".encode())
                digest.update(np.ascontiguousarray(leaf[row]).tobytes())
            digests.append(digest.hexdigest())
        sketches.append(numbers[: len(some)])
    return digests, np.concatenate(sketches), program


def _raw(dataset: Examples, views: Views, ids: np.ndarray, view: np.ndarray) -> dict[str, Any]:
    inputs = dataset.read(ids, view)
    batch = {"id": ids, "view": view, "inputs": inputs}
    if views.mixes:
        # Any partners do, as long as a selection of the examples has them too.
        batch["partner_inputs"] = jax.tree.map(
            lambda array: np.flip(array, tuple(range(1, np.ndim(array)))), inputs
        )
    return views.prepare(batch)


def _program(views: Views, batch: dict[str, Any]) -> tuple[Callable[..., Any], str | None]:
    """Compiles the rendering; caches that are opened with the same views share the program.

    Returns:
      The compiled function, and a digest of its program, if that is visible.
    """

    def rendered(batch: dict[str, Any]) -> Any:
        inputs = views.render(batch)["inputs"]
        leaves = jax.tree.leaves(inputs)
        return inputs, jax.numpy.concatenate([sketch(leaf, _WIDTH) for leaf in leaves], axis=1)

    # By what is computed and not by the views, whose code may have been edited.
    if (digest := trace(rendered, batch).digest) is None:
        return jax.jit(rendered), None
    if digest not in _PROGRAMS:
        _PROGRAMS[digest] = jax.jit(rendered)
        if len(_PROGRAMS) > 32:
            _PROGRAMS.popitem(last=False)
    return _PROGRAMS[digest], digest


@functools.cache
def _platform() -> str:
    """Text that is equal where the same program gives the same bits."""
    device = jax.devices()[0]
    processor = ""
    if device.platform == "cpu":
        cpuinfo = pathlib.Path("/proc/cpuinfo")
        lines = (
            cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
            if cpuinfo.is_file()
            else []
        )
        first = {line.split(":")[0].strip(): line for line in reversed(lines)}
        processor = first.get("model name", "") + first.get("flags", "") + str(os.cpu_count())
    described = (
        *(jax.__version__, device.platform, device.device_kind, platform.machine()),
        *(hashlib.sha256(processor.encode()).hexdigest()[:16], os.environ.get("XLA_FLAGS", "")),
    )
    return " ".join(described)
