"""Which segments a cache has and needs: creating one, resuming one, extending one."""

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxkd.cache import _contract, _store
from jaxkd.cache._contract import CacheError
from jaxkd.cache._segment import Segment, segments
from jaxkd.data import Examples
from jaxkd.networks import Network
from jaxkd.targets import Codec, Layout, bytes_per_record, from_specification
from jaxkd.views import Views

FORMAT = 2
# Examples in a file, unless they are larger than this: a block is held in memory while it fills.
_BLOCK, _BLOCK_BYTES = 8192, 256 << 20


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be computed, all arguments checked.

    Attributes:
      path: of the cache.
      dataset: the examples.
      views: how they are seen.
      codecs: output name → how it is kept.
      shapes: output name → shape of one answer.
      segments: those to be filled, complete ones too.
    """

    path: str
    dataset: Examples
    views: Views
    codecs: dict[str, Codec]
    shapes: dict[str, tuple[int, ...]]
    segments: list[Segment]

    @property
    def layout(self) -> Layout:
        """Array name → (shape of a record, dtype name)."""
        return layout_of(self.codecs, self.shapes)


def make_plan(
    path: str,
    *,
    teacher: Network | Mapping[str, str],
    dataset: Examples,
    views: Views,
    codecs: Mapping[str, Codec],
    shapes: Mapping[str, tuple[int, ...]],
    num_logits: int | None,
    num_views: int,
    block_size: int | None,
    extend: bool = False,
    allow: Collection[str] = (),
) -> Plan:
    """Checks everything, creates the cache or the extension where there is none, and says what is
    to be filled.

    Raises:
      CacheError: a cache of something else at `path`, or of fewer views or other examples where it
        is not to be extended.
      ValueError: sizes that are not positive, codecs that do not fit the teacher or the views.
    """
    _check_sizes(num_views, block_size, dataset)
    _check_codecs(codecs, shapes, dataset, views)
    fields = {
        **_contract.of_teacher(teacher),
        **_contract.of_dataset(dataset),
        **_contract.of_views(dataset, views),
        **_contract.of_answers(codecs, shapes, num_logits),
        **_contract.of_versions(),
    }
    plan = Plan(path, dataset, views, dict(codecs), dict(shapes), [])
    document = _store.read_document(path, "contract.json")
    if document is None:
        if extend:
            raise CacheError(f"there is no cache at {path} to extend: build one first")
        document = {
            "format": FORMAT,
            "fields": fields,
            "probe": _contract.probe(dataset, views),
        }
        _store.write_document(path, "contract.json", document)
    check_format(path, document)
    _contract.check(path, document["fields"], fields, allow)
    _contract.check_probe(path, document["probe"], dataset, views, allow)
    known = segments(path, plan.layout, compression_of(codecs))
    if not known:
        known = [_new(plan, dataset.ids, 0, num_views, block_size)]
    elif extend:
        known += _additions(plan, known, num_views, block_size)
    else:
        _check_same(path, known, dataset, num_views)
    return dataclasses.replace(plan, segments=known)


def check_format(path: str, document: Mapping[str, Any]) -> None:
    """Refuses a cache of another format."""
    if document.get("format") != FORMAT:
        raise CacheError(
            f"the cache {path} has the format {document.get('format')}, this release reads format "
            f"{FORMAT}: use the release of jaxkd-distill that wrote it, or build it anew"
        )


def layout_of(codecs: Mapping[str, Codec], shapes: Mapping[str, tuple[int, ...]]) -> Layout:
    """The arrays of all outputs, named `<output>.<array>`."""
    return {
        f"{output}.{name}": kept
        for output, codec in codecs.items()
        for name, kept in codec.layout(shapes[output]).items()
    }


def compression_of(codecs: Mapping[str, Codec]) -> str | None:
    """What the chunks are compressed with, if a codec leaves anything to compress."""
    wanted = {getattr(codec, "compression", None) for codec in codecs.values()} - {None}
    return wanted.pop() if wanted else None


def contract_codecs(
    fields: Mapping[str, Any], known: Sequence[type] = ()
) -> tuple[dict[str, Codec], dict[str, tuple[int, ...]]]:
    """Codecs and shapes by output, from the fields of a contract."""
    codecs = {name: from_specification(spec, known) for name, spec in fields["codec"].items()}
    return codecs, {name: tuple(fields["shapes"][name]) for name in codecs}


def common_ids_and_views(found: Sequence[Segment]) -> tuple[np.ndarray, int]:
    """The examples that segments hold in view 0, and in how many leading views they hold the same.

    Raises:
      CacheError: two segments hold the same answer.
    """
    ids = _ids_of(found, 0)
    views = 0
    while views < max((s.first_view + s.num_views for s in found), default=0) and np.array_equal(
        _ids_of(found, views), ids
    ):
        views += 1
    return ids, views


def _ids_of(found: Sequence[Segment], view: int) -> np.ndarray:
    parts = [s.ids for s in found if s.first_view <= view < s.first_view + s.num_views]
    ids = np.sort(np.concatenate([*parts, np.empty(0, np.int32)]))
    if (twice := ids[1:][ids[1:] == ids[:-1]]).size:
        raise CacheError(
            f"the cache {found[0].path} holds {twice.size} examples of view {view} twice, ids "
            f"{twice[:5].tolist()} first"
        )
    return ids


def _additions(
    plan: Plan, known: list[Segment], num_views: int, block_size: int | None
) -> list[Segment]:
    ids, views = common_ids_and_views(known)
    new_ids = np.setdiff1d(plan.dataset.ids, ids)
    if num_views < views:
        raise CacheError(
            f"the cache {plan.path} has {views} views of each example, extending it to {num_views} "
            "would take some away: use jaxkd.cache.subset for that"
        )
    added = []
    if num_views > views:
        if (absent := np.setdiff1d(ids, plan.dataset.ids)).size:
            raise CacheError(
                f"more views of {absent.size} examples of the cache {plan.path} are wanted which "
                f"are not in this data set, ids {absent[:5].tolist()} first: extend it with all "
                "examples"
            )
        added.append(_new(plan, ids, views, num_views - views, block_size))
    if new_ids.size:
        added.append(_new(plan, new_ids, 0, num_views, block_size))
    return added


def _new(plan: Plan, ids: np.ndarray, first: int, count: int, block_size: int | None) -> Segment:
    import tensorstore

    if block_size is None:
        record = sum(bytes_per_record(c, plan.shapes[name]) for name, c in plan.codecs.items())
        block_size = max(1, min(_BLOCK, 2 ** int(math.log2(max(1, _BLOCK_BYTES // record)))))
    block = min(block_size, math.ceil(len(ids) / 256) * 256)
    compression = compression_of(plan.codecs)
    segment = Segment(plan.path, plan.layout, compression, ids, first, count, block)
    segment.create(
        written_by={
            "jax": jax.__version__,
            "numpy": np.__version__,
            "tensorstore": getattr(tensorstore, "__version__", "unknown"),
        }
    )
    return segment


def _check_same(path: str, known: list[Segment], dataset: Examples, num_views: int) -> None:
    ids, views = common_ids_and_views(known)
    stored = {"examples": _contract.of_ids(ids), "num_views": views}
    wanted = {"examples": _contract.of_ids(dataset.ids), "num_views": num_views}
    _contract.check(path, stored, wanted, remedy="jaxkd.cache.extend adds views and examples.")


def _check_sizes(num_views: int, block_size: int | None, dataset: Examples) -> None:
    sizes = {
        "num_views": num_views,
        "block_size": 1 if block_size is None else block_size,
        "the number of examples": len(dataset),
    }
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} must be at least 1, not {size}")


def _check_codecs(
    codecs: Mapping[str, Codec],
    shapes: Mapping[str, tuple[int, ...]],
    dataset: Examples,
    views: Views,
) -> None:
    if not codecs:
        raise ValueError("no output of the teacher is to be kept: name one with its codec")
    for name, codec in codecs.items():
        if name not in shapes:
            raise ValueError(
                f"the codecs keep the teacher's output {name!r}, the teacher has {sorted(shapes)}"
            )
        if not name or "/" in name:
            raise ValueError(f"an output's name becomes that of a folder: {name!r} cannot")
        codec.layout(shapes[name])  # raises where it does not fit
        # What cannot be read back is not written.
        from_specification(codec.specification(), (type(codec),))
        if "labels" in codec.needs and views.mixes:
            raise ValueError(
                f"{codec} keeps the label's class, and {views.transforms[-1]} gives an example two"
            )
        # The next token of a text's last one is not known, nor needed.
        if "labels" in codec.needs and dataset.labels.ndim == 1 and (dataset.labels < 0).any():
            count = int((dataset.labels < 0).sum())
            raise ValueError(f"{codec} keeps the label's class, and {count} examples have no label")
