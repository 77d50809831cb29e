"""Teacher, caches and students of the language experiment."""

import dataclasses
import math
import pathlib
import time
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

import jaxkd
from experiments.common.runner import saved
from experiments.language import corpus as language_text
from experiments.language.training import TEST_BATCH, Judged, Lessons
from jaxkd import Objective, Term, losses, recipes, strategies, weights
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.generation import CachedDecoder, from_decoder
from jaxkd.models import Decoder
from jaxkd.networks import add_outputs, without_logits
from jaxkd.targets import Codec, Sampled, TopK

ARMS = {
    "labels": "labels alone",
    "top_k": "top-k and labels",
    "top_k_alone": "top-k alone",
    "sampled": "draws and labels",
    "on_policy": "on-policy",
    "sequences": "teacher's texts",
}
"""The students, and what the report calls them."""


def teach(lessons: Lessons) -> tuple[CachedDecoder, Judged]:
    """The teacher, trained here or from elsewhere, and what it is worth."""
    config = lessons.config
    trace: dict[str, np.ndarray] = {}
    if config.teacher_weights:
        teacher = pretrained(lessons)
    else:
        decoder = lessons.make(config.teacher, 1000)
        network, trace = lessons.train(
            "teacher",
            decoder.network,
            recipes.labels(),
            lessons.corpus.train,
            steps=config.teacher_steps,
            learning_rate=config.teacher_learning_rate,
        )
        teacher = dataclasses.replace(decoder, network=network)
    none = {
        "seconds": np.array(math.nan),
        "curve_steps": np.array([0]),
        "curve": np.array([math.nan]),
    }
    result = saved(
        lessons.workdir / "teacher" / "result.npz",
        lambda: {**none, **trace, **lessons.judge(teacher, teacher.network, teacher)},
    )
    return teacher, Judged.of([result])


def ask(lessons: Lessons, teacher: CachedDecoder) -> tuple[Cache, dict[str, np.ndarray]]:
    """The teacher's answers to all training rows, each kept in both ways, in one pass."""
    config, rows = lessons.config, lessons.corpus.train
    # The same logits under another name, to be kept by another codec.
    network = add_outputs(teacher.network, lambda params, outputs: {"draws": outputs["logits"]})
    codec: dict[str, Codec] = {
        "logits": TopK(config.k, temperatures=tuple(sorted({1.0, float(config.temperature)}))),
        "draws": Sampled(config.samples, temperature=config.temperature),
    }
    path = lessons.workdir / "cache"
    there = path.exists()
    started = time.perf_counter()
    cache = jaxkd.cache.build(path, network, rows, codec=codec, batch_size=TEST_BATCH)
    took = math.nan if there else time.perf_counter() - started
    sizes = {
        name: sum(math.prod(shape) * np.dtype(kind).itemsize for shape, kind in layout.values())
        for name, layout in ((name, one.layout(cache.shapes[name])) for name, one in codec.items())
    }
    result = saved(
        lessons.workdir / "cache.npz",
        lambda: {
            "seconds": np.array(took),
            "bytes": np.array(cache.bytes),
            **{name: np.array(size / config.length) for name, size in sizes.items()},
        },
    )
    return cache, result


def dictated(lessons: Lessons, teacher: CachedDecoder) -> tuple[Sequences, dict[str, np.ndarray]]:
    """What the teacher writes behind beginnings of training rows, as rows to learn from."""
    config, corpus = lessons.config, lessons.corpus
    prompts, ids = language_text.prompts_of(corpus.train, config.prompt_length, config.written)

    def write() -> dict[str, Any]:
        started = time.perf_counter()
        written = strategies.generate_targets(
            lessons.writer(teacher),
            teacher.network,
            prompts,
            np.full(len(prompts), config.prompt_length),
            ids=ids,
            batch_size=min(64, len(prompts)),
        )
        return {
            "tokens": written.tokens,
            "lengths": written.lengths,
            "seconds": np.array(time.perf_counter() - started),
        }

    made = saved(lessons.workdir / "written.npz", write)
    texts = strategies.GeneratedDataset(
        ids, made["tokens"], made["lengths"], np.full(len(ids), config.prompt_length)
    )
    rows = texts.sequences(
        name=f"{corpus.train.name}, as the teacher writes",
        split="train",
        vocab_size=corpus.tokenizer.vocab_size,
        tokenizer=corpus.tokenizer.fingerprint,
    )
    return rows, made


