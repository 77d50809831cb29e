"""Report of a sweep: the best setting, how certain it is, and its accuracy on the test set."""

import math
import pathlib

import jaxkd
from experiments.common.report import Row, save
from experiments.sweep.results import Setting, SweepResults
from jaxkd import metrics
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Figure,
    Format,
    Report,
    Section,
    Table,
    class_figures,
    compare,
    heat_map,
)
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._wording import counted, spread_over

_PLAIN = Format("g")


def write(sweep: SweepResults, workdir: pathlib.Path) -> Report:
    """Writes the choice, and every setting."""
    name = {"digits": "digits", "fashion_mnist": "Fashion-MNIST"}[sweep.config.dataset]
    title = f"Temperature and weight on {name}"
    conclusion = advise(
        sweep.chosen.name, Measured(sweep.chosen.test), Measured(sweep.chosen_labels.test)
    )
    sections = [_choice(sweep), _all(sweep)]
    return save(Report(title, _summary(sweep), sections, conclusion.headline), workdir)


def _choice(sweep: SweepResults) -> Section:
    chosen, default, labels = sweep.chosen, sweep.default, sweep.chosen_labels
    verdicts = [
        compare("The chosen setting, against labels alone,", chosen.test, labels.test),
        compare("The default, against labels alone,", default.test, labels.test),
    ]
    if chosen is not default:
        verdicts.append(compare("Choosing, against the default,", chosen.test, default.test))
    rows: list[Row] = [
        ["labels alone", *_numbers(sweep, labels)],
        [f"default: {default.name}", *_numbers(sweep, default)],
        [f"chosen: {chosen.name}", *_numbers(sweep, chosen)],
    ]
    labeled, examples = sweep.sizes["labeled"], sweep.sizes["train"]
    if labeled < examples:
        given = f"""Students may use {labeled:,} labels; the other {examples - labeled:,} examples
            have none, and the teacher's outputs on all of them."""
    else:
        given = f"Students have all {examples:,} labels and the teacher's outputs."
    teacher = sweep.study.teacher["test"]["accuracy"]
    text = f"""{given} The teacher reaches {teacher:.1%}. Every setting was trained with
        {counted(sweep.config.seeds, "seed")} for {counted(chosen.result.steps, "step")}. The
        choice was made on {sweep.sizes["validation"]:,} validation examples that neither teacher
        nor students trained on; a project must have their labels besides. The accuracy of the best
        there is flattered by having been chosen, that on the test set is not. With that many
        examples it is uncertain by {_sampling(sweep):.2f} points besides, which the seeds do not
        show. Labels alone were trained on the labeled examples, with as many steps."""
    title = "Chosen, default, labels alone"
    table = Table(title, ["Setting", *_columns(sweep)], rows, _caption(sweep))
    maps = [
        _map(sweep, rate, "validation", f"at learning rate {rate:g}")
        for rate in sweep.config.learning_rates
    ]
    maps.append(_map(sweep, chosen.learning_rate, "test", "not used for the choice"))
    maps += class_figures(
        chosen.name,
        chosen.result.logits["test"],
        sweep.study.labels["test"],
        sweep.study.class_names,
        baseline=(labels.name, labels.result.logits["test"]),
    )
    return Section("The choice", text, verdicts, [table], maps)


def _all(sweep: SweepResults) -> Section:
    as_good = sweep.as_good
    ordered = sorted(sweep.results, key=lambda setting: -setting.validation.mean())
    rows: list[Row] = [
        [
            str(rank),
            setting.temperature or "",
            setting.alpha,
            *_numbers(sweep, setting),
            "yes" if setting in as_good else "",
        ]
        for rank, setting in enumerate(ordered, 1)
    ]
    columns: list[Column | str] = ["Rank", Column("T", _PLAIN), Column("alpha", _PLAIN)]
    columns += [*_columns(sweep), "Within one deviation of the best"]
    table = Table("Every setting", columns, rows, _caption(sweep))
    return Section("Every setting, best on validation first", tables=[table])


def _columns(sweep: SweepResults) -> list[Column]:
    rate = [Column("Learning rate", _PLAIN)] if len(sweep.config.learning_rates) > 1 else []
    return [
        *rate,
        Column("Validation", "percent"),
        Column("Test", "percent"),
        Column("Against labels", "points"),
        Column("NLL", "nats"),
        Column("ECE", "percent"),
    ]


