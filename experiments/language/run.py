"""Training of experiments.language."""

import dataclasses
import pathlib

from experiments.common.runtime import Runtime
from experiments.language import arms as language_arms
from experiments.language import corpus as language_text
from experiments.language.arms import ARMS
from experiments.language.config import Config
from experiments.language.report import Told
from experiments.language.training import Lessons
from jaxkd.training import bind_config


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> Told:
    """Trains the teacher and all students, and judges them.

    Args:
      config: that `check` lets pass.
      workdir: everything is kept below it; what was finished before is read, and a work directory
        of another configuration (arms aside) is refused.
      runtime: devices, tracing and consent.

    Returns:
      What came out.

    Raises:
      FileNotFoundError: no text, or no checkpoint.
      ValueError: texts that are too short, before anything is trained.
    """
    corpus = language_text.read(config, workdir)
    arms = [arm for arm in ARMS if arm in config.arms.split(",")]
    if "sequences" in arms:
        language_text.prompts_of(corpus.train, config.prompt_length, config.written)
    lessons = Lessons(config, workdir, corpus, runtime.partitioning, runtime.profile)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    language_text.keep(corpus.tokenizer, workdir)
    teacher, judged = language_arms.teach(lessons)
    cache = kept = rows = made = None
    if {"top_k", "top_k_alone", "sampled"} & set(arms):
        cache, kept = language_arms.ask(lessons, teacher)
    if "sequences" in arms:
        rows, made = language_arms.dictated(lessons, teacher)
    students = {
        arm: language_arms.learn(lessons, arm, teacher, cache, rows if arm == "sequences" else None)
        for arm in arms
    }
    return Told(config, lessons, teacher, judged, students, kept, made)
