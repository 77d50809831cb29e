"""Maintains caches: info, verify, stats, merge, subset, convert, build."""

import argparse
import json
import pathlib
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxkd import cache as caches
from jaxkd._files import print_any_text
from jaxkd._guard import guarded
from jaxkd._named_function import named_function
from jaxkd._parser import Parser
from jaxkd.cache import Cache
from jaxkd.cache._convert import convert
from jaxkd.cache._foreign import runnable
from jaxkd.losses import SparseLogits
from jaxkd.networks._arguments import shown
from jaxkd.views import Views

# What another batch size, machine or processor may change: a step of the coarsest codec in a logit,
# and the predictions of examples with two equally probable classes.
_ROUNDING, _TIES = 0.02, 0.01


def main(arguments: Sequence[str] | None = None, prog: str = "python -m jaxkd.cache") -> int:
    """Runs a command; returns the exit status: 1 if a cache is damaged or refused."""
    print_any_text()
    parser = Parser(prog=prog, description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    info = _command(commands, _info, "the contract, bytes a record and in all")
    info.add_argument("path")

    verify = _command(commands, _verify, "read all checksums; run the teacher again")
    verify.add_argument("path")
    verify.add_argument("--teacher", metavar="MODULE:FUNCTION", help=_FUNCTION)
    verify.add_argument(
        "--records", type=int, default=256, help="records that the teacher computes again"
    )

    stats = _command(
        commands, _stats, "mass of the stored classes, entropy, accuracy against labels"
    )
    stats.add_argument("path")
    stats.add_argument("--data", metavar="MODULE:FUNCTION", help=_FUNCTION)

    merge = _command(commands, _merge, "join caches of different examples or views")
    merge.add_argument("target")
    merge.add_argument("sources", nargs="+")

    subset = _command(commands, _subset, "copy some examples and the first views")
    subset.add_argument("path")
    subset.add_argument("target")
    subset.add_argument("--ids", type=pathlib.Path, help="a .npy file of example ids")
    subset.add_argument("--views", type=int, help="number of views, from view 0 on")

    to_format_3 = _command(commands, _convert, "turn a cache of format 2 into one of format 3")
    to_format_3.add_argument("path")
    to_format_3.add_argument(
        "--to", metavar="TARGET", help="copy it there instead; by default in place"
    )

    build = _command(commands, _build, "run the teacher; resumes what was cut short")
    build.add_argument("path")
    build.add_argument("what", metavar="MODULE:FUNCTION", help=_FUNCTION)
    build.add_argument(
        "--yes", action="store_true", help="build a large cache without confirmation"
    )
    build.add_argument(
        "--confirm_above", type=float, default=10.0, help="GB above which a build is confirmed"
    )

    parsed = parser.parse_args(arguments)
    words = sys.argv[1:] if arguments is None else arguments
    return guarded(lambda: parsed.run(parsed), [*prog.split(), *words])


_FUNCTION = (
    "a function without arguments that returns a mapping with teacher, dataset and other arguments "
    "of jaxkd.cache.build (views, codec, num_views, …), and student for the predicted gain"
)


def _command(commands: Any, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        run.__name__.removeprefix("_"), help=text, description=text
    )
    parser.set_defaults(run=run)
    return parser


def _info(parsed: argparse.Namespace) -> None:
    cache = Cache(parsed.path)
    print(json.dumps(cache.contract, indent=2, sort_keys=True))
    for name, codec in cache.codecs.items():
        print(f"{name}: {codec}. {codec.description}")
    cost = cache.build_cost
    print(
        f"{len(cache.ids):,} examples × {cache.num_views} views, {cache.bytes_per_record:,} bytes "
        f"a record, {cache.bytes:,} in all, in {len(cache.segments)} segments; built in "
        f"{cost['seconds']:.1f} s"
    )


def _verify(parsed: argparse.Namespace) -> int:
    damages = caches.verify(parsed.path)
    for damage in damages:
        place = f"array {damage.array}, view {damage.view}, block {damage.block}"
        print(f"{damage.file or place}: {damage.message}")
    with warnings.catch_warnings(action="ignore"):  # format 2, of which verify has warned
        cache = Cache(parsed.path)
    files = sum(bool(damage.file) for damage in damages)
    print(
        f"{len(cache.ids) * cache.num_views:,} records read, {len(damages) - files} blocks damaged"
        + f", {files} other files not in order" * (files > 0)
    )
    if parsed.teacher and not damages:
        given = _call(parsed.teacher, "teacher", "dataset")
        given["teacher"] = runnable(given["teacher"], given.get("name"))
        own = {name: given[name] for name in ("teacher", "dataset", "views") if name in given}
        views = given.get("views") or Views()
        cache.check(**own | {"views": views})
        agreement = caches.spot_check(
            cache, given["teacher"], given["dataset"], views, records=parsed.records
        )
        largest = ", ".join(
            f"{name} {value:.3g}" for name, value in agreement.max_difference.items()
        )
        print(
            f"{agreement.records} records computed again: largest difference {largest}; "
            f"{agreement.changed_predictions} most probable classes differ"
        )
        return _disagreement(cache, agreement)
    return 1 if damages else 0


def _disagreement(cache: Cache, agreement: caches.SpotCheckResult) -> int:
    """Exit status 1, and says why, where predictions differ by more than rounding explains."""
    changed = agreement.changed_predictions
    if not changed:
        return 0
    logits = cache.read(cache.ids[:256], 0).decode()["logits"]
    values = np.abs(np.asarray(logits.logits if isinstance(logits, SparseLogits) else logits))
    allowed = _ROUNDING * float(np.max(values, where=np.isfinite(values), initial=0))
    largest = agreement.max_difference["logits"]
    if changed <= _TIES * agreement.records and largest <= allowed:
        return 0
    print(
        f"error: this teacher is not the one that is stored. Rounding changes at most {_TIES:.0%} "
        f"of the most probable classes, here {changed} of {agreement.records}, and logits by at "
        f"most {_ROUNDING:.0%} of the largest one, {allowed:.3g}, here {largest:.3g}",
        file=sys.stderr,
    )
    return 1


def _stats(parsed: argparse.Namespace) -> None:
    dataset = _call(parsed.data, "dataset")["dataset"] if parsed.data else None
    stats = caches.stats(Cache(parsed.path), dataset)
    print(
        f"{stats.records:,} records: mass stored {stats.mass:.4f}, entropy {stats.entropy:.4f} "
        f"nats, confidence {stats.confidence:.4f}"
    )
    if stats.accuracy is not None:
        print(f"accuracy against labels {stats.accuracy:.4f}")


def _merge(parsed: argparse.Namespace) -> None:
    cache = caches.merge(parsed.target, parsed.sources)
    print(f"{len(cache.ids):,} examples × {cache.num_views} views at {cache.path}")


def _subset(parsed: argparse.Namespace) -> None:
    ids = np.load(parsed.ids) if parsed.ids else None
    cache = caches.subset(parsed.path, parsed.target, ids=ids, num_views=parsed.views)
    print(f"{len(cache.ids):,} examples × {cache.num_views} views at {cache.path}")


def _convert(parsed: argparse.Namespace) -> None:
    cache = caches.merge(parsed.to, [parsed.path]) if parsed.to else convert(parsed.path)
    print(
        f"{len(cache.ids):,} examples × {cache.num_views} views at {cache.path}, format "
        f"{cache.document['format']}, id {cache.document['id']}"
    )


def _build(parsed: argparse.Namespace) -> None:
    given = _call(parsed.what, "teacher", "dataset")
    student = given.pop("student", None)
    known = ("views", "name", "codec", "num_views", "valid_classes")
    what = {name: given[name] for name in known if name in given}
    predicted = caches.forecast(given["teacher"], given["dataset"], student=student, **what)
    print(predicted)
    caches.confirm_build(predicted, above=int(parsed.confirm_above * 1e9), yes=parsed.yes)
    cache = caches.build(parsed.path, **given)
    print(f"{len(cache.ids):,} examples × {cache.num_views} views at {cache.path}")


def _call(name: str, *required: str) -> dict[str, Any]:
    given = named_function(name)()
    if not isinstance(given, Mapping) or not all(key in given for key in required):
        what = sorted(given) if isinstance(given, Mapping) else shown(given)
        raise ValueError(
            f"{name} must return a mapping with {' and '.join(required)}, not {what}: "
            "{'teacher': network, 'dataset': data, 'views': views}"
        )
    return dict(given)


if __name__ == "__main__":
    sys.exit(main())
