"""Fused losses against all logits in JAX, in PyTorch, and Liger's kernels: time and memory."""

import functools
import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import fused
from benchmarks.gpu_parts.results import Goal, Row, attempted, not_installed
from benchmarks.gpu_parts.sizes import Sizes
from jaxkd import losses

# Of the Jensen-Shannon divergences, which are rounded in bfloat16 in different places.
VALUES_APART = 2e-2
JSD = "JSD, teacher's hidden states and head"


def run(sizes: Sizes, until: float) -> Iterator[Row]:
    """One row a form: value and both gradients in bfloat16.

    The Jensen-Shannon divergence to a teacher of hidden states and head, which Liger has as well,
    in four forms that must agree in value; `kd` with dense and with top-64 teachers in two.
    PyTorch goes first: JAX does not return its memory to the device, PyTorch does.
    """
    del until  # six calls of each form
    hidden = _make((sizes.tokens, sizes.width), 0)
    head = _make((sizes.width, sizes.vocabulary), 1, scale=sizes.width**-0.5)
    other = _make((sizes.tokens, sizes.teacher_width), 2)
    other_head = _make((sizes.teacher_width, sizes.vocabulary), 3, scale=sizes.teacher_width**-0.5)
    given = (hidden, head, (other, other_head))
    found: dict[str, Row] = {}
    for name, measure in _torch_forms(given).items():
        found[name] = row = attempted(name, measure)
        yield row
    for name, form in {"all logits": _all_logits, "fused": _fused}.items():
        case = f"{JSD}: {name}, jaxkd" if name == "fused" else f"{JSD}: {name}, JAX"
        row = attempted(case, lambda case=case, form=form: _row(case, form, given))
        found[name] = row
        yield _with_goals(row, found) if name == "fused" else row
    del hidden, head, other, other_head, given
    for target in sizes.targets:
        # Classes are sampled distinct in each row, so there must be as many as are sampled.
        given = fused.arrays(_any, target, sizes.tokens, sizes.width, sizes.vocabulary)
        forms = {
            "all logits, JAX": fused.naive,
            "fused, jaxkd": functools.partial(fused.fused, None),
        }
        first: Row | None = None
        for name, form in forms.items():
            case = f"kd, {target} teacher: {name}"
            row = attempted(case, lambda case=case, form=form, g=given: _row(case, form, g))
            if first and "Memory, GB" in row.numbers and "Memory, GB" in first.numbers:
                ratio = row.numbers["Memory, GB"] / first.numbers["Memory, GB"]
                row.numbers["Memory over all logits"] = ratio
                row.numbers["Time over all logits"] = row.numbers["ms"] / first.numbers["ms"]
            first = first or row
            yield row


def _all_logits(hidden: jax.Array, head: jax.Array, teacher: Any) -> jax.Array:
    return losses.masked_mean(losses.js_divergence(hidden @ head, teacher[0] @ teacher[1]))


def _fused(hidden: jax.Array, head: jax.Array, teacher: Any) -> jax.Array:
    total, count = losses.fused_linear(losses.js_divergence)((hidden, head), teacher)
    return total / count


def _row(case: str, form: Callable[..., jax.Array], given: Any) -> Row:
    program = jax.jit(jax.value_and_grad(form, (0, 1))).lower(*given).compile()
    value = float(program(*given)[0])
    seconds = fused.best(lambda: jax.block_until_ready(program(*given)))
    analysis = program.memory_analysis()
    # Of PyTorch the peak is known, with the gradients; so these are counted here as well.
    memory = analysis.temp_size_in_bytes + analysis.output_size_in_bytes
    return Row(case, {"ms": 1e3 * seconds, "Memory, GB": memory / 1e9, "Value": value})