def distilled(config: Any, output: str, alpha: float) -> Objective:
    """`alpha T² KL + (1 - alpha) CE` with the answers of a cache, fused with the head or not."""
    t = config.temperature
    if config.fused:
        loss = losses.fused_kd(alpha=alpha, temperature=t)
        return Objective(kd=Term(loss, 1.0, t, student=("hidden", "head"), teacher=output))
    terms = {} if alpha == 1 else {"label": Term(losses.cross_entropy, weight=1 - alpha)}
    return Objective(**terms, kd=Term(losses.kl_divergence, alpha * t**2, t, teacher=output))


def learn(
    lessons: Lessons,
    arm: str,
    teacher: CachedDecoder,
    cache: Cache | None = None,
    rows: Sequences | None = None,
) -> Judged:
    """Trains a student of an arm for each seed; runs that were finished before are read."""
    config, runs = lessons.config, []
    for seed in range(config.seeds):
        name = f"students/{arm}/seed{seed}"

        def run(name: str = name, seed: int = seed) -> dict[str, Any]:
            network = lessons.student.network
            fresh = lessons.make(config.student, seed).network
            fresh = network.replace(params=fresh.params, state=fresh.state)
            objective, options = _lesson(lessons, arm, teacher, cache)
            trained, trace = lessons.train(
                name,
                fresh,
                objective,
                lessons.corpus.train if rows is None else rows,
                steps=config.steps,
                learning_rate=config.learning_rate,
                seed=seed,
                **options,
            )
            return {**trace, **lessons.judge(lessons.student, trained, teacher)}

        runs.append(saved(lessons.workdir / name / "result.npz", run))
    return Judged.of(runs)


def _lesson(
    lessons: Lessons, arm: str, teacher: CachedDecoder, cache: Cache | None
) -> tuple[Objective, dict[str, Any]]:
    """What an arm minimizes, and what else its training takes."""
    config = lessons.config
    if arm in ("labels", "sequences"):
        return recipes.labels(), {}
    if arm == "on_policy":
        first = round(config.warm * config.steps)
        batch_transform = strategies.on_policy(
            lessons.writer(lessons.student),
            prompt_length=config.prompt_length,
            share=lambda step: jnp.where(step < first, 0.0, config.share),
        )
        objective = recipes.language.gkd(beta=config.beta, temperature=config.temperature)
        return objective, {"teacher": teacher.network, "batch_transform": batch_transform}
    output = "draws" if arm == "sampled" else "logits"
    objective = distilled(config, output, 1.0 if arm == "top_k_alone" else config.alpha)
    options: dict[str, Any] = {"cache": cache}
    if config.fused:
        options["trained"] = without_logits(lessons.student.network)
    return objective, options


def pretrained(lessons: Lessons) -> CachedDecoder:
    """A published decoder from the folder of its checkpoint, for the tokens of its tokenizer.

    Raises:
      FileNotFoundError: no configuration or weights there.
      ValueError: a network that is not ours, weights that do not fit it, or fewer logits than
        tokens.
    """
    folder = pathlib.Path(lessons.config.teacher_weights)
    options = weights.decoder_config(folder)
    tokens, logits = lessons.corpus.tokenizer.vocab_size, options["vocab_size"]
    if logits < tokens:
        raise ValueError(
            f"the tokenizer in {folder} has {tokens} tokens, the network logits of {logits}"
        )
    decoder = from_decoder(
        Decoder(**options, rngs=nnx.Rngs(0)), valid_classes=tokens if tokens < logits else None
    )
    naming = "gemma2" if '"gemma2"' in (folder / "config.json").read_text() else "llama"
    network, _ = weights.load(decoder.network, folder / "model.safetensors", naming=naming)
    return dataclasses.replace(decoder, network=network)
