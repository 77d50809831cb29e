"""The teacher of the language experiment: its training, its cache, and the text it generates."""

import dataclasses
import functools
import math
import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import jaxkd
from experiments.language.config import Config
from experiments.language.corpus import Corpus, prompts_of
from experiments.language.evaluation import TEST_BATCH, LanguageEvaluator
from experiments.language.networks import generator, make_decoder, read_decoder
from jaxkd import Network, recipes, strategies
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.generation import CachedDecoder
from jaxkd.networks import add_outputs
from jaxkd.study import Arm, ArmResult, ArmTraining, Study
from jaxkd.study.runner import saved
from jaxkd.study.runtime import Runtime
from jaxkd.targets import Codec, Sampled, TopK

_SEED = 1000


def make_study(
    config: Config,
    corpus: Corpus,
    decoder: CachedDecoder,
    make_network: Callable[[int], Network],
    teacher: CachedDecoder | None,
    **options: Any,
) -> Study:
    """Makes the study of networks that compute as a decoder does; without a teacher, of one."""
    make_evaluator = functools.partial(
        LanguageEvaluator,
        config=config,
        corpus=corpus,
        decoder=decoder,
        teacher=teacher.network if teacher else None,
    )
    return Study(
        {"train": corpus.train, "test": corpus.test, **options.pop("data", {})},
        make_network,
        batch_size=config.batch_size,
        make_evaluator=make_evaluator,
        metric=("bits_per_byte", "min"),
        population=False,
        evaluations=5,
        steps_per_call=20,
        **options,
    )


def load_teacher(
    config: Config, workdir: pathlib.Path, corpus: Corpus, runtime: Runtime
) -> tuple[CachedDecoder, ArmResult]:
    """Trains a teacher, or reads a published one, and measures it as an arm of its own.

    Returns:
      The teacher and its result; one that was not trained has made no steps.
    """
    published = config.teacher_weights
    if published:
        decoder = read_decoder(pathlib.Path(published), corpus.tokenizer)
    else:
        decoder = make_decoder(config.teacher, corpus.tokenizer, _SEED)
    study = make_study(
        config,
        corpus,
        decoder,
        lambda seed: decoder.network,
        None,
        arms=[Arm(_published if published else "labels", name="teacher")],
        seeds=1,
        steps=config.teacher_steps,
        learning_rate=config.teacher_learning_rate,
        workdir=workdir / "teacher",
        runtime=runtime,
    )
    results = study.run()
    return dataclasses.replace(decoder, network=results.network("teacher")), results["teacher"]


def _published(study: Study, seed: int) -> ArmTraining:
    return dataclasses.replace(study.training(seed, recipes.labels()), steps=0)


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
