"""The report of experiments.language: whether the teacher helped, in what, and at what cost."""

import os
import pathlib
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

import jaxkd
from experiments.common.report import Row, save
from experiments.language.config import ARMS, CACHED, Config
from experiments.language.corpus import Corpus
from experiments.language.run import LanguageResults
from jaxkd.compression import count_parameters, flops
from jaxkd.metrics import Spread
from jaxkd.study import (
    ArmResult,
    Column,
    Finding,
    Report,
    Section,
    Table,
    accuracy_bars,
    compare,
    learning_curves,
)
from jaxkd.study._conclusion import Measured, advise
from jaxkd.study._provenance import duration
from jaxkd.study._wording import counted
from jaxkd.study.measures import Measure

_BITS = Measure("bits_per_byte", higher_is_better=False, is_fraction=False)
_FAILED = {
    "none": "does not beat labels only, as far as these seeds can show",
    "loss": "does not beat labels only: it is worse",
}


def write(out: LanguageResults, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, one CSV file a table and the figures; returns the report."""
    report = Report(
        title=f"Small language models distilled on {out.corpus.train.name}",
        summary=_summary(out),
        sections=[_students(out), _generated_text(out), _cost(out)],
        headline=_headline(out),
    )
    return save(report, workdir)


def _headline(out: LanguageResults) -> str:
    """The conclusion on the distilled arm of the best mean; none without one."""
    values = {arm: _values(result, "bits_per_byte") for arm, result in out.students.items()}
    if "labels" not in values or len(values) < 2:
        return ""
    best = min((arm for arm in values if arm != "labels"), key=lambda arm: values[arm].mean())
    ours, theirs = (Measured.of(values[arm], out.students[arm]) for arm in (best, "labels"))
    return advise(ARMS[best], ours, theirs, measure=_BITS).headline


def findings(out: LanguageResults) -> dict[str, Finding]:
    """Compares the bits per byte of each arm with those of labels alone."""
    return {
        arm: _against_labels(out, arm, "bits_per_byte", "in bits per byte")
        for arm in out.students
        if arm != "labels"
    }


def explanation(out: LanguageResults) -> str:
    """Explains in words why distillation helped or not, as far as the numbers show it."""
    labels = _spread(out.students["labels"], "bits_per_byte")
    teacher = _spread(out.teacher, "bits_per_byte")
    gap = labels.mean - teacher.mean
    cached = {arm: finding for arm, finding in findings(out).items() if arm in CACHED}
    if not cached:
        return ""

    def mean(arm: str, name: str) -> float:
        return _spread(out.students[arm], name).mean

    # Of those with a shown gain, if there are any; the best mean alone may be one lucky seed's.
    gains = [arm for arm, finding in cached.items() if finding.kind == "gain"] or list(cached)
    best = min(gains, key=lambda arm: mean(arm, "bits_per_byte"))
    if gap <= 0:
        return (
            f"The teacher is no better than its students ({teacher:.3f} bits per byte against "
            f"{labels:.3f} of labels alone): its predictions carry its own errors. Train it "
            "longer, or take a larger one."
        )
    if cached[best].kind == "gain":
        closed = (labels.mean - mean(best, "bits_per_byte")) / gap
        return (
            f"Distilled beats labels only: {ARMS[best]} closes {closed:.0%} of the {gap:.3f} bits "
            "per byte between labels alone and the teacher. The text shows one next token at each "
            "position, by chance; the teacher gives the probability of each token, and the "
            "gradient is that much less noisy."
        )
    return (
        f"Distilled {_FAILED[cached[best].kind]}. The teacher is {gap:.3f} bits per byte better "
        "than labels alone, so that there is something to learn from it; but every position of the "
        f"text has its label, and a row is seen {_seen(out)}. Labels alone agree with it on "
        f"{mean('labels', 'agreement'):.0%} of the tokens, {ARMS[best]} on "
        f"{mean(best, 'agreement'):.0%}."
    )


def _spread(result: ArmResult, name: str) -> Spread:
    return Spread.of(_values(result, name))


def _values(result: ArmResult, name: str) -> np.ndarray:
    """Returns what the evaluator kept of the students, `[seeds, ...]`."""
    return result.arrays["test"][name]


def _titled(out: LanguageResults) -> dict[str, ArmResult]:
    return {ARMS[arm]: result for arm, result in out.students.items()}


def _against_labels(out: LanguageResults, arm: str, name: str, where: str) -> Finding:
    return compare(
        f"{ARMS[arm].capitalize()}, against labels alone, {where}",
        _values(out.students[arm], name),
        _values(out.students["labels"], name),
        format="difference",
        higher_is_better=False,
    )


def _students(out: LanguageResults) -> Section:
    corpus, config = out.corpus, out.config
    text = f"""Measured on {corpus.test_tokens:,} tokens of held-out text, which stand for
        {corpus.test_bytes:,} bytes; training had {len(corpus.train):,} rows
        ({corpus.train_bytes / 1e6:.1f} MB), which a student saw {_seen(out)} on average."""
    if "sequences" in out.students:
        text += f""" The arm of generated texts has {config.generated_rows:,} rows of the teacher
        instead."""
    if {"sequences", "on_policy"} & set(out.students):
        text += f""" Of generated texts only the tokens behind the {config.prompt_length} of a
        beginning count."""
    text += """ The divergences are in nats a token: KL(teacher‖student) on held-out text, and
        KL(student‖teacher) on the text that the student generates from held-out beginnings."""
    students = _titled(out)
    return Section(
        "At equal steps",
        text,
        list(findings(out).values()),
        [_students_table(out)],
        [
            learning_curves(
                {title: (result.curve_steps, result.curve) for title, result in students.items()},
                y_label="Bits per byte",
                percent=False,
                caption=f"Bits per byte of held-out text during training. {out.caption}",
            ),
            accuracy_bars(
                {title: _spread(result, "accuracy") for title, result in students.items()},
                teacher=_spread(out.teacher, "accuracy"),
                caption=f"How often the likeliest token is the next one. {out.caption}",
            ),
        ],
    )


def _students_table(out: LanguageResults) -> Table:
    baseline = _values(out.students["labels"], "bits_per_byte")

    def row(name: str, result: ArmResult, difference: Spread | str) -> Row:
        names = ("bits_per_byte", "accuracy", "agreement", "kl", "generated_kl")
        bits, accuracy, *against_teacher = (_spread(result, name) for name in names)
        return [name, bits, difference, accuracy, *against_teacher]

    rows = [row("teacher", out.teacher, "")]
    for arm, result in out.students.items():
        difference = Spread.of(_values(result, "bits_per_byte") - baseline)
        rows.append(row(ARMS[arm], result, difference if arm != "labels" else ""))
    return Table(
        "Students",
        [
            "Network",
            Column("Bits per byte", "decimal"),
            Column("Against labels", "difference"),
            Column("Next token", "percent"),
            Column("Agrees with teacher", "percent"),
            Column("KL to teacher", "decimal"),
            Column("KL on generated text", "decimal"),
        ],
        rows,
        out.caption,
    )


def _seen(out: LanguageResults) -> str:
    """How often a student saw a row of the text."""
    often = f"{out.config.steps * out.config.batch_size / len(out.corpus.train):.2g}"
    return "once" if often == "1" else f"{often} times"


def _generated_text(out: LanguageResults) -> Section:
    tokenizer, start = out.corpus.tokenizer, out.config.prompt_length

    def text(tokens: np.ndarray) -> str:
        return " ".join(tokenizer.decode(tokens).split())

    rows: list[Row] = [["prompt", text(out.corpus.prompts[0])]]
    for name, result in {"teacher": out.teacher, **_titled(out)}.items():
        # Of the first seed, what continues the first prompt.
        tokens, end = _values(result, "generated")[0, 0], _values(result, "lengths")[0, 0]
        rows.append([name, text(tokens[start:end])])
    about = f"""Each network continued {len(out.corpus.prompts)} beginnings of held-out rows,
        {start} tokens long, by sampling at temperature 1; this is the first of them, by the first
        seed's students."""
    if "on_policy" in out.students:
        about += f""" Of the on-policy steps {out.config.share:.0%} were on such texts after the
        first {out.config.warm:.0%} of the training."""
    return Section(
        "Generated text",
        about,
        [
            _against_labels(out, arm, "generated_kl", "in the divergence on generated text")
            for arm in out.students
            if arm in ("on_policy", "sequences")
        ],
        [Table("Samples", ["Network", "Text"], rows)],
    )


def _cost(out: LanguageResults) -> Section:
    devices = jax.devices()
    tables = [_sizes_table(out), _times_table(out)]
    if out.cache is not None:
        tables.append(_cache_table(out.config, out.corpus, out.cache))
    return Section(
        "Cost",
        f"""On {len(devices)} device{"s" * (len(devices) > 1)} ({devices[0].device_kind},
        {devices[0].platform}) of a machine with {os.cpu_count()} cores{_total_time(out)}. All
        students make equally many steps on batches of one size with one network; beside that, the
        cached arms read the cache, and every step of on-policy training includes a forward pass of
        the teacher, and generation.""",
        tables=tables,
    )


def _sizes_table(out: LanguageResults) -> Table:
    config = out.config
    inputs = jax.ShapeDtypeStruct((1, config.length, 2), jnp.int32)
    rows: list[Row] = [
        [name, count_parameters(network.params), flops(network, inputs) / config.length]
        for name, network in (("teacher", out.teacher_network), ("student", out.student_network))
    ]
    return Table(
        "Networks",
        ["Network", Column("Parameters", "count"), Column("FLOPs a token", "megaflops")],
        rows,
        "Of the forward pass; a training step costs three times as many.",
    )


def _times_table(out: LanguageResults) -> Table:
    config = out.config
    rows: list[Row] = []
    if not config.teacher_weights:
        tokens, seconds = config.teacher_steps * config.batch_size, float(out.teacher.seconds[0])
        rows.append(["teacher, training", seconds, tokens * config.length / seconds])
    if out.cache is not None:
        tokens, seconds = len(out.corpus.train) * config.length, float(out.cache["seconds"])
        rows.append(["teacher, building the cache", seconds, tokens / seconds])
    if out.generated is not None:
        tokens = int(np.sum(out.generated["lengths"] - config.prompt_length))
        seconds = float(out.generated["seconds"])
        rows.append(["teacher, generating", seconds, tokens / seconds])
    tokens = config.steps * config.batch_size * config.length
    rows += [
        [title, Spread.of(result.seconds), Spread.of(tokens / result.seconds)]
        for title, result in _titled(out).items()
    ]
    return Table(
        "Time",
        ["Work", Column("Seconds", "seconds"), Column("Tokens a second", "count")],
        rows,
        "Evaluations and compiling included; a dash where a run was interrupted and resumed.",
    )


def _cache_table(config: Config, corpus: Corpus, costs: Mapping[str, np.ndarray]) -> Table:
    top_k, samples = float(costs["logits"]), float(costs["samples"])
    dense = 4 * corpus.tokenizer.vocab_size
    return Table(
        "Cache",
        [
            "Encoded output",
            Column("Bytes a token", "decimal"),
            Column("Smaller than float32 logits", "times"),
        ],
        [
            [f"{config.k} likeliest tokens", top_k, dense / top_k],
            [f"{config.samples} samples", samples, dense / samples],
        ],
    )


def _total_time(out: LanguageResults) -> str:
    parts = [result.seconds for result in out.students.values()]
    if not out.config.teacher_weights:
        parts.append(out.teacher.seconds)
    parts += [np.atleast_1d(costs["seconds"]) for costs in (out.cache, out.generated) if costs]
    total = float(np.concatenate(parts).sum())
    return f", {duration(total)} in all" if np.isfinite(total) else ""


def _summary(out: LanguageResults) -> str:
    config = out.config
    students = ", ".join(
        f"{title} {_spread(result, 'bits_per_byte'):.3f}" for title, result in _titled(out).items()
    )
    teacher = _spread(out.teacher, "bits_per_byte")
    parts = [
        f"Bits per byte of held-out text at equal steps: {students}; the teacher {teacher:.3f}.",
        explanation(out),
        f"jaxkd {jaxkd.__version__}, {counted(config.seeds, 'seed')}, alpha {config.alpha}, "
        f"temperature {config.temperature}{_total_time(out)}.",
    ]
    return "\n\n".join(part for part in parts if part)
