"""Which temperature, weight and method: a grid on validation, confirmed on fresh seeds."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxkd.metrics.spread import Spread
from jaxkd.networks._arguments import shown
from jaxkd.study._conclusion import conclude
from jaxkd.study._provenance import provenance_of
from jaxkd.study._run_study import run_study
from jaxkd.study._study_arguments import checked_seeds
from jaxkd.study._wording import counted
from jaxkd.study.arms import LABELS, Arm
from jaxkd.study.figures import Figure, heat_map
from jaxkd.study.report import Report, Section
from jaxkd.study.results import StudyResults
from jaxkd.study.tables import FORMATS, Column, Table

if TYPE_CHECKING:
    from jaxkd.study.study import Study

_FIRST_SEED = 1000
_DEFAULT = Arm("kd", {"alpha": 0.9, "temperature": 4.0})


@dataclasses.dataclass(frozen=True)
class Tuning:
    """What `Study.tune` found.

    Attributes:
      tried: results of all settings on validation; each is an arm. One that diverged with any seed
        has nan in place of a number.
      chosen: the setting that is best there.
      confirmed: the chosen setting, `kd` at its defaults and labels on fresh seeds, which were
        not used in the choice, with the test examples where there are any.
      axes: option → values that were tried.
      seconds: time of all trainings that chose, without those that diverged, and of those that
        confirmed; nan where one was interrupted and resumed.

    Example:
      >>> import jax.numpy as jnp, numpy as np, jaxkd
      >>> x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
      >>> data = jaxkd.data.Dataset.from_arrays(
      ...     x, x.argmax(1), name="largest", split="all", num_classes=4)
      >>> linear = lambda w, inputs: inputs @ w
      >>> import tempfile
      >>> study = jaxkd.study.Study(
      ...     jaxkd.data.split(data, {"train": 0.5, "validation": 0.5}),
      ...     lambda seed: jaxkd.from_function(linear, jnp.full((4, 4), 0.1 * seed)),
      ...     jaxkd.from_function(linear, 5.0 * jnp.eye(4)), seeds=2, steps=4,
      ...     workdir=tempfile.mkdtemp())
      >>> tuned = study.tune("kd", temperature=[1.0, 4.0], progress=False)
      >>> len(tuned.tried.arms), tuned.chosen.name in tuned.tried.arms, tuned.diverged
      (2, True, [])
    """

    tried: StudyResults
    chosen: Arm
    confirmed: StudyResults
    axes: Mapping[str, Sequence[Any]]
    seconds: tuple[float, float]

    def __repr__(self) -> str:
        return f"Tuning({len(self.tried.arms)} settings; chosen: {self.chosen.name})"

    @property
    def diverged(self) -> list[str]:
        """Names of the settings that have no number, since a student of theirs diverged."""
        return [n for n in self.tried.arms if not np.isfinite(self.tried.values(n)).all()]

    def heat_maps(self) -> list[Figure]:
        """Draws, for each method, the compared metric over the first two options of the grid."""
        maps: dict[str, list[str]] = {}
        for name, result in self.tried.arms.items():
            maps.setdefault(str(result.arm.method), []).append(name)
        figures = [self._heat_map(method, names) for method, names in maps.items()]
        return [figure for figure in figures if figure is not None]

    def report(self, title: str = "Tuning") -> Report:
        """Returns the report: what to do, the choice and its worth on fresh seeds, and its cost.

        Args:
          title: title of the page.
        """
        confirmed = self.confirmed
        others = [name for name in confirmed.arms if name != self.chosen.name]
        findings = [confirmed.compare(self.chosen.name, name) for name in others]
        # About what was chosen among the settings, not the best of those that confirm it.
        pair = {name: confirmed[name] for name in (LABELS, self.chosen.name)}
        conclusion = conclude(dataclasses.replace(confirmed, arms=pair, chosen=self.chosen.name))
        sections = [
            Section(
                "The chosen setting",
                self._choice(),
                findings,
                [confirmed.table(chosen=self.chosen.name)],
            ),
            Section("All settings", self._without_number(), (), [self.table()], self.heat_maps()),
            provenance_of(confirmed, sum(self.seconds), self._configuration()),
        ]
        summary = " ".join(finding.text for finding in findings)
        headline = conclusion.headline
        if self.chosen.name == LABELS:
            headline = "No setting is better than labels alone on the validation examples."
        return Report(title, summary, sections, headline)

    def _choice(self) -> str:
        """What was tried, and what the chosen setting is worth where it was not chosen."""
        confirmed, measure = self.confirmed, self.tried.measure
        show = FORMATS[measure.format]
        unit = f" {show.unit}" if show.unit else ""
        seen = Spread.of(self.tried.values(self.chosen.name))
        fresh = Spread.of(confirmed.values(self.chosen.name))
        shorter = ""
        if (few := self.tried[self.chosen.name].steps) != confirmed[self.chosen.name].steps:
            shorter = f" of {counted(few, 'step')}"
        return f"""{len(self.tried.arms)} settings were tried on the validation examples, with
            {counted(len(self.tried.seeds), "training")}{shorter} each, in
            {_seconds(self.seconds[0])}. {self.chosen.name}
            is the best of them, with {show(seen)}{unit} there: of many numbers the largest, which
            promises too much. On {len(confirmed.seeds)} fresh seeds and the
            {confirmed.shown_part} examples it has {show(fresh)}{unit}; these trainings took
            {_seconds(self.seconds[1])}."""

    def _without_number(self) -> str:
        """Names the settings that diverged."""
        if not (names := self.diverged):
            return ""
        return f"""{counted(len(names), "setting")} diverged, so that there is no number and none of
            them could be chosen: {"; ".join(names)}. The time of these trainings is not counted."""

    def _configuration(self) -> dict[str, object]:
        """What was chosen for the tuning, beside the study's own configuration."""
        tried = self.tried
        axes = "; ".join(f"{n} {', '.join(map(str, v))}" for n, v in self.axes.items())
        return {
            **self.confirmed.configuration,
            "Settings": f"{len(tried.arms)}, of {axes}",
            "Budget of a setting": tried.configuration.get("Budget of a student", "not known"),
            "Seeds that chose": ", ".join(map(str, tried.seeds)),
        }

    def table(self) -> Table:
        """Returns one row a setting, the best first."""
        measure = self.tried.measure
        sign = -1.0 if measure.higher_is_better else 1.0
        means = {n: sign * float(self.tried.values(n).mean()) for n in self.tried.arms}
        column = Column(f"{measure.title}, validation", measure.format)
        rows: list[list[Any]] = []
        order = sorted(means, key=lambda n: math.inf if math.isnan(means[n]) else means[n])
        rows += [[name, Spread.of(self.tried.values(name))] for name in order]
        caption = f"Mean ± standard deviation of {len(self.tried.seeds)} students (seeds)."
        return Table("Settings", ["Setting", column], rows, caption)

    def _heat_map(self, method: str, names: list[str]) -> Figure | None:
        options = {n: self.tried[n].arm.options for n in names}
        axes = {
            axis: list(dict.fromkeys(options[n][axis] for n in names if axis in options[n]))
            for axis in self.axes
        }
        shown = [axis for axis, values in axes.items() if len(values) > 1][:2]
        if not shown:
            return None
        measure = self.tried.measure
        row_axis, column_axis = (["", *shown])[-2:]
        rows = axes[row_axis] if row_axis else [method]
        best: dict[tuple[Any, Any], Spread] = {}
        for name in names:
            row = options[name][row_axis] if row_axis else method
            spread = Spread.of(self.tried.values(name))
            cell = row, options[name][column_axis]
            known = cell in best and not math.isnan(best[cell].mean)
            if not known or measure.better(spread.mean, best[cell].mean):
                best[cell] = spread
        columns = axes[column_axis]
        nothing = Spread(math.nan, math.nan, 1)
        more = "; the best over all other options" if len(axes) > len(shown) else ""
        return heat_map(
            [[best.get((row, column), nothing) for column in columns] for row in rows],
            [_named(row) for row in rows],
            [_named(column) for column in columns],
            row_label=row_axis,
            column_label=column_axis,
            value_label=measure.title,
            percent=measure.is_fraction,
            higher_is_better=measure.higher_is_better,
            caption=f"{method} on the validation examples{more}.",
        )


