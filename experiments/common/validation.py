"""What all experiments refuse before work starts; each message names the field and its value."""

import math
from collections.abc import Mapping
from typing import Any


def fields(config: Any, *names: str, prefix: str = "") -> dict[str, Any]:
    """Some fields of a configuration by the names that their flags have."""
    return {prefix + name: getattr(config, name) for name in names}


def at_least(least: int, values: Mapping[str, float]) -> None:
    """Raises ValueError for a number below `least`."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{name} must be at least {least}, not {value}")


def positive(values: Mapping[str, float]) -> None:
    """Raises ValueError for what is no positive finite number."""
    for name, value in values.items():
        if not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number, not {value}")


def share(values: Mapping[str, float]) -> None:
    """Raises ValueError for what does not lie in [0, 1]."""
    for name, value in values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must lie in [0, 1], not {value}")
