"""What the language experiment shows: whether the teacher helped, in what, and what it cost."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxkd
from experiments.common import comparison_report
from experiments.language.arms import ARMS
from experiments.language.training import Judged, Lessons
from jaxkd.compression import count_parameters, flops
from jaxkd.generation import CachedDecoder
from jaxkd.metrics import Spread
from jaxkd.study import (
    Column,
    Finding,
    Report,
    Section,
    Table,
    accuracy_bars,
    compare,
    learning_curves,
)

Row = list[str | int | float | Spread]
# Arms that learn from the text with a teacher's help, which labels alone must be beaten by.
_CACHED = ("top_k", "top_k_alone", "sampled")
_FAILED = {
    "none": "does not beat labels only, as far as these seeds can show",
    "loss": "does not beat labels only: it is worse",
}


@dataclasses.dataclass(frozen=True)
class Told:
    """Everything that the report is made of.

    Attributes:
      config: of the experiment.
      lessons: the texts and how networks are made.
      teacher: the teacher.
      judged: what it is worth.
      students: by arm.
      kept: seconds and bytes of the cache, None if no arm needed it.
      written: of what the teacher wrote, None if no arm needed it.
    """

    config: Any
    lessons: Lessons
    teacher: CachedDecoder
    judged: Judged
    students: dict[str, Judged]
    kept: Mapping[str, np.ndarray] | None
    written: Mapping[str, np.ndarray] | None

    @property
    def caption(self) -> str:
        """What stands under every table of students."""
        return (
            f"Mean ± standard deviation of {self.config.seeds} students (seeds), "
            f"{self.config.steps:,} steps of {self.config.batch_size} rows of "
            f"{self.config.length} tokens, last step; one teacher."
        )


def write(told: Told, workdir: pathlib.Path) -> Report:
    """Writes `report.html`, one CSV file a table and the figures; returns the report."""
    report = Report(
        title=f"Small language models taught on {told.lessons.corpus.train.name}",
        summary=_summary(told),
        sections=[_students(told), _own_text(told), _cost(told)],
    )
    comparison_report.save(report, workdir)
    return report


def verdicts(told: Told) -> dict[str, Finding]:
    """Each arm's bits per byte against those of labels alone."""
    labels = told.students["labels"]
    return {
        arm: compare(
            f"{ARMS[arm].capitalize()}, against labels alone, in bits per byte",
            judged.bits,
            labels.bits,
            format="difference",
            higher_is_better=False,
        )
        for arm, judged in told.students.items()
        if arm != "labels"
    }


def _numbers(judged: Judged) -> list[Spread]:
    names = ("bits", "accuracy", "agreement", "kl", "own_kl")
    return [Spread.of(getattr(judged, name)) for name in names]


def _students(told: Told) -> Section:
    labels, corpus = told.students["labels"], told.lessons.corpus
    teacher = told.judged
    rows: list[Row] = [["teacher", *_numbers(teacher)[:2], "", *_numbers(teacher)[2:]]]
    rows += [
        [
            ARMS[arm],
            *_numbers(judged)[:2],
            Spread.of(judged.bits - labels.bits) if arm != "labels" else "",
            *_numbers(judged)[2:],
        ]
        for arm, judged in told.students.items()
    ]
    columns: list[Column | str] = [
        "Network",
        Column("Bits per byte", "decimal"),
        Column("Next token", "percent"),
        Column("Against labels", "difference"),
        Column("Agrees with teacher", "percent"),
        Column("KL to teacher", "decimal"),
        Column("KL of its own text", "decimal"),
    ]
    text = f"""Judged on {corpus.test_tokens:,} tokens of held-out text, which stand for
        {corpus.test_bytes:,} bytes; training had {len(corpus.train):,} rows
        ({corpus.train_bytes / 1e6:.1f} MB), of which a student saw
        {_seen(told):.2g} times as many. The arm of the teacher's texts has
        {told.config.written:,} rows instead; there, and where a student learns from its own texts,
        only the tokens behind the {told.config.prompt_length} of a beginning count. The
        divergences are in nats a token: to the teacher
        KL(teacher‖student) on held-out text, of its own text KL(student‖teacher) on what the
        student writes behind held-out beginnings.

        {reason(told)}"""
    curves = {
        ARMS[arm]: (judged.curve_steps, judged.curve) for arm, judged in told.students.items()
    }
    accuracies = {ARMS[arm]: Spread.of(judged.accuracy) for arm, judged in told.students.items()}
    return Section(
        "At equal steps",
        text,
        list(verdicts(told).values()),
        [Table("Students", columns, rows, told.caption)],
        [
            learning_curves(
                curves,
                y_label="Bits per byte",
                percent=False,
                caption=f"Bits per byte of held-out text during training. {told.caption}",
            ),
            accuracy_bars(
                accuracies,
                teacher=Spread.of(teacher.accuracy),
                caption=f"How often the likeliest token is the next one. {told.caption}",
            ),
        ],
    )


