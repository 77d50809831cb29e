"""From an empty environment to a report and files for devices, killed five times on the way.

  python benchmarks/front_door.py [--workdir DIR] [--python PYTHON]

Makes an environment (`python -m venv`, `pip install '.[experiments,onnx,litert,onnx-export]'`), a
folder of 600 JPEGs of three kinds of rendered objects (odd sizes, some grey, some turned by their
EXIF), and an ONNX teacher that scikit-learn trained on others of them. One `jaxkd distill` makes a
report, a `.tflite` and an `.onnx` of it. The same command in another folder is killed by SIGKILL
while the cache is built, while a student trains on labels, while one is distilled, while the test
examples are evaluated and while the student is exported, and started again each time. Compared are
the results of both, the files' outputs with JAX's on all test images, and every number of
`report.json` with one that NumPy computes from the logits on disk. Writes benchmarks/front_door.md;
the exit status is 1 if anything differs. `--workdir` keeps everything, and a script that was
stopped goes on there.

This file itself needs only Python; what needs packages runs in the environment, which has no other
jaxkd than the one that pip installed.
"""

import argparse
import functools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from front_door_parts import kills

HERE = pathlib.Path(__file__).resolve().parent
EXTRAS = "experiments,onnx,litert,onnx-export"
COUNT, SIZE = 600, 32
# fmt: off
OPTIONS = [
    "--student", "resnet8", "--size", "32", "--batch-size", "32", "--epochs", "20", "--seeds", "3",
    "--learning-rate", "0.003", "--augment", "flip", "--num-views", "2", "--format", "tflite,onnx",
]
# fmt: on
WEIGHTS, FILES = "weights.safetensors", ("model.tflite", "model.onnx")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--workdir", type=pathlib.Path, help="kept; by default a temporary folder")
    parser.add_argument(
        "--python", default=sys.executable, help="Python that makes the environment"
    )
    parser.add_argument("--step", choices=("data", "check"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        {"data": make_data, "check": check}[given.step](given.workdir)
        return 0
    with tempfile.TemporaryDirectory() as temporary:
        root = pathlib.Path(given.workdir or temporary).resolve()
        root.mkdir(parents=True, exist_ok=True)
        return run(root, given.python)


def run(root: pathlib.Path, python: str) -> int:
    """Does all of it, each step once; returns the exit status."""
    folder = functools.partial(step, root)
    if folder("options", lambda: [EXTRAS, *OPTIONS]) != [EXTRAS, *OPTIONS]:
        raise SystemExit(f"{root} was made with other options: give another --workdir")
    installed = folder("environment", lambda: install(root, python))
    folder("data", lambda: in_environment(root, "data"))
    whole = folder("whole", lambda: timed(root, "whole"))
    seconds = folder("kills", functools.partial(kill, root))["seconds"]
    last = folder("killed", lambda: timed(root, "killed"))
    in_environment(root, "check")
    found = json.loads((root / "check.json").read_text(encoding="utf-8"))
    page = text(installed, whole, [*seconds, last["seconds"]], found)
    print(page)
    (HERE / "front_door.md").write_text(page, encoding="utf-8")
    return 0 if found["is_right"] else 1


def step(root: pathlib.Path, name: str, run: Callable[[], Any]) -> Any:
    """Does something once, and keeps what it returned beside it."""
    file = root / f"{name}.json"
    if not file.exists():
        print(f"{name} …", flush=True)
        result = run()
        file.write_text(json.dumps(result), encoding="utf-8")
    return json.loads(file.read_text(encoding="utf-8"))


def install(root: pathlib.Path, python: str) -> dict[str, Any]:
    """Makes the environment; returns how long it took, its size and its versions."""
    started = time.monotonic()
    subprocess.run([python, "-m", "venv", "--clear", root / "env"], check=True)
    pip = [root / "env/bin/python", "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", f"{HERE.parent}[{EXTRAS}]"], check=True, cwd=root)
    seconds = time.monotonic() - started
    listed = subprocess.run([*pip, "list", "--format=json"], check=True, capture_output=True)
    versions = {each["name"]: each["version"] for each in json.loads(listed.stdout)}
    size = sum(f.stat().st_size for f in (root / "env").rglob("*") if f.is_file())
    return {"seconds": seconds, "megabytes": size / 1e6, "versions": versions}


def in_environment(root: pathlib.Path, name: str) -> None:
    """Runs a step of this file with the Python of the environment."""
    words = [root / "env/bin/python", __file__, "--step", name, "--workdir", root]
    subprocess.run(words, check=True, cwd=root, env=environment())


def environment() -> dict[str, str]:
    """The variables of this process, without any that would find another jaxkd."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}


def command(root: pathlib.Path, name: str) -> list[str]:
    """The command, of paths as one would write them in this folder."""
    where = ["--data", "objects", "--teacher", "teacher.onnx", "--out", f"runs/{name}"]
    return [str(root / "env/bin/jaxkd"), "distill", *where, *OPTIONS, "--title", "Objects"]


def timed(root: pathlib.Path, name: str) -> dict[str, float]:
    """Runs the command to its end."""
    started = time.monotonic()
    with (root / f"{name}.log").open("ab") as log:
        done = subprocess.run(
            command(root, name), cwd=root, env=environment(), stdout=log, stderr=log
        )
    if done.returncode:
        raise SystemExit((root / f"{name}.log").read_text(encoding="utf-8")[-2000:])
    return {"seconds": time.monotonic() - started}


def kill(root: pathlib.Path) -> dict[str, list[float]]:
    """Starts the command anew, and kills it at each of the moments of its work."""
    os.chdir(root)
    out, log = root / "runs/killed", root / "killed.log"
    shutil.rmtree(out, ignore_errors=True)
    (root / "killed.json").unlink(missing_ok=True)  # of what was just removed
    words = command(root, "killed")
    moments = kills.MOMENTS.values()
    return {"seconds": [kills.kill_at(each, out, words, log, environment()) for each in moments]}


def make_data(root: pathlib.Path) -> None:
    """Writes the images and the teacher."""
    from front_door_parts import objects

    objects.write_images(root / "objects", COUNT)
    accuracy = objects.train_teacher(root / "teacher.onnx", SIZE)
    print(f"the teacher is right on {100 * accuracy:.1f} % of a thousand other objects")


def check(root: pathlib.Path) -> None:
    """Computes the numbers of the report again, and compares the files with JAX and both runs."""
    import numpy as np
    from front_door_parts import outputs, recomputed

    import jaxkd

    assert not pathlib.Path(jaxkd.__file__).is_relative_to(HERE.parent), jaxkd.__file__
    held_out = outputs.held_out(root / "objects", SIZE)
    teacher = {
        part: (outputs.of_teacher(root / "teacher.onnx", pixels), labels)
        for part, (pixels, labels) in held_out.items()
    }
    runs = {name: root / "runs" / name for name in ("whole", "killed")}
    numbers = {name: recomputed.recompute(out, teacher) for name, out in runs.items()}
    documents = [recomputed.without_seconds(out) for out in runs.values()]
    pixels, files = held_out["test"][0], {}
    for name in FILES:
        file = runs["killed"] / "student" / name
        logits = np.load(runs["killed"] / "study/kd/seed0/test.npz")["logits"]
        found = outputs.of_exported(file, pixels)
        files[name] = {
            "difference": float(np.abs(found - logits).max()),
            "same": int((found.argmax(-1) == logits.argmax(-1)).sum()),
            "kilobytes": file.stat().st_size / 1e3,
        }
    wrong = [*numbers["whole"].wrong, *numbers["killed"].wrong]
    equal = {
        "report.json": documents[0] == documents[1],
        WEIGHTS: contents(runs["whole"]) == contents(runs["killed"]),
        **{name: same_bytes(runs, f"student/{name}") for name in FILES},
    }
    right = all(f["difference"] <= 1e-4 and f["same"] == len(pixels) for f in files.values())
    result = {
        "arms": {n: a["scores"]["test"]["accuracy"] for n, a in documents[0]["arms"].items()},
        "teacher": documents[0]["teacher"]["test"]["accuracy"],
        "finding": documents[0]["arms"]["kd"]["against_baseline"]["text"],
        "numbers": {name: [each.count, each.largest] for name, each in numbers.items()},
        "wrong": wrong,
        "equal": equal,
        "files": files,
        "examples": len(pixels),
        "is_right": right and not wrong and equal["report.json"] and equal[WEIGHTS],
    }
    (root / "check.json").write_text(json.dumps(result), encoding="utf-8")


def contents(out: pathlib.Path) -> tuple[dict[str, Any], dict[str, str]]:
    """Returns the weights of a student by name, as bytes and shapes, and what is said of them."""
    from safetensors import safe_open

    with safe_open(out / "student" / WEIGHTS, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return {name: (a.tobytes(), a.shape) for name, a in arrays.items()}, file.metadata()


def same_bytes(runs: dict[str, pathlib.Path], name: str) -> bool:
    """Whether a file has the same bytes in both runs."""
    return (runs["whole"] / name).read_bytes() == (runs["killed"] / name).read_bytes()


def text(
    installed: dict[str, Any], whole: dict[str, float], kill_times: list[float], found: Any
) -> str:
    """Writes the page."""
    shown = ("jax", "flax", "orbax-checkpoint", "jax2onnx", "onnxruntime", "ai-edge-litert")
    versions = ", ".join(f"{name} {installed['versions'].get(name, '–')}" for name in shown)
    numbers, equal = found["numbers"], found["equal"]
    lines = [
        "# From an empty environment to a file for a device",
        "",
        "`python benchmarks/front_door.py`, on two CPU cores. 600 JPEGs of three kinds of rendered "
        "objects (24 to 48 pixels, every tenth grey, every fourth turned by its EXIF), a "
        "perceptron of scikit-learn as ONNX teacher, and",
        "",
        "```",
        f"pip install '.[{EXTRAS}]'",
        f"jaxkd distill --data objects --teacher teacher.onnx {' '.join(OPTIONS[:8])} \\",
        f"  {' '.join(OPTIONS[8:])} --out runs/whole",
        "```",
        "",
        "| what | figure |",
        "| :-- | :-- |",
        f"| installing {len(installed['versions'])} packages into an empty environment "
        f"| {installed['seconds']:.0f} s, {installed['megabytes']:,.0f} MB |",
        f"| the command: teacher to report, `.tflite` and `.onnx` | {whole['seconds']:.0f} s |",
        f"| accuracy of the teacher on the {found['examples']} test images "
        f"| {100 * found['teacher']:.1f} % |",
        *(
            f"| of the students, {name} | {', '.join(f'{100 * a:.1f}' for a in accuracies)} % |"
            for name, accuracies in found["arms"].items()
        ),
        *(
            f"| numbers of `report.json` that NumPy computes again from the logits on disk, "
            f"{'undisturbed' if name == 'whole' else 'killed five times'} "
            f"| {count}, largest difference {largest:.1g} |"
            for name, (count, largest) in numbers.items()
        ),
        f"| of them wrong | {len(found['wrong'])} |",
        *(
            f"| `{name}` on all test images against JAX | logits within {f['difference']:.1g}, the "
            f"same class on {f['same']} of {found['examples']}; {f['kilobytes']:,.0f} kB |"
            for name, f in found["files"].items()
        ),
        *(
            f"| `{name}` of the killed run and of the undisturbed one "
            f"| {'equal' if same else 'differ'}{' but for the seconds' * ('report' in name)} |"
            for name, same in equal.items()
        ),
        "",
        "Killed by SIGKILL while",
        "",
        *(f"- {m}: after {s:.1f} s" for m, s in zip(kills.MOMENTS, kill_times, strict=False)),
        "",
        f"and started again each time; the last start took {kill_times[-1]:.1f} s. "
        f"The report says: {found['finding']} Times are those of a machine that may have done "
        f"other work, too. {versions}.",
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
