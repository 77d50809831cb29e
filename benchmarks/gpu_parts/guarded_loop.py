"""Training under JAX's transfer guard: copies that were not requested, and compilations."""

from collections.abc import Iterator

import jax

from benchmarks.gpu_parts.cached_steps import make_loaders
from benchmarks.gpu_parts.results import Goal, Row, attempted
from benchmarks.gpu_parts.sizes import Sizes, make_student
from benchmarks.step import prepared
from jaxkd import recipes
from jaxkd.training import fit

COMPILATION = "/jax/core/compile/backend_compile_duration"


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """The step on batches that were put on the device, and the whole loop of `fit`."""
    del until  # a fixed number of steps
    name = sizes.students[0]
    loader = make_loaders(sizes)[1]
    compiled: list[str] = []

    def listen(event: str, duration: float, **_: object) -> None:
        del duration
        if event == COMPILATION:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    student = make_student(name, sizes)
    step, first, batches = prepared(student, recipes.kd(), loader, 1)

    def by_hand() -> Row:
        state, _ = step(first, batches[0])  # compiles
        jax.block_until_ready(state)
        compiled.clear()
        copies = 0
        for index in range(1, sizes.guarded + 1):
            batch = jax.device_put(loader[index])
            try:
                with jax.transfer_guard("disallow"):
                    state, metrics = step(state, batch)
            except jax.errors.JaxRuntimeError as error:
                if "transfer" not in str(error):
                    raise
                copies += 1
                state, metrics = step(state, batch)
        return _row(f"{name}, step by step", copies, len(compiled), float(metrics["loss"]))

    def whole_loop() -> Row:
        state = prepared(student, recipes.kd(), loader, 1)[1]
        options = {"log_every": 2, "steps_per_call": 1, "progress": None}
        state = fit(step, state, loader, steps=4, **options).state  # compiles
        compiled.clear()
        # Batches come from the host by nature; nothing may go back to it but the logged means.
        with jax.transfer_guard_device_to_host("disallow"):
            fitted = fit(step, state, loader, steps=4 + sizes.guarded, **options)
        return _row(f"{name}, fit", 0, len(compiled), float(fitted.train[-1]["loss"]))

    yield attempted("step by step", by_hand)
    yield attempted("fit", whole_loop)
    jax.monitoring.unregister_event_duration_listener(listen)


def _row(case: str, copies: int, compilations: int, loss: float) -> Row:
    numbers = {
        "Implicit transfers": float(copies),
        "Compilations after the first step": float(compilations),
        "Last loss": loss,
    }
    goals = (
        Goal("implicit transfers", copies, 0),
        Goal("compilations after the first step", compilations, 0),
    )
    return Row(case, numbers, goals)