def reason(told: Told) -> str:
    """Why it came out as it did, as far as the numbers tell."""
    labels, teacher = Spread.of(told.students["labels"].bits), Spread.of(told.judged.bits)
    gap = labels.mean - teacher.mean
    found = {arm: verdict for arm, verdict in verdicts(told).items() if arm in _CACHED}
    if not found:
        return ""
    # Of those with a shown gain, if there are any; the best mean alone may be one lucky seed's.
    shown = [arm for arm, verdict in found.items() if verdict.kind == "gain"] or list(found)
    best = min(shown, key=lambda arm: Spread.of(told.students[arm].bits).mean)
    gained = labels.mean - Spread.of(told.students[best].bits).mean
    if gap <= 0:
        return (
            f"The teacher is no better than its students ({teacher:.3f} bits per byte against "
            f"{labels:.3f} of labels alone): what it says carries its own errors. Train it longer, "
            "or take a larger one."
        )
    if found[best].kind == "gain":
        return (
            f"Distilled beats labels only: {ARMS[best]} closes {gained / gap:.0%} of the "
            f"{gap:.3f} bits per byte between labels alone and the teacher. The text shows one "
            "next token at each place, by chance; the teacher says how likely each one was, and "
            "the gradient is that much less noisy."
        )
    return (
        f"Distilled {_FAILED[found[best].kind]}. The teacher is {gap:.3f} bits per byte better "
        "than labels alone, so that it has something to give; but here every place of the text has "
        f"its label, and a row is seen {_seen(told):.2g} times. Labels alone agree with it on "
        f"{Spread.of(told.students['labels'].agreement).mean:.0%} of the tokens, {ARMS[best]} on "
        f"{Spread.of(told.students[best].agreement).mean:.0%}."
    )


def _seen(told: Told) -> float:
    return told.config.steps * told.config.batch_size / len(told.lessons.corpus.train)


def _own_text(told: Told) -> Section:
    labels = told.students["labels"]
    verdict = [
        compare(
            f"{ARMS[arm].capitalize()}, against labels alone, in the divergence of its own text",
            judged.own_kl,
            labels.own_kl,
            format="difference",
            higher_is_better=False,
        )
        for arm, judged in told.students.items()
        if arm in ("on_policy", "sequences")
    ]
    tokenizer, start = told.lessons.corpus.tokenizer, told.config.prompt_length

    def text(tokens: np.ndarray) -> str:
        return " ".join(tokenizer.decode(tokens).split())

    rows: list[Row] = [["given", text(told.judged.written[0, :start])]]
    networks = {"teacher": told.judged} | {
        ARMS[arm]: judged for arm, judged in told.students.items()
    }
    rows += [
        [name, text(judged.written[0, start : judged.lengths[0]])]
        for name, judged in networks.items()
    ]
    about = f"""Each network went on from {len(told.judged.written)} beginnings of held-out rows,
        {start} tokens long, drawing from its own distribution at temperature 1; this is the first
        of them, by the first seed's students."""
    if "on_policy" in told.students:
        about += f""" Of the on-policy steps {told.config.share:.0%} were on such texts after the
        first {told.config.warm:.0%} of the training."""
    return Section(
        "What they write",
        about,
        verdict,
        [Table("Samples", ["Who", "Text"], rows)],
    )