def tune(
    study: Study,
    method: str | Sequence[str],
    axes: Mapping[str, Any],
    *,
    samples: int | None,
    seeds: int | Sequence[int],
    budget: Mapping[str, float | None],
    progress: bool,
) -> Tuning:
    """Tunes a method, as `Study.tune` says."""
    # Sorted, so that a setting has one name, in whatever order its options were written.
    values = {name: _listed(given) for name, given in sorted(axes.items())}
    tried = try_settings(
        study, method, values, samples=samples, seeds=seeds, budget=budget, progress=progress
    )
    chosen = tried[tried.best("validation")].arm
    # Labels or the defaults may be what was chosen.
    fresh = [*{arm.name: arm for arm in (Arm(LABELS), _DEFAULT, chosen)}.values()]
    confirm = study.replace(
        arms=fresh, workdir=study.workdir / "confirm", caches=study.caches.folder
    )
    confirmed = confirm.run(progress=progress)
    seconds = seconds_of(tried), seconds_of(confirmed)
    tuning = Tuning(tried, chosen, confirmed, values, seconds)
    tuning.table().write_csv(study.workdir / "settings.csv")
    return tuning


def try_settings(
    study: Study,
    method: str | Sequence[str],
    axes: Mapping[str, Sequence[Any]],
    *,
    samples: int | None = None,
    seeds: int | Sequence[int] = 2,
    budget: Mapping[str, float | None],
    progress: bool = True,
) -> StudyResults:
    """Trains by all settings of a grid and measures them on validation, the half that chooses.

    Args:
      study: gives data, networks and defaults; the runs are in the folder `tune` of its own.
      method: name of a recipe, or of several.
      axes: option → values to try.
      samples: as of `Study.tune`.
      seeds: as of `Study.tune`.
      budget: `"steps"` or `"epochs"` → number; None for the study's own.
      progress: whether to show progress bars.

    Returns:
      The results, with nan for settings that diverged; the best one is chosen.

    Raises:
      FloatingPointError: all settings diverge.
      TypeError: a method that is no name.
      ValueError: as of `Study.tune`.
    """
    if study.part != "validation":
        raise ValueError(
            "settings are chosen on validation examples, and the study has none: write "
            'data=jaxkd.data.split(dataset, {"train": 0.8, "validation": 0.1, "test": 0.1})'
        )
    arms = settings_of(method, axes, samples)
    if not isinstance(seeds, Iterable):
        seeds = [_FIRST_SEED + number for number in checked_seeds(seeds)]
    if shared := sorted(set(seeds) & set(study.seeds)):
        raise ValueError(
            f"seeds {shared} would choose a setting and confirm it: give tune other seeds than "
            f"the study's {list(study.seeds)}"
        )
    shorter = {name: value for name, value in budget.items() if value is not None}
    folders = {"workdir": study.workdir / "tune", "caches": study.caches.folder}
    trial = study.replace(arms=arms, seeds=seeds, **folders, **shorter)
    return run_study(trial, test=False, progress=progress, keep_diverged=True)


