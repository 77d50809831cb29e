"""Other libraries' models, augmentations, data and loaders: how much one writes, and what it gives.

  python benchmarks/outside.py [--only equinox keras]

Runs each case on the package itself, as pip installs it (equinox, dm-haiku, keras, torch,
onnxruntime, dm-pix, albumentations, grain, datasets); the modules of Flax's examples and of bonsai
are rewritten from their signatures, as in tests/outside. A case whose package is not installed is
listed as absent, and one that fails as failed. A model is compared with its own library's call,
and with the cache of its outputs; augmentations with the cache of two views; batches by the
parameters of a student that they train. Writes benchmarks/outside.md, unless `--only` names words
of some cases. The exit status is 1 if a case failed.
"""

import argparse
import os
import pathlib
import sys
import traceback

os.environ["KERAS_BACKEND"] = "jax"
HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests" / "outside")]

import jax  # noqa: E402

from benchmarks.outside_parts import data, models  # noqa: E402
from benchmarks.outside_parts.comparing import Case, versions  # noqa: E402

HEAD = [
    "| case | package | lines | cached − online | online − its own call |",
    "| :-- | :-- | --: | --: | --: |",
]


def row_of(case: Case) -> tuple[str, bool]:
    """Runs a case.

    Returns:
      Its row of the table, and whether it failed.
    """
    found, absent = versions(case.packages)
    named = ", ".join([*found, *(f"{name} absent" for name in absent)])
    begin = f"| {case.name} | {named}"
    if absent:
        return f"{begin} | {case.lines} | – | – |", False
    try:
        compared = case.run()
    except Exception as error:
        traceback.print_exc()
        text = " ".join(str(error).split())[:80].replace("|", "¦")
        return f"{begin} | {case.lines} | failed: {type(error).__name__}: {text} | – |", True
    own = "–" if compared.own is None else f"{compared.own:.1g}"
    return f"{begin} | {case.lines} | {compared.online:.1g} | {own} |", False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="*", help="words in the names of the cases to run")
    only = parser.parse_args().only
    chosen = [
        case
        for case in (*models.cases(), *data.cases())
        if not only or any(word.lower() in case.name.lower() for word in only)
    ]
    rows, failed = [], False
    print(*HEAD, sep="\n", flush=True)
    for case in chosen:
        row, wrong = row_of(case)
        rows.append(row)
        failed |= wrong
        print(row, flush=True)
    title = (
        "Largest differences where a case runs on the package itself; modules of Flax's examples "
        "and of bonsai are rewritten from their signatures. Lines: what one writes beyond the "
        "other library's own code. Of batches the difference is that of a student's parameters "
        "after eight steps. A cache is built in batches of half the size, which rounds otherwise. "
        f"On {jax.devices()[0].device_kind} with jax {jax.__version__} "
        "(`python benchmarks/outside.py`)."
    )
    if not only:
        text = "\n".join([title, "", *HEAD, *rows]) + "\n"
        (HERE / "outside.md").write_text(text, encoding="utf-8")
    sys.exit(failed)


if __name__ == "__main__":
    main()
