"""The step of a student with a teacher's logits from a cache, and the step of plain training."""

import tempfile
from collections.abc import Iterator

import jaxkd
from benchmarks.gpu_parts.results import Goal, Row, attempted
from benchmarks.gpu_parts.sizes import Sizes, linear_teacher, make_images, make_student
from benchmarks.side_by_side import interleaved, timed_steps
from benchmarks.step import prepared
from jaxkd import recipes
from jaxkd.data import Loader
from jaxkd.views import Normalize, Views

VIEWS = Views((Normalize(),))


def make_loaders(sizes: Sizes) -> tuple[Loader, Loader]:
    """Batches without and with the logits of a cache."""
    data = make_images(sizes, sizes.batch_size * sizes.steps)
    teacher = linear_teacher(sizes)
    cache = jaxkd.cache.build(tempfile.mkdtemp(), teacher, data, VIEWS, progress=False)
    plain = Loader(data, VIEWS, sizes.batch_size, num_views=1)
    return plain, Loader(data, VIEWS, sizes.batch_size, cache=cache)


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row a student."""
    plain, cached = make_loaders(sizes)

    def measure(name: str) -> Row:
        student = make_student(name, sizes)
        objectives = ((recipes.labels(), plain), (recipes.kd(), cached))
        # Each with the images rendered in the step; labels alone, and the teacher's logits too.
        runs = [
            timed_steps(*prepared(student, objective, loader, sizes.steps))
            for objective, loader in objectives
        ]
        times = interleaved(*runs, sizes.pairs, until=until)
        low, high = times.spread
        images = sizes.batch_size * sizes.steps
        numbers = {
            "Plain, ms a step": 1e3 * times.medians[0] / sizes.steps,
            "Cached, ms a step": 1e3 * times.medians[1] / sizes.steps,
            "Cached, images/s": images / times.medians[1],
            "Cached over plain": times.ratio,
            "10th percentile": low,
            "90th percentile": high,
        }
        return Row(name, numbers, (Goal("cached over plain", times.ratio, 1.05),))

    for name in sizes.students:
        yield attempted(name, lambda name=name: measure(name))
