"""The contract: what a cache belongs to, and the refusal of everything else."""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from jaxkd.data import Dataset
from jaxkd.networks import Network
from jaxkd.views import Views

# Examples whose rendered views are compared with those that the teacher saw.
_PROBED_EXAMPLES = 4
# Relative: rounding differs between processors, another crop does not hide in it.
_PROBE_TOLERANCE = 1e-4


class CacheError(ValueError):
    """A cache that does not fit, is not complete, or is damaged."""


def of_teacher(teacher: Network | Mapping[str, str]) -> dict[str, Any]:
    """Fields that name a teacher: a network's fingerprint, or what the caller says of its own."""
    fingerprint = teacher.fingerprint() if isinstance(teacher, Network) else teacher
    return {f"teacher.{name}": value for name, value in fingerprint.items()}


def of_dataset(dataset: Dataset) -> dict[str, Any]:
    """Fields that name a data set."""
    return {
        "dataset.name": dataset.name,
        "dataset.version": dataset.version,
        "dataset.split": dataset.split,
        "dataset.fingerprint": dataset.fingerprint,
    }


def of_views(dataset: Dataset, views: Views) -> dict[str, Any]:
    """Fields that fix what a view of this data set looks like."""
    fields = {f"views.{name}": value for name, value in views.specification().items()}
    if views.mixes:
        # Partners are drawn from all ids, so another selection of examples means other partners.
        digest = hashlib.sha256(np.ascontiguousarray(dataset.ids).tobytes()).hexdigest()
        fields["views.partners"] = f"{len(dataset)} examples, sha256:{digest}"
    return fields


def probe(dataset: Dataset, views: Views) -> dict[str, Any]:
    """Sample views as numbers, with the ids of the examples that they were made of."""
    examples = dataset.ids[:_PROBED_EXAMPLES]
    return {
        "ids": [int(i) for i in examples],
        "values": views.probe(dataset.inputs[: len(examples)]),
    }


def check_probe(stored: Mapping[str, Any], dataset: Dataset, views: Views) -> dict[str, Any]:
    """What this process renders for the stored examples: the stored numbers if they agree."""
    try:
        rows = dataset.rows(np.asarray(stored["ids"], np.int32))
    except KeyError:
        # A selection without the probed examples: its source's fingerprint vouches for the data.
        return dict(stored)
    values = views.probe(dataset.inputs[rows])
    same = len(values) == len(stored["values"]) and all(
        math.isclose(a, b, rel_tol=_PROBE_TOLERANCE, abs_tol=_PROBE_TOLERANCE)
        for a, b in zip(values, stored["values"], strict=True)
    )
    return dict(stored) if same else {"ids": stored["ids"], "values": values}


def check(
    path: str, stored: Mapping[str, Any], wanted: Mapping[str, Any], allow: Collection[str] = ()
) -> None:
    """Refuses a cache whose contract differs from what is wanted.

    Args:
      path: of the cache, for the message.
      stored: the fields that the cache was written with.
      wanted: fields to compare; those left out are not checked.
      allow: names of fields that may differ.

    Raises:
      CacheError: one line for each differing field, with both values.
    """
    differing = [
        f"  {name}: the cache has {_show(stored.get(name))}, this run has {_show(value)}"
        for name, value in wanted.items()
        if name not in allow and _plain(stored.get(name)) != _plain(value)
    ]
    if differing:
        raise CacheError(
            f"the cache {path} does not belong to this run:\n"
            + "\n".join(differing)
            + "\nBuild another cache for this run, or open the cache with what it was built with."
        )


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def _show(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value)
