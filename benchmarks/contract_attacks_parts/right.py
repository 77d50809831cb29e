"""Part B: what is right must be accepted, however different it looks."""

import pathlib
from typing import Any

from benchmarks.contract_attacks_parts import reports, same


def run(folder: pathlib.Path, *, seed: int = 0, first: int | None = None) -> dict[str, Any]:
    """Tries all cases."""
    return reports.of_attacks(
        list(same.attacks()), folder, wanted="accepted", seed=seed, first=first
    )
