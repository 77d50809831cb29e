"""A network's step, eight of them in a loop, and a population: rows, tables and conclusions."""

import argparse
import contextlib
import importlib.util
import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.convolution_parts.cases import CASES, Case, random_batch
from benchmarks.convolution_parts.steps import COUNT, SGD, Runner, both, compared
from benchmarks.population import convnet
from benchmarks.side_by_side import Pairs
from jaxkd import recipes
from jaxkd.ops import xla_convolutions
from jaxkd.study import Column, Table
from jaxkd.training import Population

# Of eight steps in a loop, and of eight students of a population, over one.
LOOP_GOAL, POPULATION_GOAL = 8.5, 8.0
# Seconds: where a step with XLA's own convolutions takes longer, its loop is left out.
LONGEST_LOOPED = 0.2
POPULATION = "population of convnets"


def measured(
    chosen: Callable[[str], bool], arguments: argparse.Namespace, machine: str
) -> tuple[list[Table], list[str]]:
    """Measures networks.

    Args:
      chosen: whether what has this name is wanted.
      arguments: of the command line.
      machine: for the captions.

    Returns:
      The tables, and what misses its goal in words.
    """
    with_torch = importlib.util.find_spec("torch") is not None
    steps: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    for case in filter(lambda case: chosen(case.name), CASES):
        step, loop = _measure(case, arguments, with_torch)
        steps.append(step)
        loops.append(loop)
        print(step, loop, file=sys.stderr, flush=True)
    if chosen(POPULATION):
        loops.append(_population(arguments))
    tables = [
        *([_steps_table(steps, arguments, machine, with_torch)] if steps else []),
        *([_loops_table(loops, arguments, machine)] if loops else []),
    ]
    return tables, _conclusions(steps, loops)


def _measure(
    case: Case, arguments: argparse.Namespace, with_torch: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """A network's row in both tables, by column."""
    student, batch = case.student(), case.batch(arguments.batch_size)
    if with_torch:
        from benchmarks.convolution_parts import torch_steps

        twin, student = torch_steps.twin_of(case, student, batch)
    ours, plain = both(student, batch)
    to_xla = compared(ours.one, plain.one, max(ours.seconds, plain.seconds), arguments)
    own = to_xla.seconds[:, 0]
    step = {"Network": case.name, "XLA's": to_xla.medians[1], "XLA's / ours": to_xla.ratio}
    step["XLA's, percentiles"] = _spread(to_xla)
    if with_torch:
        to_torch, step["Layout"] = torch_steps.against(twin, batch, ours, arguments)
        own = np.append(own, to_torch.seconds[:, 0])
        step |= {"PyTorch": to_torch.medians[1], "PyTorch / ours": to_torch.ratio}
        step["PyTorch, percentiles"] = _spread(to_torch)
    step["Ours"] = float(np.median(own))
    xla = math.nan
    if plain.seconds < LONGEST_LOOPED:
        xla = _in_loop(plain, arguments).ratio * COUNT
    looped = _in_loop(ours, arguments)
    return step, _eight(f"{case.name}, {COUNT} steps in a loop", looped, LOOP_GOAL, xla)


def _in_loop(runner: Runner, arguments: argparse.Namespace) -> Pairs:
    """A step of a loop against a step of its own."""
    loop = runner.loop()
    longest = loop() / COUNT
    return compared(runner.one, lambda: loop() / COUNT, longest, arguments)


def _population(arguments: argparse.Namespace) -> dict[str, Any]:
    """The row of eight students that train together, against one."""
    student = convnet(0)
    batch = random_batch(arguments.batch_size, 28, 1, 10)
    temperatures = {"temperature": np.linspace(1.0, 8.0, COUNT).tolist()}
    found = []
    contexts = (contextlib.nullcontext, xla_convolutions)
    for one, context in zip(both(student, batch), contexts, strict=True):
        population = Population(convnet, recipes.kd, SGD, temperatures)
        together = Runner(population.step, population.init, batch, context)
        found.append(compared(one.one, together.one, together.seconds, arguments))
    what = f"ConvNet of 8, 16, 16 channels, a population of {COUNT}"
    return _eight(what, found[0], POPULATION_GOAL, found[1].ratio, each=1)


def _eight(what: str, pairs: Pairs, goal: float, xla: float, each: int = COUNT) -> dict[str, Any]:
    """A row of the second table; `each` is what the ratios of the pairs are multiplied by."""
    low, high = (each * ratio for ratio in pairs.spread)
    return {
        "What": what,
        "Over one step": each * pairs.ratio,
        "Percentiles": f"{low:.2f} to {high:.2f}",
        "Goal": goal,
        "With XLA's": xla,
    }


def _spread(pairs: Pairs) -> str:
    return "{:.2f} to {:.2f}".format(*pairs.spread)


def _steps_table(
    rows: list[dict[str, Any]], arguments: argparse.Namespace, machine: str, with_torch: bool
) -> Table:
    def times(name: str) -> Column:
        return Column(name, lambda x: f"{x:.2f}")

    percentiles = "10th to 90th percentile"
    columns: dict[str, Column | str] = {
        "Network": "Network",
        "Ours": Column("Ours", "milliseconds"),
        "XLA's": Column("XLA's convolutions", "milliseconds"),
        "XLA's / ours": times("XLA's / ours"),
        "XLA's, percentiles": percentiles,
    }
    torch_columns: dict[str, Column | str] = {
        "PyTorch": Column("PyTorch", "milliseconds"),
        "Layout": "Its layout",
        "PyTorch / ours": times("PyTorch / ours"),
        "PyTorch, percentiles": percentiles,
    }
    columns |= torch_columns if with_torch else {}
    note = "" if with_torch else " PyTorch is not installed."
    return Table(
        "A training step",
        list(columns.values()),
        [[row[name] for name in columns] for row in rows],
        f"Distillation from cached logits, SGD with momentum, batch {arguments.batch_size}, "
        f"float32. Medians of at most {arguments.repetitions} repetitions, side by side. "
        f"{machine}.{note}",
    )


def _loops_table(rows: list[dict[str, Any]], arguments: argparse.Namespace, machine: str) -> Table:
    def times(name: str) -> Column:
        return Column(name, lambda x: f"{x:.2f}")

    columns = [
        "What",
        times("Over one step"),
        "10th to 90th percentile",
        Column("At most", lambda x: f"{x:.1f}"),
        times("With XLA's convolutions"),
    ]
    return Table(
        "Eight against one",
        columns,
        [list(row.values()) for row in rows],
        f"Batch {arguments.batch_size}; XLA's own convolutions in loops where a step takes less "
        f"than {1e3 * LONGEST_LOOPED:.0f} ms. {machine}.",
    )


def _conclusions(steps: list[dict[str, Any]], loops: list[dict[str, Any]]) -> list[str]:
    """What misses its goal, in words."""
    lines = []
    if steps and "PyTorch / ours" in steps[0]:
        ratios = {row["Network"]: row["PyTorch / ours"] for row in steps}
        slower = [f"{name} ({ratio:.2f})" for name, ratio in ratios.items() if ratio < 1]
        lines.append(f"Slower than PyTorch (its time over ours): {', '.join(slower) or 'none'}.")
    if loops:
        over = [row for row in loops if row["Over one step"] > row["Goal"]]
        names = [f"{row['What']} ({row['Over one step']:.2f})" for row in over]
        lines.append(f"Above the bound for eight against one: {'; '.join(names) or 'none'}.")
    return lines
