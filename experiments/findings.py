"""The report of a comparison: tables, pictures and what they show, gain or not."""

import pathlib
from collections.abc import Sequence

import numpy as np

import jaxkd
from experiments.comparison import Compared
from experiments.study import Result
from jaxkd import Network, compression, reporting
from jaxkd.data import raw_batch
from jaxkd.reporting import Column, Finding, Format, Report, Section, Spread, Table, compare
from jaxkd.targets import bytes_per_record

_LATENCY_BATCH = 128


def write(compared: Compared, workdir: pathlib.Path, title: str) -> Report:
    """Writes `report.html` and one CSV file a table; returns the report."""
    sections = [
        _few_labels(compared),
        _left_out(compared),
        _schedules(compared),
        _networks(compared),
        _teacher(compared),
        _cache(compared),
    ]
    report = Report(title=title, summary=_summary(compared), sections=sections)
    report.write_html(workdir / "report.html")
    for section in sections:
        for table in section.tables:
            name = "".join(c if c.isalnum() else "_" for c in table.title.lower())
            table.write_csv(workdir / f"{name}.csv")
        for index, figure in enumerate(section.figures):
            name = "".join(c if c.isalnum() else "_" for c in section.title.lower())
            figure.write(workdir / f"{name}_{index}.{figure.file_format}")
    return report


def _labels(compared: Compared) -> np.ndarray:
    return compared.study.test.labels


def _accuracies(compared: Compared, results: Sequence[Result]) -> dict[str, np.ndarray]:
    return {r.arm.name: r.accuracies(_labels(compared)) for r in results}


def _seeds(compared: Compared) -> str:
    count = len(compared.study.seeds)
    return f"Mean ± standard deviation of {count} students (seeds), one teacher, last step."


def _table(compared: Compared, title: str, results: Sequence[Result]) -> Table:
    labels, teacher = _labels(compared), compared.teacher_logits
    baseline = results[0].accuracies(labels)
    rows = []
    for result in results:
        each = result.logits
        accuracy = result.accuracies(labels)
        rows.append(
            [
                result.arm.name,
                int((result.arm.train.labels >= 0).sum())
                if "label" in result.arm.objective.terms
                else 0,
                len(result.arm.train),
                Spread.of(accuracy),
                Spread.of(accuracy - baseline) if result is not results[0] else "",
                Spread.of([reporting.agreement(x, teacher) for x in each]),
                Spread.of([reporting.negative_log_likelihood(x, labels) for x in each]),
                Spread.of([reporting.expected_calibration_error(x, labels) for x in each]),
            ]
        )
    columns = [
        "Student",
        Column("Labels", "count"),
        Column("Examples", "count"),
        Column("Accuracy", "percent"),
        Column("Against labels", "points"),
        Column("Agrees with teacher", "percent"),
        Column("NLL", "decimal"),
        Column("ECE", "decimal"),
    ]
    return Table(title, columns, rows, _seeds(compared))


def _curves(compared: Compared, results: Sequence[Result], caption: str) -> reporting.Figure:
    return reporting.learning_curves(
        {r.arm.name: (r.curve_steps, r.curve) for r in results}, caption=caption
    )


def _few_labels(compared: Compared) -> Section:
    results = compared.few
    accuracy = _accuracies(compared, results)
    pool = accuracy["distilled on the pool, cached"]
    control = accuracy["control: teacher of few labels"]
    count = len(results[0].arm.train)
    findings = [
        compare("Distilling on the unlabelled pool", pool, accuracy["labels"]),
        compare(
            "Distilling on the labelled examples alone",
            accuracy["distilled on the same labels"],
            accuracy["labels"],
        ),
        compare("The pool, with a teacher that had no more labels", control, accuracy["labels"]),
    ]
    teacher = reporting.accuracy(compared.teacher_logits, _labels(compared))
    own = reporting.accuracy(compared.control_logits, _labels(compared))
    text = f"""The student may use {count:,} labels; the other {len(compared.train) - count:,}
        training examples have none. The teacher ({teacher:.1%}) was trained on all labels, so its
        answers on the pool carry what the student's labels do not. The control's teacher
        ({own:.1%}) was trained on the same {count:,} labels: what it gives comes from the
        unlabelled examples alone. All arms make the same number of steps."""
    bars = {name: Spread.of(values) for name, values in accuracy.items()}
    return Section(
        "Few labels and a large unlabelled pool",
        text,
        findings,
        [_table(compared, "Few labels", results)],
        [
            reporting.accuracy_bars(
                bars, teacher=teacher, caption="Test accuracy with few labels, by arm."
            ),
            _curves(compared, results, "Test accuracy during training with few labels."),
        ],
    )


