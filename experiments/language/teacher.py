"""The teacher of the language experiment: its training, its cache, and the text it generates."""

import dataclasses
import math
import pathlib
import time
from typing import Any

import numpy as np

import jaxkd
from experiments.common.study import Arm, Result, adamw
from experiments.language.config import Config
from experiments.language.corpus import Corpus, prompts_of
from experiments.language.evaluation import TEST_BATCH, LanguageEvaluator
from experiments.language.networks import generator, make_decoder, read_decoder
from jaxkd import Views, recipes, strategies
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.generation import CachedDecoder
from jaxkd.networks import add_outputs
from jaxkd.study.runner import Training, saved, train
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Codec, Sampled, TopK

STEPS_PER_CALL = 20
_SEED = 1000


def load_teacher(
    config: Config, workdir: pathlib.Path, corpus: Corpus, runtime: Runtime
) -> tuple[CachedDecoder, Result]:
    """Trains a teacher, or reads a published one, and measures it as an arm of its own.

    Returns:
      The teacher and its result; seconds and curve are nan where it was not trained.
    """
    arm = Arm("teacher", corpus.train, recipes.labels(), config.teacher_steps)
    if config.teacher_weights:
        teacher = read_decoder(pathlib.Path(config.teacher_weights), corpus.tokenizer)
        training = {"seconds": math.nan, "curve_steps": [0], "curve": [math.nan]}
    else:
        teacher, training = _train(config, workdir, corpus, runtime, arm)
    evaluator = LanguageEvaluator(
        corpus.test, Views(), runtime, config=config, corpus=corpus, decoder=teacher
    )
    values = saved(
        workdir / arm.name / "result.npz",
        lambda: {**training, **evaluator.results(teacher.network)},
    )
    curve_steps = values.pop("curve_steps")
    values = {name: value[None] for name, value in values.items()}  # of one seed
    return teacher, Result(arm, values, curve_steps, values.pop("curve"), values.pop("seconds"))


def _train(
    config: Config, workdir: pathlib.Path, corpus: Corpus, runtime: Runtime, arm: Arm
) -> tuple[CachedDecoder, dict[str, Any]]:
    """Trains a decoder; returns it, its seconds and its learning curve."""
    decoder = make_decoder(config.teacher, corpus.tokenizer, _SEED)
    evaluator = LanguageEvaluator(
        corpus.test, Views(), runtime, config=config, corpus=corpus, decoder=decoder
    )
    optimizer = adamw(config.teacher_learning_rate, arm.steps)
    batch_size = config.batch_size
    trained = train(
        Training(
            workdir=workdir / arm.name,
            step=runtime.train_step(
                decoder.network, arm.objective, optimizer, batch_size=batch_size
            ),
            loader=runtime.loader(arm.train, Views(), batch_size),
            steps=arm.steps,
            evaluate=lambda state: evaluator.scores(state.network(decoder.network)),
            logs_per_evaluation=4,
            steps_per_call=STEPS_PER_CALL,
        ),
        runtime,
    )
    curve_steps, curve = trained.curve(evaluator.metric)
    training = {"seconds": trained.seconds, "curve_steps": curve_steps, "curve": curve}
    return dataclasses.replace(decoder, network=trained.network), training


def cache_outputs(
    config: Config, workdir: pathlib.Path, corpus: Corpus, teacher: CachedDecoder
) -> tuple[Cache, dict[str, np.ndarray]]:
    """Caches the teacher's outputs of all training rows by both codecs, in one pass.

    Returns:
      The cache, with the outputs `logits` (the likeliest tokens) and `samples`; and its `seconds`,
      `bytes`, and by output its bytes a token.
    """
    # The same logits under another name, for another codec.
    network = add_outputs(teacher.network, lambda params, outputs: {"samples": outputs["logits"]})
    codecs: dict[str, Codec] = {
        "logits": TopK(config.k, temperatures=tuple(sorted({1.0, float(config.temperature)}))),
        "samples": Sampled(config.samples, temperature=config.temperature),
    }
    path = workdir / "cache"
    resumed = path.exists()
    started = time.perf_counter()
    cache = jaxkd.cache.build(path, network, corpus.train, codec=codecs, batch_size=TEST_BATCH)
    seconds = math.nan if resumed else time.perf_counter() - started

    def bytes_per_token(name: str, codec: Codec) -> np.ndarray:
        layout = codec.layout(cache.shapes[name]).values()
        size = sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in layout)
        return np.array(size / config.length)

    costs = saved(
        workdir / "cache.npz",
        lambda: {
            "seconds": np.array(seconds),
            "bytes": np.array(cache.bytes),
            **{name: bytes_per_token(name, codec) for name, codec in codecs.items()},
        },
    )
    return cache, costs


def generate_rows(
    config: Config, workdir: pathlib.Path, corpus: Corpus, teacher: CachedDecoder
) -> tuple[Sequences, dict[str, np.ndarray]]:
    """Lets the teacher continue beginnings of training rows, as rows to learn from.

    Returns:
      The rows; and their `tokens`, `lengths`, and the `seconds` that it took.
    """
    prompts, ids = prompts_of(corpus.train, config.prompt_length, config.generated_rows)
    prompt_lengths = np.full(len(prompts), config.prompt_length)

    def generate() -> dict[str, np.ndarray]:
        started = time.perf_counter()
        generated = strategies.generate_targets(
            generator(config, corpus.tokenizer, teacher),
            teacher.network,
            prompts,
            prompt_lengths,
            ids=ids,
            batch_size=min(64, len(prompts)),
        )
        return {
            "tokens": generated.tokens,
            "lengths": generated.lengths,
            "seconds": np.array(time.perf_counter() - started),
        }

    arrays = saved(workdir / "generated.npz", generate)
    dataset = strategies.GeneratedDataset(ids, arrays["tokens"], arrays["lengths"], prompt_lengths)
    rows = dataset.sequences(
        name=f"{corpus.train.name}, generated by the teacher",
        split="train",
        vocab_size=corpus.tokenizer.vocab_size,
        tokenizer=corpus.tokenizer.fingerprint,
    )
    return rows, arrays