def _with_goals(row: Row, found: dict[str, Row]) -> Row:
    """The fused form's row with its ratios to all others; values must agree."""
    if row.failed:
        return row
    numbers, goals = dict(row.numbers), []
    for name, other in found.items():
        if not other.numbers or other is row:
            continue
        apart = abs(numbers["Value"] - other.numbers["Value"]) / abs(other.numbers["Value"])
        if not apart < VALUES_APART:
            return Row(row.case, numbers, note=f"{name} has another value", failed=True)
        for unit, what in {"ms": "time", "Memory, GB": "memory"}.items():
            if unit in other.numbers:
                goals.append(Goal(f"{what} over {name}", numbers[unit] / other.numbers[unit], 1.0))
    return Row(row.case, numbers, tuple(goals))


def _torch_forms(given: Any) -> dict[str, Callable[[], Row]]:
    """Measurements of PyTorch and Liger by name; rows with a note where one is missing."""
    if row := not_installed(f"{JSD}: PyTorch", "torch"):
        return {"PyTorch": lambda: row}
    import torch

    gpu = jax.default_backend() == "gpu"
    if gpu and not torch.cuda.is_available():
        note = f"PyTorch {torch.__version__} sees no GPU"
        return {"PyTorch": lambda: Row(f"{JSD}: PyTorch", note=note, failed=True)}
    device = "cuda" if gpu else "cpu"

    # The same values; PyTorch's heads are [classes, width].
    arrays = given[0], given[1].T, given[2][0], given[2][1].T
    hidden, head, *teacher = (torch.from_dlpack(jnp.copy(array)).clone() for array in arrays)
    hidden.requires_grad_()
    head.requires_grad_()

    def all_logits(hidden: Any, head: Any, other: Any, other_head: Any) -> Any:
        q = torch.log_softmax((hidden @ head.T).float(), -1)
        with torch.no_grad():
            p = torch.log_softmax((other @ other_head.T).float(), -1)
        middle = torch.logaddexp(p, q) - float(np.log(2))
        kl = functools.partial(torch.nn.functional.kl_div, middle, reduction="sum", log_target=True)
        return (kl(p) + kl(q)) / 2 / len(hidden)

    def measured(name: str, form: Callable[..., Any]) -> Row:
        value = 0.0

        def once() -> None:
            nonlocal value
            hidden.grad = head.grad = None
            loss = form(hidden, head, *teacher)
            loss.backward()
            value = loss.detach()
            if device == "cuda":
                torch.cuda.synchronize()

        try:
            once()  # compiles and tunes, which takes memory of its own
            hidden.grad = head.grad = None
            numbers = {}
            if device == "cuda":
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                once()
                numbers["Memory, GB"] = (torch.cuda.max_memory_allocated() - before) / 1e9
            numbers = {"ms": 1e3 * fused.best(once), **numbers, "Value": float(value)}
        finally:
            hidden.grad = head.grad = None
            if device == "cuda":
                torch.cuda.empty_cache()
        return Row(f"{JSD}: {name}", numbers)

    forms: dict[str, Callable[[], Row]] = {
        "PyTorch": lambda: measured("all logits, PyTorch", all_logits)
    }
    if device == "cuda":
        forms["PyTorch compiled"] = lambda: measured(
            "all logits, PyTorch compiled", torch.compile(all_logits)
        )
    if missing := not_installed(f"{JSD}: Liger", "liger-kernel"):
        forms["Liger"] = lambda: missing
    elif device == "cpu" or importlib.util.find_spec("triton") is None:
        forms["Liger"] = lambda: Row(f"{JSD}: Liger", note="Liger's kernels need a GPU and triton")
    else:
        from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD

        liger = LigerFusedLinearJSD(jsd_beta=0.5, temperature=1.0)
        forms["Liger"] = lambda: measured("fused, Liger", lambda *given: liger(*given, None))
    return forms


def _make(shape: tuple[int, ...], seed: int, *, scale: float = 1.0) -> jax.Array:
    return scale * jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)


def _any(shape: tuple[int, ...], dtype: Any, limit: int | None = None) -> jax.Array:
    """What `fused.arrays` takes, made on the device."""
    key = jax.random.key(len(shape) + shape[-1])
    if limit is None:
        return jax.random.normal(key, shape, dtype)
    offsets = jax.random.randint(key, (*shape[:-1], 1), 0, limit)
    return ((offsets + jnp.arange(shape[-1])) % limit).astype(dtype)