def _left_out(compared: Compared) -> Section:
    plain, distilled = compared.left_out
    labels, left_out = _labels(compared), compared.config.left_out_class
    share = 1 / compared.train.num_classes
    corrected = np.stack([_raise_class(x, left_out, share) for x in distilled.logits])
    arms = {
        "labels": plain.logits,
        "distilled": distilled.logits,
        "distilled, bias corrected": corrected,
    }
    by_class = {
        name: np.stack([reporting.class_accuracy(x, labels) for x in logits])
        for name, logits in arms.items()
    }
    names = compared.train.class_names or tuple(map(str, range(compared.train.num_classes)))
    rows = [
        [
            name,
            Spread.of(by_class[name][:, left_out]),
            Spread.of([reporting.accuracy(x, labels) for x in logits]),
        ]
        for name, logits in arms.items()
    ]
    text = f"""No example of the class “{names[left_out]}” was in the transfer set, and the
        distilled student saw no label at all; what it knows of that class it has from the small
        probabilities that the teacher gave it on other classes (Hinton, Vinyals, Dean, 2015). Its
        bias for a class that never came first is too low; the last row raises it until the class
        is predicted as often as its prior says, 1 in {compared.train.num_classes}, on the test
        images, without their labels."""
    columns = [
        "Student",
        Column("Accuracy on the unseen class", "percent"),
        Column("Accuracy on all classes", "percent"),
    ]
    finding = compare(
        "On the class that no student saw, distillation",
        by_class["distilled"][:, left_out],
        by_class["labels"][:, left_out],
    )
    figure = reporting.class_accuracy_bars(
        by_class, names, left_out=names[left_out], caption="Test accuracy by class."
    )
    table = Table("A class left out", columns, rows, _seeds(compared))
    return Section("A class that the student never saw", text, [finding], [table], [figure])


def _raise_class(logits: np.ndarray, index: int, share: float) -> np.ndarray:
    """Adds to one class's logit what makes it the prediction for a given share of examples."""
    others = np.delete(logits, index, axis=-1).max(-1)
    raised = logits.copy()
    raised[:, index] += np.quantile(others - logits[:, index], share)
    return raised


def _schedules(compared: Compared) -> Section:
    findings = []
    for epochs, results in _schedule_regimes(compared):
        accuracy = _accuracies(compared, results)
        for rival in ("labels", "label smoothing"):
            findings.append(
                compare(
                    f"With all labels and {epochs} epochs, distillation against {rival}",
                    accuracy["distilled from the cache"],
                    accuracy[rival],
                )
            )
    text = """With all labels the student has the truth for every example, and a teacher has little
        to add; label smoothing, which needs none, is its rival here. All arms use the same
        learning rate and schedule."""
    return Section(
        "All labels, short and long",
        text,
        findings,
        [
            _table(compared, f"All labels, {epochs} epochs", results)
            for epochs, results in _schedule_regimes(compared)
        ],
        [
            _curves(compared, results, f"Test accuracy during {epochs} epochs with all labels.")
            for epochs, results in _schedule_regimes(compared)
        ],
    )


def _schedule_regimes(compared: Compared) -> list[tuple[int, list[Result]]]:
    config = compared.config
    return [(config.short_epochs, compared.short), (config.long_epochs, compared.long)]


def _networks(compared: Compared) -> Section:
    test = compared.study.test
    inputs = compared.study.test_views.render(
        raw_batch(
            test,
            compared.study.test_views,
            test.ids[:_LATENCY_BATCH],
            np.zeros(len(test.ids[:_LATENCY_BATCH]), np.int32),
        )
    )["inputs"]
    accuracy: dict[str, Spread | float] = {
        "teacher": reporting.accuracy(compared.teacher_logits, _labels(compared)),
        "student": Spread.of(compared.long[-1].accuracies(_labels(compared))),
    }
    costs = {
        "teacher": compression.measure(compared.teacher, inputs),
        "student": compression.measure(compared.student, inputs),
    }
    rows = [
        [
            f"{name}: {network.name}",
            accuracy[name],
            costs[name].parameters,
            costs[name].flops,
            costs[name].parameter_bytes,
            costs[name].latency_s,
            f"{costs[name].single.p10_s * 1e6:,.0f} to {costs[name].single.p90_s * 1e6:,.0f}",
            round(costs[name].throughput),
        ]
        for name, network in _both(compared).items()
    ]
    columns = [
        "Network",
        Column("Accuracy", "percent"),
        Column("Parameters", "count"),
        Column("Forward pass", Format(",.1f", 1e-3, "kFLOPs")),
        Column("Weights", "kilobytes"),
        Column("Latency of one", "microseconds"),
        "10th to 90th percentile (µs)",
        Column("Examples a second", "count"),
    ]
    caption = (
        f"The student after the long schedule, distilled. Latency: median of single calls; "
        f"examples a second: batches of {len(inputs)}; both on this machine "
        f"({_device()}). A multiply-add counts as two FLOPs."
    )
    figure = reporting.size_accuracy_scatter(
        {name: (costs[name].parameters, accuracy[name]) for name in costs},
        caption="Accuracy against size.",
    )
    ratio = costs["teacher"].flops / costs["student"].flops
    text = f"""The teacher needs {ratio:.1f} times the FLOPs of the student. A single call of a very
        small network is mostly the cost of calling it, so read the throughput beside the latency:
        in batches the student answers
        {costs["student"].throughput / costs["teacher"].throughput:.1f} times as many examples a
        second."""
    return Section(
        "What the networks cost", text, [], [Table("Networks", columns, rows, caption)], [figure]
    )


