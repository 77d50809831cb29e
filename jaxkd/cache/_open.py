"""Opening a cache for a run: checked against its teacher, data and views before the first step."""

import pathlib
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, overload

from jaxkd.cache._cache import MEMORY_LIMIT, Cache
from jaxkd.cache._contract import checked_views
from jaxkd.cache._foreign import RUNS, Teacher, runnable
from jaxkd.cache._record_format import Codecs
from jaxkd.cache._write_through import WriteThroughCache
from jaxkd.data import Examples
from jaxkd.views import Views


@overload
def open(  # noqa: A001
    path: str | pathlib.Path,
    *,
    teacher: Teacher | Mapping[str, str],
    dataset: Examples,
    views: Views | None = None,
    name: str | None = None,
    num_classes: int | None = None,
    allow: Collection[str] = (),
    memory_limit: int = MEMORY_LIMIT,
    codecs: Sequence[type] = (),
    mode: Literal["read"] = "read",
) -> Cache: ...


@overload
def open(  # noqa: A001
    path: str | pathlib.Path,
    *,
    teacher: Teacher,
    dataset: Examples,
    views: Views | None = None,
    name: str | None = None,
    allow: Collection[str] = (),
    memory_limit: int = MEMORY_LIMIT,
    mode: Literal["fill"],
    codec: Codecs = None,
    num_views: int = 1,
    valid_classes: int | None = None,
    block_size: int | None = None,
    process: tuple[int, int] = (0, 1),
) -> WriteThroughCache: ...


def open(  # noqa: A001 - read as jaxkd.cache.open
    path: str | pathlib.Path,
    *,
    teacher: Teacher | Mapping[str, str],
    dataset: Examples,
    views: Views | None = None,
    mode: Literal["read", "fill"] = "read",
    name: str | None = None,
    num_classes: int | None = None,
    allow: Collection[str] = (),
    memory_limit: int = MEMORY_LIMIT,
    codecs: Sequence[type] = (),
    codec: Codecs = None,
    num_views: int = 1,
    valid_classes: int | None = None,
    block_size: int | None = None,
    process: tuple[int, int] = (0, 1),
) -> Cache | WriteThroughCache:
    """Opens a cache and checks that it belongs to this teacher, this data set and these views.

    Args:
      path: where it was built.
      teacher: the network whose outputs are wanted. Its program is compared with the one that the
        cache was built with, and where that is another one, its outputs on some of the examples.
        Or its `fingerprint()`, where the network itself is not at hand; then fields alone are
        compared. Or a teacher of `jaxkd.teachers`, or a function, as in `jaxkd.cache.build`: these
        compute their outputs for 64 examples, which are compared.
      dataset: the examples to be trained on: the cache's own data set or a selection of it.
      views: how they are rendered, by default unchanged.
      mode: `"read"` wants a complete cache. `"fill"` takes an incomplete one, or none: outputs that
        are missing are computed when training reads them, and stored; it needs the teacher itself.
      name: of a teacher that is a function, as in `jaxkd.cache.build`.
      num_classes: of the student, if it is to be checked already here (read).
      allow: names of contract fields that may differ. Each is checked by itself: a network of other
        parameters may be allowed by `"teacher.parameters"`, but if its outputs differ too, that
        takes `"teacher.outputs"`, with which none are computed.
      memory_limit: bytes up to which a cache is read into memory; larger ones are read from their
        files, and cannot be filled.
      codecs: classes of one's own codecs, if it was built with any (read).
      codec: how an output is stored (fill; this and what follows as in `jaxkd.cache.build`).
      num_views: views of each example (fill).
      valid_classes: number of logits that are classes (fill).
      block_size: examples in a file (fill).
      process: `(index, count)` of this process among those that fill the cache.

    Returns:
      A `Cache`, or a `WriteThroughCache`, to be closed when training ends. Both are for
      `jaxkd.data.Loader`, and know the data set and the views that they were opened with.

    Raises:
      CacheError: no cache there, an incomplete one, or one that belongs to something else: each
        differing field is named with both values.
      TypeError: a teacher that is None, or a function without a name.
      ValueError: another mode, an argument of the other mode, or to be filled without the network
        itself.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> open(cache.path, teacher=teacher, dataset=data).ids
      array([0, 1, 2, 3], dtype=int32)
      >>> other = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.ones((4, 3)))
      >>> try:
      ...     open(cache.path, teacher=other, dataset=data)
      ... except jaxkd.cache.CacheError as error:
      ...     print("other teacher" if "teacher" in str(error) else error)
      other teacher
    """
    views = checked_views(views)
    of_mode = {
        "read": {"num_classes": num_classes is not None, "codecs": len(codecs) > 0},
        "fill": {
            "codec": codec is not None,
            "num_views": num_views != 1,
            "valid_classes": valid_classes is not None,
            "block_size": block_size is not None,
            "process": process != (0, 1),
        },
    }
    if mode not in of_mode:
        raise ValueError(f"mode must be 'read' or 'fill', not {mode!r}")
    other = "fill" if mode == "read" else "read"
    if ignored := [name for name, given in of_mode[other].items() if given]:
        raise ValueError(
            f"{' and '.join(ignored)} would be ignored, mode is {mode!r}: write mode={other!r}, or "
            "leave it out"
        )
    if callable(teacher):
        teacher = runnable(teacher, name)
    if mode == "fill":
        if not isinstance(teacher, RUNS):
            raise ValueError("mode='fill' runs the teacher, so it needs the network itself")
        return WriteThroughCache(
            path,
            teacher,
            dataset,
            views,
            codec=codec,
            num_views=num_views,
            valid_classes=valid_classes,
            block_size=block_size,
            process=process,
            allow=allow,
            memory_limit=memory_limit,
        )
    cache = Cache(path, memory_limit=memory_limit, codecs=codecs).bind(dataset, views, allow)
    cache.check(teacher=teacher, dataset=dataset, views=views, num_classes=num_classes)
    return cache
