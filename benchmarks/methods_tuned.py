"""Each method at a setting that was found for it: does it do here what its paper says?

  python benchmarks/methods_tuned.py --data_dir=data [--methods kd,dkd] [--workdir runs/tuned]

For every method a small grid, its authors' defaults among it, is tried on validation images with
one seed and a shorter training, as `Study.tune` does. The setting that is best there trains three
fresh seeds on the whole schedule, beside students on labels alone with the same seeds; the test
images are evaluated once for each of these students, after the last choice about its method.
`methods_protocol.py` says on what. Each method is finished before the next one begins, and leaves
a file below `--workdir`; from all of these `methods_tuned.json` and `methods_tuned.md` are made.
Started again, the script goes on; after `--methods labels` several may run on different methods.
"""

import argparse
import json
import math
import pathlib
import time
from typing import Any

import jax
import numpy as np

from benchmarks import methods_protocol as protocol
from jaxkd import metrics
from jaxkd._files import write_atomically
from jaxkd.study import Arm, Column, Study, Table, compare
from jaxkd.study.runner import file_name
from jaxkd.study.tuning import try_settings

HERE = pathlib.Path(__file__).parent
# Option → values; the authors' defaults come first.
GRIDS: dict[str, dict[str, list[Any]]] = {
    "kd": {"alpha": [0.9, 0.5], "temperature": [4.0, 2.0]},
    "mlkd": {"weight": [1.0, 0.1, 0.02]},
    "cat_kd": {"weight": [400.0, 40.0, 4.0]},
    "ab": {"weight": [3e-3, 3e-4, 3e-5]},
    "semckd": {"weight": [400.0, 40.0, 4.0]},
    "dist": {"temperature": [4.0, 2.0, 1.0]},
    "dkd": {"beta": [8.0, 4.0, 1.0]},
    "logit_mse": {"weight": [1.0, 0.3, 0.1]},
    "wsld": {"weight": [2.25, 1.0, 0.5]},
    "nkd": {"gamma": [1.5, 0.5, 3.0]},
    "at": {"weight": [1000.0, 100.0, 10.0]},
    "fitnet": {"weight": [100.0, 10.0, 1.0]},
    "sp": {"weight": [3000.0, 300.0, 30.0]},
    "pkt": {"weight": [3e4, 3e3, 3e2]},
    "srd": {"weight": [2.0, 0.5, 8.0]},
    "rkd": {"distance_weight": [25.0, 2.5], "angle_weight": [50.0, 5.0]},
    "lskd": {"weight": [9.0, 3.0, 1.0]},
    "ttm": {"weight": [1.0, 4.0, 10.0]},
    "wttm": {"weight": [1.0, 4.0, 10.0]},
    "wkd_logit": {"gamma": [600.0, 100.0, 20.0]},
    "ctkd": {"alpha": [0.9, 0.5]},
    "rld": {"beta": [8.0, 4.0, 1.0]},
    "itrd": {"correlation_weight": [2.0, 0.5, 0.1]},
    "srrl": {"weight": [1.0, 0.1, 10.0]},
    "vid": {"weight": [1.0, 0.1, 0.01]},
    "simkd": {"weight": [1.0, 10.0]},
    "cc": {"weight": [0.02, 0.2, 2.0]},
    "wkd_feature": {"weight": [0.05, 0.5]},
    "nst": {"weight": [50.0, 5.0, 0.5]},
    "uskd": {"weight": [1.0, 0.3]},
    "born_again": {"generations": [1]},
    "mutual": {},
    "self_average": {"alpha": [0.5, 0.9]},
    "early_stopped": {"share": [0.6, 0.8]},
    "stage_wise": {"share": [0.25, 0.1]},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=None, help="without it, on noise, to try it out")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/tuned"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("--methods", default=",".join(GRIDS))
    parser.add_argument("--epochs", type=float, default=15)
    parser.add_argument("--choosing_epochs", type=float, default=4)
    parser.add_argument("--teacher_epochs", type=float, default=protocol.TEACHER_EPOCHS)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--few", type=int, default=0, help="images of each part, 0 for all")
    given = parser.parse_args()
    data = protocol.load(given.data_dir, given.few)
    teacher, teacher_accuracy = protocol.train_teacher(data, given.workdir, given.teacher_epochs)
    study = Study(
        protocol.students_of(data),
        protocol.make_student,
        teacher,
        arms=["labels"],
        seeds=given.seeds,
        epochs=given.epochs,
        workdir=given.workdir / "students",
        caches=given.workdir / "caches",
        **protocol.options(),
    )
    parts = given.workdir / "parts"
    parts.mkdir(parents=True, exist_ok=True)
    for name in ["labels", *(n for n in given.methods.split(",") if n and n != "labels")]:
        file = parts / f"{name}.json"
        if not file.exists():
            print(f"{name} …", flush=True)
            known = {"teacher": teacher_accuracy, "epochs": given.epochs}
            entry = {**known, **of_method(study, name, GRIDS.get(name, {}), given.choosing_epochs)}
            write_atomically(file, json.dumps(entry, indent=2) + "\n")
        check_part(file, given.epochs, given.seeds)
        write_tables(parts, given.out)
        print(json.loads(file.read_text(encoding="utf-8")), flush=True)