def _numbers(sweep: SweepResults, setting: Setting) -> Row:
    labels = sweep.chosen_labels
    test = setting.result.test or {}
    eces = [
        metrics.expected_calibration_error(logits, sweep.study.labels["test"])
        for logits in setting.result.logits["test"]
    ]
    rate: Row = [setting.learning_rate] if len(sweep.config.learning_rates) > 1 else []
    return [
        *rate,
        Spread.of(setting.validation),
        Spread.of(setting.test),
        Spread.of(setting.test - labels.test) if setting.temperature is not None else "",
        Spread.of(test["cross_entropy"]),
        Spread.of(eces),
    ]


def _map(sweep: SweepResults, rate: float, part: str, note: str) -> Figure:
    cells = {
        (r.temperature, r.alpha): Spread.of(getattr(r, part))
        for r in sweep.results
        if r.learning_rate == rate
    }
    rows = sorted({temperature for temperature, _ in cells if temperature is not None})
    columns = sorted({alpha for _, alpha in cells})
    return heat_map(
        [[cells[row, column] for column in columns] for row in rows],
        rows,
        columns,
        row_label="Temperature T",
        column_label="Weight of the teacher α",
        value_label=f"{part.capitalize()} accuracy",
        caption=f"{part.capitalize()} accuracy by temperature and weight, {note}. "
        f"{_caption(sweep)}",
    )


def _caption(sweep: SweepResults) -> str:
    return f"{spread_over(sweep.config.seeds)}, one teacher."


def _edge(sweep: SweepResults) -> str:
    """Says whether the best may lie outside of the map; a weight can be no more than 1."""
    edges = []
    units = {"temperature": "T", "alpha": "alpha", "learning_rate": "learning rate"}
    for name, unit in units.items():
        values = sorted({getattr(setting, name) for setting in sweep.results})
        own = getattr(sweep.chosen, name)
        if len(values) > 1 and own == values[0]:
            edges.append(f"a smaller {unit}")
        elif len(values) > 1 and own == values[-1] and (name, own) != ("alpha", 1.0):
            edges.append(f"a larger {unit}")
    if not edges:
        return ""
    return f" The best lies at the edge of the map: {' and '.join(edges)} may do better still."


def _sampling(sweep: SweepResults) -> float:
    """Returns the points by which other validation examples would change the best accuracy."""
    accuracy = float(sweep.chosen.validation.mean())
    return 100 * math.sqrt(accuracy * (1 - accuracy) / sweep.sizes["validation"])


def _rivals(sweep: SweepResults) -> str:
    good, count, best = sweep.as_good, len(sweep.results), sweep.chosen.name
    if sweep.config.seeds == 1:
        return "A single seed cannot say which settings differ: train more of them."
    if len(good) == 1:
        return f"No other of the {count} settings comes within one standard deviation of {best}."
    temperatures = sorted({r.temperature for r in good if r.temperature is not None})
    alphas = sorted({r.alpha for r in good})
    return (
        f"Of {count} settings {len(good)} lie within one standard deviation of the best, {best}: "
        f"T {_range(temperatures)}, alpha {_range(alphas)}. These seeds cannot tell them apart; "
        "any of them is a fair choice."
    )


def _range(values: list[float]) -> str:
    single = len(values) == 1
    return f"{values[0]:g}" if single else f"from {values[0]:g} to {values[-1]:g}"


def _summary(sweep: SweepResults) -> str:
    chosen, default, labels = (
        Spread.of(setting.test) * 100
        for setting in (sweep.chosen, sweep.default, sweep.chosen_labels)
    )
    students = len(sweep.results) * sweep.config.seeds
    took = "" if math.isnan(sweep.seconds) else f" in {sweep.seconds:,.0f} s"
    return (
        f"Chosen on validation examples: {sweep.chosen.name}. On the test set it reaches "
        f"{chosen:.1f} %, the default ({sweep.default.name}) {default:.1f} %, labels alone "
        f"{labels:.1f} %.\n\n{_rivals(sweep)}{_edge(sweep)}\n\n"
        f"{students} students were trained together{took}. jaxkd {jaxkd.__version__}."
    )
