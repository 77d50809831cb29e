"""`Study.tune` on Fashion-MNIST with 1,000 labels: what it finds, its worth and its cost.

  python benchmarks/tuning.py --data_dir=data [--workdir runs/tuning]

The student, a perceptron, has 1,000 labeled images, and 1,000 others choose. The teacher, a small
CNN, was trained on the labels of the 58,000 images that are none of these. T × α are tried with
three seeds; the choice, T 4 and α 0.9, and labels alone train five fresh seeds. Then, once, the
students that chose are evaluated on the 10,000 test images, too, for the price of a common mistake:
some test images choose the best setting, and its accuracy on the same images is reported. What is
reported too much is the difference from its accuracy on the other test images, over 2,000 random
choices of the images. Writes `tuning.json` and `tuning.md` beside this file.
"""

import argparse
import functools
import json
import pathlib

import numpy as np

from benchmarks.methods_protocol import mock
from experiments.datasets import fashion_mnist
from experiments.fashion_mnist.config import StudentConfig, TeacherConfig
from experiments.fashion_mnist.run import make_student, make_teacher
from jaxkd._files import write_atomically
from jaxkd.metrics import Spread
from jaxkd.study import Column, Study, Table, Tuning

HERE = pathlib.Path(__file__).parent
LABELED = VALIDATION = 1_000
SIZES = (200, 1_000, 5_000)
RESAMPLINGS = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default=None, help="without it, on noise, to try it out")
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/tuning"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    parser.add_argument("--epochs", type=float, default=40)
    parser.add_argument("--teacher_epochs", type=float, default=4)
    given = parser.parse_args()
    study = make_study(given.data_dir, given.workdir, given.epochs, given.teacher_epochs)
    tuning = study.tune(temperature=[1.0, 2.0, 4.0, 8.0], alpha=[0.1, 0.5, 0.9, 1.0], seeds=3)
    right, labels = tried_on_test(study, tuning)
    document = {
        "chosen": tuning.chosen.name,
        "settings": len(tuning.tried.arms),
        "seconds": tuning.seconds,
        "test": {n: tuning.confirmed.values(n).tolist() for n in tuning.confirmed.arms},
        "against": {n: difference(tuning, n) for n in tuning.confirmed.arms},
        "teacher": tuning.confirmed.teacher["test"]["accuracy"],
        "optimism": {
            size: optimism(right, size, RESAMPLINGS) for size in SIZES if size < len(labels)
        },
        "on_validation": on_validation(tuning, right),
    }
    given.out.mkdir(parents=True, exist_ok=True)
    write_atomically(given.out / "tuning.json", json.dumps(document, indent=2) + "\n")
    tables = [tuning.confirmed.table(), tuning.table(), optimism_table(document)]
    body = "\n\n".join(f"## {table.title}\n\n{table.to_markdown()}" for table in tables)
    text = f"# Tuning with {LABELED:,} labels\n\n{tuning.report().summary}\n\n{body}\n"
    write_atomically(given.out / "tuning.md", text)
    tuning.report("Tuning with 1,000 labels").write_html(given.workdir / "tuning.html")
    print(text)


def make_study(
    data_dir: str | None, workdir: pathlib.Path, epochs: float, teacher_epochs: float
) -> Study:
    """Trains the teacher, and makes the study of the students."""
    if data_dir is None:
        every, test = mock("train", 4000, 28), mock("test", 1000, 28)
    else:
        every, test = (fashion_mnist.load(part, data_dir=data_dir) for part in ("train", "test"))
    chooses = every.select(every.ids[LABELED : LABELED + VALIDATION])
    others = every.select(every.ids[LABELED + VALIDATION :])
    teacher = Study(
        {"train": others, "validation": chooses, "test": test},
        functools.partial(make_teacher, TeacherConfig()),
        arms=["labels"],
        seeds=1,
        epochs=teacher_epochs,
        workdir=workdir / "teacher",
    ).run(test=False)
    return Study(
        {"train": every.select(every.ids[:LABELED]), "validation": chooses, "test": test},
        functools.partial(make_student, StudentConfig()),
        teacher.network(),
        arms=["labels"],
        seeds=5,
        epochs=epochs,
        batch_size=64,
        workdir=workdir / "students",
    )


