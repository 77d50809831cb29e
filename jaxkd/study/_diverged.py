"""Runs that diverge where many settings are tried: each is one without a number, and no end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd._files import write_atomically
from jaxkd.training import is_main_process, sync_processes

if TYPE_CHECKING:
    from jaxkd.study._runs import Runs

_FILE = "diverged.json"
Kept = dict[str, np.ndarray]


def record_divergence(run: Runs, seed: int, error: object) -> None:
    """Keeps that a run diverged, so that it is not trained again when a study is resumed.

    Args:
      run: the runs of an arm.
      seed: seed of the one that diverged.
      error: what was said of it.
    """
    file = run.seed_folder(seed) / _FILE
    if is_main_process():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, json.dumps({"error": str(error)}, indent=2) + "\n")
    sync_processes(str(file))


def has_diverged(run: Runs, seed: int) -> bool:
    """Whether it is known that a run diverged."""
    return (run.seed_folder(seed) / _FILE).exists()


def result_or_none(run: Runs, seed: int) -> Kept | None:
    """Trains a student, or reads what it gave; None where its loss or parameters diverge."""
    if not has_diverged(run, seed):
        try:
            return run.result(seed)
        except FloatingPointError as error:
            record_divergence(run, seed, error)
    return None


def with_nan(kept: Mapping[str, Sequence[Kept | None]]) -> dict[str, list[Kept]]:
    """Fills in runs that diverged: nan in place of each metric and of the learning curve.

    Args:
      kept: arm → what its runs gave, None for those that diverged.

    Returns:
      The same with arrays for all; those that diverged have no logits.

    Raises:
      FloatingPointError: all of them diverged.
    """
    finite = [each for runs in kept.values() for each in runs if each is not None]
    if not finite:
        raise FloatingPointError(
            f"all {len(kept)} settings diverge: {', '.join(kept)}. Give the study a smaller "
            "learning_rate=, or try smaller weights"
        )
    filled = {}
    for name, runs in kept.items():
        like = next((each for each in runs if each is not None), finite[0])
        filled[name] = [_nothing(like) if each is None else each for each in runs]
    return filled


def _nothing(like: Kept) -> Kept:
    """What a run that diverged gave, in the form of another one."""
    nan: dict[str, Any] = {n: np.array(np.nan) for n in like if n.startswith(("metric.", "cost."))}
    curve = {"curve_steps": like["curve_steps"], "curve": np.full_like(like["curve"], np.nan)}
    return {**nan, **curve, "seconds": np.array(np.nan)}