def _cost(told: Told) -> Section:
    config, lessons = told.config, told.lessons
    inputs = jax.ShapeDtypeStruct((1, config.length, 2), jnp.int32)
    sizes: list[Row] = [
        [name, count_parameters(network.params), flops(network, inputs) / config.length]
        for name, network in (
            ("teacher", told.teacher.network),
            ("student", lessons.student.network),
        )
    ]
    tokens = config.steps * config.batch_size * config.length
    times: list[Row] = []
    if not config.teacher_weights:
        made = config.teacher_steps * config.batch_size * config.length
        seconds = float(told.judged.seconds[0])
        times.append(["teacher, trained", seconds, made / seconds])
    rows = len(lessons.corpus.train) * config.length
    if told.kept is not None:
        seconds = float(told.kept["seconds"])
        times.append(["teacher, asked for the cache", seconds, rows / seconds])
    if told.written is not None:
        own = int(np.sum(told.written["lengths"] - config.prompt_length))
        seconds = float(told.written["seconds"])
        times.append(["teacher, writing", seconds, own / seconds])
    times += [
        [ARMS[arm], Spread.of(judged.seconds), Spread.of(tokens / judged.seconds)]
        for arm, judged in told.students.items()
    ]
    tables = [
        Table(
            "Networks",
            ["Network", Column("Parameters", "count"), Column("FLOPs a token", "megaflops")],
            sizes,
            "Of the forward pass; a training step costs three times as many.",
        ),
        Table(
            "Time",
            ["What", Column("Seconds", "seconds"), Column("Tokens a second", "count")],
            times,
            "Evaluations and compiling included; a dash where a run was cut and taken up.",
        ),
    ]
    if told.kept is not None:
        dense = 4 * lessons.corpus.tokenizer.vocab_size
        kept: list[Row] = [
            [name, float(told.kept[key]), dense / float(told.kept[key])]
            for name, key in (
                (f"the {config.k} likeliest", "logits"),
                (f"{config.samples} draws", "draws"),
            )
        ]
        columns: list[Column | str] = [
            "Kept of an answer",
            Column("Bytes a token", "decimal"),
            Column("Smaller than float32 logits", "times"),
        ]
        tables.append(Table("Cache", columns, kept))
    devices = jax.devices()
    return Section(
        "What it took",
        f"""On {len(devices)} device{"s" * (len(devices) > 1)} ({devices[0].device_kind},
        {devices[0].platform}) of a machine with {os.cpu_count()} cores{_total(told)}. All students
        make equally many steps of batches of one size with one network; beside that, the cached
        arms read answers, and on-policy training pays for the teacher's forward pass in every step
        and for writing.""",
        tables=tables,
    )


def _total(told: Told) -> str:
    parts = [judged.seconds for judged in told.students.values()]
    if not told.config.teacher_weights:
        parts.append(told.judged.seconds)
    parts += [np.atleast_1d(made["seconds"]) for made in (told.kept, told.written) if made]
    total = float(np.concatenate(parts).sum())
    return f", {total / 60:,.0f} minutes in all" if np.isfinite(total) else ""


def _summary(told: Told) -> str:
    bits = {ARMS[arm]: Spread.of(judged.bits) for arm, judged in told.students.items()}
    own = ", ".join(f"{name} {spread:.3f}" for name, spread in bits.items())
    teacher = Spread.of(told.judged.bits)
    parts = [
        f"Bits per byte of held-out text at equal steps: {own}; the teacher {teacher:.3f}.",
        reason(told),
        f"jaxkd {jaxkd.__version__}, {told.config.seeds} seeds, alpha {told.config.alpha}, "
        f"temperature {told.config.temperature}{_total(told)}.",
    ]
    return "\n\n".join(part for part in parts if part)
