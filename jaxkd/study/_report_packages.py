"""The packages that draw reports."""

import importlib.util


def check_report_packages() -> None:
    """Refuses to begin where the report could not be drawn at the end.

    Raises:
      ImportError: a package is missing; names the extra.
    """
    for package in ("matplotlib", "jinja2"):
        if importlib.util.find_spec(package) is None:
            raise ImportError(
                f"the report needs {package}: pip install 'jaxkd-distill[experiments]'"
            )
