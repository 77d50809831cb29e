"""The contract: what a cache belongs to, and the refusal of everything else."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import jax
import numpy as np

from jaxkd.data import Examples
from jaxkd.data._labels import has_token_labels
from jaxkd.networks import Network
from jaxkd.teachers import ForeignTeacher
from jaxkd.views import Views

# Relative: rounding differs between processors, another crop does not hide in it.
_PROBE_TOLERANCE = 1e-4
# Characters up to which the names of classes are listed.
_LISTED = 2000
# Fields that not every cache has: compared where it has them.
_OPTIONAL = frozenset({"dataset.class_names", "dataset.num_classes", "codec.decoded"})
_REASONS = {
    "dataset.decoding": " (files that EXIF turns and gray of 16 bits are read otherwise than in "
    "the other version: where there are none, it may differ)",
    "views.partners": " (partners to mix with are sampled from all examples: where a data set grew "
    "or shrank, every view is another one)",
}


class CacheError(ValueError):
    """A cache that does not fit, is not complete, or is damaged.

    Example:
      >>> import tempfile, jax.numpy as jnp, numpy as np, jaxkd
      >>> teacher = jaxkd.from_function(lambda params, inputs: inputs @ params, jnp.eye(4, 3))
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     np.eye(4, dtype=np.float32), name="eye", split="train", num_classes=3)
      >>> cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, progress=False)
      >>> try:
      ...     cache.read(np.array([9]), view=0)
      ... except CacheError as error:
      ...     print(error)
      missing records: 1 of 1 example ids are not in the cache ..., [9] first. Add them by
      jaxkd.cache.extend(path, teacher, dataset, views), or build another cache over these examples.
    """


def damaged(path: Any, what: str) -> str:
    """Returns the message on a file that is not as it was written, and that nothing writes anew.

    Args:
      path: path of the cache.
      what: names the file within the cache, and says what is wrong with it.
    """
    return (
        f"the cache {path} is damaged: {what}. Restore that file from a copy, or build the cache "
        "anew."
    )


def of_teacher(teacher: Network | ForeignTeacher | Mapping[str, str]) -> dict[str, Any]:
    """Returns the fields that name a teacher: its own fingerprint, or the one that is given.

    Args:
      teacher: the teacher, or its fingerprint.

    Raises:
      TypeError: neither of both.
      ValueError: an empty fingerprint, or one with an empty field.
    """
    if teacher is None:
        raise TypeError(
            "teacher=None checks no teacher: give the network, or its fingerprint() where the "
            "network is not at hand; jaxkd.cache.Cache(path).contract has the fields that name it"
        )
    runs = isinstance(teacher, Network | ForeignTeacher)
    if not runs and not isinstance(teacher, Mapping):
        raise TypeError(
            f"a teacher is a Network, or a mapping that names one, not {teacher!r:.80}: make a "
            "network by jaxkd.from_nnx, from_linen or from_function, or a teacher outside of JAX "
            "by jaxkd.teachers, or write {'name': 'resnet'}"
        )
    if not runs and not teacher:
        raise ValueError("the teacher's fingerprint is empty: give the network or what names it")
    fingerprint = teacher if isinstance(teacher, Mapping) else teacher.fingerprint()
    if empty := [name for name, value in fingerprint.items() if value in ("", None)]:
        raise ValueError(
            f"the teacher's fingerprint has nothing for {empty}: a field that is empty is that of "
            "every teacher. Give it a value, or leave it out"
        )
    return {f"teacher.{name}": value for name, value in fingerprint.items()}


def checked_views(views: Views | None) -> Views:
    """Returns views, by default those that leave examples as they are; refuses what is none."""
    if views is None:
        return Views()
    if not isinstance(views, Views):
        inside = views if isinstance(views, tuple | list) else (views,)
        listed = ", ".join(map(str, inside))
        raise TypeError(
            f"views must be jaxkd.views.Views, not {views!r:.80}: write Views(({listed},))"
        )
    return views


def of_dataset(dataset: Examples) -> dict[str, Any]:
    """Fields that name a data set, and its classes in their order where these have names."""
    classes: dict[str, Any] = {}
    if dataset.class_names:
        classes["dataset.class_names"] = _class_names(dataset.class_names)
    if dataset.num_classes and not has_token_labels(dataset):  # the vocabulary says it
        classes["dataset.num_classes"] = dataset.num_classes
    if not dataset.fingerprint:
        raise ValueError(
            f"the fingerprint of the data set {dataset.name} is empty: what has no name of its "
            "content cannot be told from another one"
        )
    return {
        **classes,
        "dataset.name": dataset.name,
        "dataset.version": dataset.version,
        "dataset.split": dataset.split,
        "dataset.fingerprint": dataset.fingerprint,
        **{f"dataset.{name}": value for name, value in dataset.contract_fields().items()},
    }


def _class_names(given: Any) -> Any:
    """The names, or if they are long, their number and a digest; of each label set."""
    if isinstance(given, Mapping):
        return {name: _class_names(names) for name, names in given.items()}
    names = list(given)
    text = json.dumps(names)
    if len(text) <= _LISTED:
        return names
    return f"{len(names)} names, sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def of_views(dataset: Examples, views: Views) -> dict[str, Any]:
    """Fields that fix what a view of this data set looks like."""
    fields = {f"views.{name}": value for name, value in views.specification().items()}
    if views.mixes:
        # Partners are sampled from all ids, so another selection of examples has other partners.
        fields["views.partners"] = of_ids(dataset.ids)
    if (reading := dataset.read_specification()) is not None:
        fields["views.crop"] = reading
    return fields


def of_versions() -> dict[str, Any]:
    """Fields that name the library which samples and renders the views."""
    return {"jax_version": jax.__version__}


def of_ids(ids: np.ndarray) -> str:
    """Text that names a set of examples: their number, and a digest of their ids."""
    little = np.ascontiguousarray(ids, "<i4")
    return f"{len(ids)} examples, sha256:{hashlib.sha256(little.tobytes()).hexdigest()}"


def _probe(dataset: Examples, views: Views, ids: np.ndarray) -> list[float]:
    return views.probe(dataset.read(ids, 0), dataset.read(ids, 1))


def check_probe(
    path: str,
    stored: Mapping[str, Any],
    dataset: Examples,
    views: Views,
    allow: Collection[str] = (),
    changed: np.ndarray | None = None,
) -> None:
    """Refuses a cache if this process renders the probed examples otherwise than its builder did.

    Args:
      path: path of the cache, for the message.
      stored: as of `probe`, from the contract.
      dataset: the examples.
      views: how they are rendered.
      allow: names of fields that may differ.
      changed: ids of examples with another content, which are rendered otherwise of course.

    Raises:
      CacheError: names both results.
    """
    examples = np.asarray(stored["ids"], np.int32)
    if not examples.size or (changed is not None and np.isin(examples, changed).any()):
        return
    try:
        dataset.rows(examples)
    except KeyError:
        # A selection without the probed examples: its source's fingerprint vouches for the data.
        return
    values = _probe(dataset, views, examples)
    same = len(values) == len(stored["values"]) and all(
        math.isclose(a, b, rel_tol=_PROBE_TOLERANCE, abs_tol=_PROBE_TOLERANCE)
        for a, b in zip(values, stored["values"], strict=True)
    )
    if not same:
        check(path, {"views.probe": stored["values"]}, {"views.probe": values}, allow)


def check(
    path: str,
    stored: Mapping[str, Any],
    wanted: Mapping[str, Any],
    allow: Collection[str] = (),
    remedy: str | None = None,
) -> None:
    """Refuses a cache whose contract differs from what is wanted.

    Args:
      path: path of the cache, for the message.
      stored: the fields that the cache was written with.
      wanted: fields to compare; those left out are not checked.
      allow: names of fields that may differ.
      remedy: what to do about it.

    Raises:
      CacheError: one line for each differing field, with both values.
    """
    if any(name.startswith("teacher.") for name in wanted):
        # A fingerprint of fewer fields does not name the teacher.
        absent = [n for n in stored if n.startswith("teacher.") and n not in wanted]
        wanted = {**wanted, **dict.fromkeys(absent)}
    differing = [
        name
        for name, value in wanted.items()
        if name not in allow
        and not (name in _OPTIONAL and name not in stored)
        and not _same(name, _plain(stored.get(name)), _plain(value))
    ]
    if differing:
        lines = [
            f"  {name}: the cache has {_show(stored.get(name))}, this run has {_show(wanted[name])}"
            + _REASONS.get(name, "")
            for name in differing
        ]
        names = ", ".join(json.dumps(name) for name in differing)
        raise CacheError(
            f"the cache {path} does not belong to this run:\n"
            + "\n".join(lines)
            + "\n"
            + (
                remedy
                or "Build another cache for this run, or open this one with what it was built "
                f"with. To let a field differ, name it: allow={{{names}}}"
            )
        )


def completed(fields: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Returns fields of a contract, with those of another that not every cache has.

    Args:
      fields: the fields.
      other: fields that were compared with them.
    """
    return {name: other[name] for name in _OPTIONAL if name in other} | dict(fields)


def numbers(values: np.ndarray) -> str:
    """Text of the first few of some numbers, for a message."""
    shown = ", ".join(f"{value:.5g}" for value in values[:6])
    return f"[{shown}{', …' if len(values) > 6 else ''}]"


def _same(name: str, stored: Any, wanted: Any) -> bool:
    """Whether values agree; of classes by label set, those of the sets that both have."""
    by_set = [value for value in (stored, wanted) if isinstance(value, Mapping)]
    if name not in _OPTIONAL or not by_set:
        return bool(stored == wanted)
    if len(by_set) == 1:  # one set alone, which was chosen of several
        return (wanted if by_set[0] is stored else stored) in by_set[0].values()
    return all(stored[key] == wanted[key] for key in stored.keys() & wanted.keys())


def _plain(value: Any) -> Any:
    # As it comes back from the document: tuples are lists there, and keys are strings.
    return json.loads(json.dumps(value, default=plain_number))


def _show(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, default=plain_number, sort_keys=True)


def plain_number(value: Any) -> Any:
    """Returns a scalar of NumPy as JSON writes it: a size may come from an array's shape."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{value!r} cannot be written into a document of a cache: it is no plain data")
