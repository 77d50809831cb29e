"""Costs of a comparison: of its networks, calibration of its teachers, and what the cache saved."""

import jax
import numpy as np

from experiments.common.comparison import CACHED, POOL, ComparisonResults
from experiments.common.report import Row
from jaxkd import compression, metrics
from jaxkd.data import raw_batch
from jaxkd.metrics import Spread
from jaxkd.study import (
    Arm,
    Column,
    Format,
    Section,
    Table,
    reliability_diagram,
    size_accuracy_scatter,
)
from jaxkd.study._wording import counted

_LATENCY_BATCH = 128


def networks_section(compared: ComparisonResults) -> Section:
    """Reports accuracy, parameters, FLOPs, bytes and latency of teacher and student."""
    test, views = compared.study.data["test"], compared.study.eval_views
    ids = test.ids[:_LATENCY_BATCH]
    inputs = views.render(raw_batch(test, views, ids, np.zeros(len(ids), np.int32)))["inputs"]
    networks = {"teacher": compared.teacher, "student": compared.student}
    costs = {name: compression.measure_cost(each, inputs) for name, each in networks.items()}
    accuracy: dict[str, Spread | float] = {
        "teacher": metrics.accuracy(compared.teacher_logits, compared.labels),
        "student": Spread.of(compared.long.values(CACHED)),
    }
    rows: list[Row] = [
        [
            f"{name}: {networks[name].name}",
            accuracy[name],
            cost.parameters,
            cost.flops,
            cost.parameter_bytes,
            cost.latency_s,
            f"{cost.single.p10_s * 1e6:,.0f} to {cost.single.p90_s * 1e6:,.0f}",
            round(cost.throughput),
        ]
        for name, cost in costs.items()
    ]
    device = f"{jax.device_count()} × {jax.devices()[0].device_kind}"
    table = Table(
        "Networks",
        [
            "Network",
            Column("Accuracy", "percent"),
            Column("Parameters", "count"),
            Column("Forward pass", Format(",.1f", 1e-3, "kFLOPs")),
            Column("Weights", "kilobytes"),
            Column("Latency of one", "microseconds"),
            "10th to 90th percentile (µs)",
            Column("Examples a second", "count"),
        ],
        rows,
        f"The student after the long schedule, distilled. Latency: median of single calls; "
        f"examples a second: batches of {len(inputs)}; both on this machine ({device}). A "
        "multiply-add counts as two FLOPs.",
    )
    figure = size_accuracy_scatter(
        {name: (costs[name].parameters, accuracy[name]) for name in costs},
        caption="Accuracy against size.",
    )
    ratio = costs["teacher"].flops / costs["student"].flops
    text = f"""The teacher needs {ratio:.1f} times the FLOPs of the student. A single call of a very
        small network is mostly the cost of calling it, so read the throughput beside the latency:
        in batches the student processes
        {costs["student"].throughput / costs["teacher"].throughput:.1f} times as many examples a
        second."""
    return Section("What the networks cost", text, [], [table], [figure])


def teacher_section(compared: ComparisonResults) -> Section:
    """Reports confidence and calibration."""
    labels, logits = compared.labels, compared.teacher_logits
    networks = {
        "teacher": logits[None],
        "teacher of few labels (control)": compared.control_logits[None],
        "student of the pool, cached": compared.few[POOL].logits["test"],
    }
    rows: list[Row] = [
        [
            name,
            Spread.of([metrics.accuracy(x, labels) for x in each]),
            Spread.of([metrics.confidence(x) for x in each]),
            Spread.of([metrics.expected_calibration_error(x, labels) for x in each]),
        ]
        for name, each in networks.items()
    ]
    table = Table(
        "Confidence and calibration",
        [
            "Network",
            Column("Accuracy", "percent"),
            Column("Mean confidence", "percent"),
            Column("ECE", "percent"),
        ],
        rows,
        compared.caption,
    )
    text = """A teacher that is always sure tells no more than labels do; the temperature softens
        it. Confidence is the probability of the predicted class; the expected calibration error
        (ECE) is its mean distance from the accuracy, over 15 bins."""
    reliability = metrics.reliability(logits, labels)
    figure = reliability_diagram(reliability, caption="The teacher on test examples.")
    return Section("How sure the teacher is", text, [], [table], [figure])


def cache_section(compared: ComparisonResults) -> Section:
    """Reports bytes, seconds, and the forward passes that were not needed."""
    cache, config = compared.cache, compared.config
    online, cached = compared.short["distilled online"], compared.short[CACHED]
    read = config.batch_size * sum(
        results[name].steps * len(results.seeds)
        for results in (compared.short, compared.long, compared.few)
        for name in (CACHED, POOL, "distilled on the same labels")
        if name in results.arms and _reads(compared, results[name].arm)
    )
    computed = round(cache.build_cost["records"])
    apart = float(np.abs(online.logits["test"] - cached.logits["test"]).max())
    accuracies = [results.validation["accuracy"] for results in (online, cached)]
    difference = np.abs(np.subtract(*accuracies))
    rows: list[Row] = [
        ["outputs computed", f"{computed:,}"],
        ["outputs read by students", f"{read:,}"],
        ["forward passes of the teacher saved", f"{read - computed:,}"],
        ["bytes per output", f"{cache.bytes_per_record} ({cache.codecs['logits']})"],
        ["bytes in all", f"{cache.bytes:,}"],
        ["seconds to build, first compilation included", f"{cache.build_cost['seconds']:.1f}"],
        ["seconds of a short run, online teacher", _seconds(online.seconds)],
        ["seconds of a short run, cached", _seconds(cached.seconds)],
        ["largest difference of test logits, online and cached students", f"{apart:.2g}"],
        ["largest difference of their accuracies (points)", f"{100 * difference.max():.2f}"],
    ]
    text = """The teacher's outputs were computed once; all students read them. The cached
        student sees the very views that the online teacher would have seen, so the two
        differ by the rounding of the codec and of the arithmetic alone."""
    table = Table(
        "The cache",
        ["Quantity", "Value"],
        rows,
        f"{counted(cache.num_views, 'view')} of each example. Seconds of a run: compilation, "
        "evaluation and checkpoints included.",
    )
    return Section("What the cache cost and saved", text, [], [table])


def _reads(compared: ComparisonResults, arm: Arm) -> bool:
    """Whether an arm reads the cache of all examples; where views mix, a selection has its own."""
    return not (compared.study.views.mixes and arm.data == "few")


def _seconds(values: np.ndarray) -> str:
    """Returns the mean and spread of the seconds of runs that were not interrupted."""
    whole = values[~np.isnan(values)]
    return f"{Spread.of(whole)}" if whole.size else "–"