def _both(compared: Compared) -> dict[str, Network]:
    return {"teacher": compared.teacher, "student": compared.student}


def _device() -> str:
    import jax

    device = jax.devices()[0]
    return f"{jax.device_count()} × {device.device_kind}"


def _teacher(compared: Compared) -> Section:
    labels, logits = _labels(compared), compared.teacher_logits
    student = compared.few[4].logits
    rows = [
        [
            name,
            Spread.of([reporting.accuracy(x, labels) for x in each]),
            Spread.of([reporting.confidence(x) for x in each]),
            Spread.of([reporting.expected_calibration_error(x, labels) for x in each]),
        ]
        for name, each in [
            ("teacher", logits[None]),
            ("teacher of few labels (control)", compared.control_logits[None]),
            ("student of the pool, cached", student),
        ]
    ]
    columns = [
        "Network",
        Column("Accuracy", "percent"),
        Column("Mean confidence", "percent"),
        Column("ECE", "decimal"),
    ]
    text = """A teacher that is always sure tells no more than labels do; the temperature softens
        it. Confidence is the probability of the predicted class; the expected calibration error
        (ECE) is its mean distance from the accuracy, over 15 bins."""
    return Section(
        "How sure the teacher is",
        text,
        [],
        [Table("Confidence and calibration", columns, rows, _seeds(compared))],
        [
            reporting.reliability_diagram(
                reporting.reliability(logits, labels), caption="The teacher on test examples."
            )
        ],
    )


def _cache(compared: Compared) -> Section:
    cache, config = compared.cache, compared.config
    online = next(r for r in compared.short if r.arm.teacher is not None)
    cached = next(r for r in compared.short if r.arm.cache is not None)
    readers = [
        r
        for r in [*compared.short, *compared.long, *compared.few, *compared.left_out]
        if r.arm.cache is not None and r.arm.cache.path == cache.path
    ]
    read = sum(r.arm.steps * len(r.seconds) for r in readers) * config.batch_size
    computed = round(cache.effort["answers"])
    apart = float(np.abs(online.logits - cached.logits).max())
    difference = np.abs(online.accuracies(_labels(compared)) - cached.accuracies(_labels(compared)))
    rows = [
        ["answers computed", f"{computed:,}"],
        ["answers read by students", f"{read:,}"],
        ["forward passes of the teacher saved", f"{read - computed:,}"],
        ["bytes an answer", f"{bytes_per_record(cache.codec, cache.num_classes)} ({cache.codec})"],
        ["bytes in all", f"{cache.bytes:,}"],
        ["seconds to build, first compilation included", f"{cache.effort['seconds']:.1f}"],
        ["seconds of a short run, online teacher", f"{Spread.of(online.seconds)}"],
        ["seconds of a short run, cached", f"{Spread.of(cached.seconds)}"],
        ["largest difference of test logits, online and cached students", f"{apart:.2g}"],
        ["largest difference of their accuracies (points)", f"{100 * difference.max():.2f}"],
    ]
    text = """The teacher answered once; every student of every seed and arm read those answers. The
        cached student sees the very views that the online teacher would have seen, so the two
        differ by the rounding of the codec and of the arithmetic alone."""
    table = Table(
        "The cache",
        ["", "Value"],
        rows,
        f"{cache.num_views} views of each example. Seconds of a run: compilation, evaluation and "
        "checkpoints included.",
    )
    return Section("What the cache cost and saved", text, [], [table])


def _summary(compared: Compared) -> str:
    few = _accuracies(compared, compared.few)
    plain, pool = Spread.of(few["labels"]), Spread.of(few["distilled on the pool, cached"])
    short = _accuracies(compared, compared.short)
    verdict: Finding = compare(
        "distillation", short["distilled from the cache"], short["labels"]
    )
    sentence = {
        "gain": "With all labels and a short schedule distillation still helps",
        "none": "With all labels and a short schedule distillation makes no difference that these "
        "seeds can show",
        "loss": "With all labels and a short schedule distillation hurts",
    }[verdict.kind]
    assert verdict.difference is not None
    return f"""With {len(compared.few[0].arm.train):,} labels the student reaches {plain * 100:.1f} %
        on its own and {pool * 100:.1f} % taught on the unlabelled pool.

        {sentence} ({verdict.difference * 100:+.2f} points).

        jaxkd {jaxkd.__version__}, {len(compared.study.seeds)} seeds, alpha
        {compared.config.alpha}, temperature {compared.config.temperature}."""
