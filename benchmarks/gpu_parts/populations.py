"""A population of students against one of them."""

from collections.abc import Iterator

import jax
import numpy as np

from benchmarks import population
from benchmarks.gpu_parts.results import Goal, Row, attempted
from benchmarks.gpu_parts.sizes import Sizes
from benchmarks.side_by_side import interleaved, timed_steps
from jaxkd import make_train_step, recipes
from jaxkd.training import Population


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row a kind of student; all steps of a timed run are one compiled loop."""
    loader = population.make_loader(sizes.batch_size, sizes.batch_size * sizes.population_steps)
    batches = jax.device_put([loader[index] for index in range(sizes.population_steps)])

    def measure(name: str) -> Row:
        make_student = getattr(population, name)
        student, objective = make_student(0), recipes.kd()
        step = make_train_step(student, objective, population.ADAM, views=population.VIEWS)
        state = step.init()
        temperatures = {"temperature": np.linspace(1.0, 8.0, sizes.members).tolist()}
        many = Population(
            make_student, recipes.kd, population.ADAM, temperatures, views=population.VIEWS
        )
        times = interleaved(
            timed_steps(step, state, batches, looped=True),
            timed_steps(many.step, many.init(), batches, looped=True),
            sizes.pairs,
            until=until,
        )
        numbers = {
            "One, µs a step": 1e6 * times.medians[0] / sizes.population_steps,
            f"{sizes.members}, µs a step": 1e6 * times.medians[1] / sizes.population_steps,
            "Population over one": times.ratio,
        }
        goal = Goal(f"{sizes.members} students over one", times.ratio, 4.0)
        return Row(f"{name}, {sizes.members} members", numbers, (goal,))

    for name in sizes.population_students:
        yield attempted(name, lambda name=name: measure(name))