def settings_of(
    method: str | Sequence[str], axes: Mapping[str, Sequence[Any]], samples: int | None
) -> list[Arm]:
    """Returns all combinations of what each method takes, or some of them at random.

    Raises:
      TypeError: a method that is no name.
      ValueError: as of `Study.tune`.
    """
    methods: list[Any] = list(method) if isinstance(method, list | tuple) else [method]
    if not methods or not all(isinstance(each, str) for each in methods):
        raise TypeError(
            f"the method of a tuning is a name, or a list of names, not {shown(method)}: write "
            'study.tune("kd", temperature=[1.0, 2.0, 4.0])'
        )
    if empty := [name for name, values in axes.items() if not values]:
        raise ValueError(f"no values of {empty[0]!r} to try: write {empty[0]}=[1.0, 2.0]")
    arms: dict[str, Arm] = {}
    for each in methods:
        taken = Arm(each).option_names
        own = {name: values for name, values in axes.items() if name in taken}
        for combination in itertools.product(*own.values()):
            arm = Arm(each, dict(zip(own, combination, strict=True)))
            if (other := arms.setdefault(arm.name, arm)).options != arm.options:
                raise ValueError(
                    f"two settings would have the name {arm.name!r}, those of {dict(arm.options)} "
                    f"and of {dict(other.options)}: write values that differ in six digits, and "
                    "functions of different names"
                )
    used = {name for arm in arms.values() for name in arm.options}
    if unused := sorted(set(axes) - used):
        # The arm's own message says which option may have been meant.
        Arm(methods[0], {unused[0]: axes[unused[0]][0]})
    if len(arms) < 2:
        raise ValueError(
            "there is one setting, so nothing to choose: write "
            "study.tune(temperature=[1.0, 2.0, 4.0], alpha=[0.5, 0.9])"
        )
    every = list(arms.values())
    if samples is None or samples >= len(every):
        return every
    if samples < 2:
        raise ValueError(f"samples must be at least 2 of {len(every)} settings, not {samples}")
    picked = np.random.default_rng(0).choice(len(every), samples, replace=False)
    return [every[index] for index in sorted(picked)]


def _listed(given: Any) -> list[Any]:
    if isinstance(given, Iterable) and not isinstance(given, str):
        return [value.item() if hasattr(value, "item") else value for value in given]
    return [given]


def seconds_of(results: StudyResults) -> float:
    """Seconds of all trainings that have a number."""
    return float(
        sum(
            result.seconds[np.isfinite(results.values(name, results.part))].sum()
            for name, result in results.arms.items()
        )
    )


def _seconds(value: float) -> str:
    return (
        "a time that is not known, since it was interrupted"
        if math.isnan(value)
        else (f"{value:,.0f} seconds")
    )


def _named(value: Any) -> str | float:
    return value if isinstance(value, int | float) else str(value)