def difference(tuning: Tuning, other: str) -> dict[str, object]:
    """The chosen setting against another arm on fresh seeds."""
    if other == tuning.chosen.name:
        return {}
    finding = tuning.confirmed.compare(tuning.chosen.name, other)
    return {"text": finding.text, "kind": finding.kind, "interval": finding.interval}


def with_numbers(tuning: Tuning) -> list[str]:
    """The settings that did not diverge: a study of the others would train them again."""
    return [name for name in tuning.tried.arms if name not in tuning.diverged]


def tried_on_test(study: Study, tuning: Tuning) -> tuple[np.ndarray, np.ndarray]:
    """Evaluates all students that chose on the test images, once, after everything was chosen.

    Returns:
      Whether each image is classified right `[settings, seeds, images]`, and the labels.
    """
    finite = with_numbers(tuning)
    again = study.replace(
        arms=[tuning.tried[name].arm for name in finite],
        seeds=tuning.tried.seeds,
        workdir=study.workdir / "tune",
        caches=study.caches.folder,
    )
    results = again.run()
    labels = study.data["test"].labels
    logits = np.stack([results[name].logits["test"] for name in finite])
    return logits.argmax(-1) == labels, labels


def optimism(right: np.ndarray, size: int, times: int, seed: int = 0) -> dict[str, float]:
    """What is reported too much where the images that choose a setting also measure it.

    Args:
      right: whether each image is classified right `[settings, seeds, images]`.
      size: number of images that choose.
      times: number of random choices of the images.
      seed: of these.

    Returns:
      Means over the choices: accuracy of the chosen setting on the images that chose it, and on
      all others; their difference and its standard deviation.
    """
    accuracy = right.mean(1)  # of an image, over the seeds
    count = accuracy.shape[1]
    random = np.random.default_rng(seed)
    seen, unseen = np.empty(times), np.empty(times)
    for number in range(times):
        picked = np.zeros(count, bool)
        picked[random.choice(count, size, replace=False)] = True
        on_picked = accuracy[:, picked].mean(1)
        best = int(on_picked.argmax())
        seen[number], unseen[number] = on_picked[best], accuracy[best, ~picked].mean()
    gap = seen - unseen
    return {
        "reported": float(seen.mean()),
        "on_others": float(unseen.mean()),
        "difference": float(gap.mean()),
        "std": float(gap.std(ddof=1)),
    }


def on_validation(tuning: Tuning, right: np.ndarray) -> dict[str, float]:
    """What validation and test images say of the setting that each of them would choose."""
    names = with_numbers(tuning)
    scores = np.array([tuning.tried.values(name).mean() for name in names])
    test = right.mean((1, 2))
    chosen, best = int(scores.argmax()), int(test.argmax())
    return {
        "chosen_on_validation": float(scores[chosen]),
        "chosen_on_test": float(test[chosen]),
        "best_on_test": float(test[best]),
        "rank_on_test": int((test > test[chosen]).sum()) + 1,
    }


def optimism_table(document: dict[str, object]) -> Table:
    """Makes the table of what is reported too much."""
    rows = []
    for size, row in document["optimism"].items():
        gap = Spread(row["difference"], row["std"], RESAMPLINGS)
        rows.append([f"{int(size):,}", row["reported"], row["on_others"], gap])
    columns = ["Test images that choose", Column("Reported on them", "percent")]
    columns += [Column("The same on other images", "percent")]
    columns += [Column("Too much", "points")]
    caption = (
        f"Best of {document['settings']} settings, three students each; mean over "
        f"{RESAMPLINGS:,} random choices of the images, ± standard deviation of one."
    )
    return Table("Choosing on the test images", columns, rows, caption)


if __name__ == "__main__":
    main()