def check_part(file: pathlib.Path, epochs: float, seeds: int) -> None:
    """Refuses the numbers of a method that were measured with another schedule or other seeds."""
    entry = json.loads(file.read_text(encoding="utf-8"))
    there = entry["epochs"], len(entry["test"])
    if there != (epochs, seeds):
        raise ValueError(
            f"{file} is of {there[0]:g} epochs and {there[1]} seeds, not of {epochs:g} and "
            f"{seeds}: write --epochs={there[0]:g} --seeds={there[1]}, or another --workdir"
        )


def of_method(study: Study, name: str, grid: dict[str, list[Any]], epochs: float) -> dict[str, Any]:
    """Chooses a setting of a method on validation, and measures students of fresh seeds by it."""
    started = time.perf_counter()
    tried: dict[str, float | None] = {}
    arm = Arm(name)
    if math.prod(map(len, grid.values())) > 1:
        mine = study.replace(workdir=study.workdir.parent / "choosing" / name)
        results = try_settings(mine, name, grid, seeds=1, budget={"epochs": epochs})
        arm = results[results.best("validation")].arm
        scores = {setting: float(results.values(setting)[0]) for setting in results.arms}
        tried = {setting: _finite(score) for setting, score in scores.items()}
    else:
        arm = Arm(name, {option: values[0] for option, values in grid.items()})
    chosen = time.perf_counter()
    workdir = study.workdir / file_name(arm.name)
    results = study.replace(arms=[arm], workdir=workdir).run()
    return {
        "method": name,
        "chosen": arm.name,
        "tried": tried,
        "validation": results.values(arm.name, "validation").tolist(),
        "test": results.values(arm.name, "test").tolist(),
        "nll": results[arm.name].test["cross_entropy"].tolist(),
        "seconds": [chosen - started, time.perf_counter() - chosen],
        "training_seconds": [_finite(float(x)) for x in results[arm.name].seconds],
        "versions": f"jax {jax.__version__}",
    }


def write_tables(parts: pathlib.Path, out: pathlib.Path) -> None:
    """Writes the numbers of all methods that are finished, as JSON and as a table."""
    entries = {p.stem: json.loads(p.read_text(encoding="utf-8")) for p in parts.glob("*.json")}
    order = [name for name in ("labels", *GRIDS) if name in entries]
    out.mkdir(parents=True, exist_ok=True)
    ordered = {name: entries[name] for name in order}
    write_atomically(out / "methods_tuned.json", json.dumps(ordered, indent=2) + "\n")
    table = make_table(ordered)
    text = f"# {table.title}\n\n{table.to_markdown()}\n\n{table.caption}\n"
    write_atomically(out / "methods_tuned.md", text)


def make_table(entries: dict[str, Any]) -> Table:
    """Makes the table: the settings that were tried, and what the chosen one is worth."""
    labels = entries["labels"]
    rows: list[list[Any]] = []
    for name, entry in entries.items():
        accuracy, gain = metrics.Spread.of(entry["test"]), ""
        verdict = ""
        if name != "labels":
            finding = compare(name, entry["test"], labels["test"])
            gain = finding.difference
            verdict = {"gain": "better", "none": "no difference shown", "loss": "worse"}[
                finding.kind
            ]
        first, best = _first_and_best(entry["tried"])
        rows.append([entry["chosen"], accuracy, gain, verdict, first, best, _mean(entry)])
    columns: list[Column | str] = ["Chosen setting", Column("Test accuracy", "percent")]
    columns += [Column("Against labels", "points"), "By a 95 % interval"]
    columns += [Column("Defaults, validation", "percent"), Column("Chosen, validation", "percent")]
    columns += [Column("A training", "seconds")]
    count = len(labels["test"])
    caption = (
        f"Fashion-MNIST at 14 × 14 pixels, {protocol.STUDENTS:,} images, "
        f"{labels['epochs']:g} epochs, last epoch, mean ± standard deviation of {count} fresh "
        f"seeds; teacher {protocol.TEACHER} ({100 * labels['teacher']:.2f} %), student "
        f"{protocol.STUDENT}. The columns of validation are of one other seed and a shorter "
        "training, which chose the setting; the test images were evaluated once, after that. An "
        "interval of labels and a method that are equal lies off zero once in twenty times. "
        f"{labels['versions']}."
    )
    return Table("Methods at settings that were found for them", columns, rows, caption)


def _first_and_best(tried: dict[str, float | None]) -> tuple[Any, Any]:
    """The authors' defaults come first in a grid."""
    if not tried:
        return "", ""
    scores = [math.nan if score is None else score for score in tried.values()]
    return scores[0], float(np.nanmax(scores))


def _mean(entry: dict[str, Any]) -> float:
    known = [x for x in entry["training_seconds"] if x is not None]
    return float(np.mean(known)) if known else math.nan


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


if __name__ == "__main__":
    main()
