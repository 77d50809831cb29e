"""Part A: what is wrong must be refused by an error that names it."""

import pathlib
from typing import Any

from benchmarks.contract_attacks_parts import custody, foreign, inputs, modes, reports, teachers

MODULES = (teachers, foreign, modes, inputs, custody)


def run(folder: pathlib.Path, *, seed: int = 0, first: int | None = None) -> dict[str, Any]:
    """Tries all attacks, in an order that the seed shuffles."""
    attacks = [attack for module in MODULES for attack in module.attacks()]
    return reports.of_attacks(attacks, folder, wanted="refused", seed=seed, first=first)
