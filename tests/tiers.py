"""The two tiers of the tests: what `make test` runs, and what only `make test-all` does.

A test is marked `exhaustive` if it is a further variant of one that runs always, and `slow` if it
takes long. See README.md beside this file.
"""

import pytest


def few(names, values, *, keep=1, **options):
    """As `pytest.mark.parametrize`, with all but some of the values marked exhaustive.

    Args:
      names: of the arguments, as for `parametrize`.
      values: of the arguments; those that stand for the others come first.
      keep: how many run always.
      **options: of `parametrize`.
    """
    several = not isinstance(names, str) or "," in names
    marked = []
    for index, value in enumerate(values):
        if index >= keep:
            if hasattr(value, "marks"):
                marks = [*value.marks, pytest.mark.exhaustive]
                value = pytest.param(*value.values, marks=marks, id=value.id)
            else:
                value = pytest.param(*value if several else (value,), marks=pytest.mark.exhaustive)
        marked.append(value)
    return pytest.mark.parametrize(names, marked, **options)
