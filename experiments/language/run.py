"""Training of experiments.language: a teacher, its cache, and the students of all arms."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from experiments.language.arms import make_arm
from experiments.language.config import ARMS, CACHED, Config, check
from experiments.language.corpus import Corpus, prompts_of, read_corpus, save_tokenizer
from experiments.language.networks import make_decoder
from experiments.language.teacher import cache_outputs, generate_rows, load_teacher, make_study
from jaxkd import Network
from jaxkd.study import ArmResult
from jaxkd.study._wording import spread_over
from jaxkd.study.runtime import Runtime
from jaxkd.training import bind_config


@dataclasses.dataclass(frozen=True)
class LanguageResults:
    """All results of the experiment, which the report shows.

    Attributes:
      config: configuration of the experiment.
      corpus: texts.
      teacher_network: trained teacher.
      student_network: an untrained student.
      teacher: what the teacher gave, with the arrays of `LanguageEvaluator.results`.
      students: by arm what its students gave, likewise.
      cache: seconds and bytes of the cache, None if no arm needed it.
      generated: tokens, lengths and seconds of the rows that the teacher generated, None if no arm
        needed them.
    """

    config: Config
    corpus: Corpus
    teacher_network: Network
    student_network: Network
    teacher: ArmResult
    students: Mapping[str, ArmResult]
    cache: Mapping[str, np.ndarray] | None
    generated: Mapping[str, np.ndarray] | None

    @property
    def caption(self) -> str:
        """Caption of every table and figure of students."""
        return (
            f"{spread_over(self.config.seeds)}, {self.config.steps:,} steps of "
            f"{self.config.batch_size} rows of {self.config.length} tokens, last step; one teacher."
        )


def run(config: Config, workdir: pathlib.Path, runtime: Runtime) -> LanguageResults:
    """Trains and measures the teacher and all students.

    Args:
      config: configuration of the experiment.
      workdir: folder for everything; finished runs are read, interrupted ones resumed, and a work
        directory of another configuration (arms aside) is refused.
      runtime: devices and tracing.

    Returns:
      The results of the chosen arms.

    Raises:
      FileNotFoundError: there is no text, or no checkpoint.
      ValueError: a configuration that cannot run, or texts that are too short, before anything is
        trained.
    """
    check(config)
    corpus = read_corpus(config, workdir)
    names = [name for name in ARMS if name in config.arms.split(",")]
    if "sequences" in names:
        prompts_of(corpus.train, config.prompt_length, config.generated_rows)
    bind_config(workdir, {k: v for k, v in dataclasses.asdict(config).items() if k != "arms"})
    save_tokenizer(corpus.tokenizer, workdir)
    teacher, teacher_result = load_teacher(config, workdir, corpus, runtime)
    cache = cache_costs = generated = None
    data = {}
    if set(CACHED) & set(names):
        cache, cache_costs = cache_outputs(config, workdir, corpus, teacher)
    if "sequences" in names:
        data["generated"], generated = generate_rows(config, workdir, corpus, teacher)
    student = make_decoder(config.student, corpus.tokenizer, 0)

    def make_student(seed: int) -> Network:
        fresh = make_decoder(config.student, corpus.tokenizer, seed).network
        # The same functions for all seeds, so that they share compiled programs.
        return student.network.replace(params=fresh.params, state=fresh.state)

    study = make_study(
        config,
        corpus,
        student,
        make_student,
        teacher,
        data=data,
        arms=[make_arm(name, config, corpus, student, teacher, cache) for name in names],
        seeds=config.seeds,
        steps=config.steps,
        learning_rate=config.learning_rate,
        workdir=workdir / "students",
        runtime=runtime,
    )
    return LanguageResults(
        config=config,
        corpus=corpus,
        teacher_network=teacher.network,
        student_network=student.network,
        teacher=teacher_result,
        students=study.run().arms,
        cache=cache_costs,
        generated=generated,
    )
