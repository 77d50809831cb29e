"""The students of the language experiment: what each arm learns from, and by which objective."""

import dataclasses
from collections.abc import Iterable

import jax.numpy as jnp

from experiments.common.study import Arm
from experiments.language.config import Config
from experiments.language.corpus import Corpus
from experiments.language.networks import generator
from jaxkd import Network, Objective, Term, losses, recipes, strategies
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.generation import CachedDecoder
from jaxkd.networks import without_logits


def make_arms(
    names: Iterable[str],
    config: Config,
    corpus: Corpus,
    student: CachedDecoder,
    teacher: CachedDecoder,
    cache: Cache | None,
    generated: Sequences | None,
) -> dict[str, Arm]:
    """Makes arms of the study.

    Args:
      names: some of `ARMS`.
      config: configuration of the experiment.
      corpus: texts.
      student: how students compute.
      teacher: trained teacher, which the arm `on_policy` runs in every step.
      cache: its cached outputs, for the arms that learn from them.
      generated: rows that it generated, for the arm `sequences`.

    Returns:
      The arms by name.
    """
    labels, arms = recipes.labels(), {}
    for name in names:
        if name == "labels":
            arms[name] = Arm(name, corpus.train, labels, config.steps)
        elif name == "sequences":
            assert generated is not None
            arms[name] = Arm(name, generated, labels, config.steps)
        elif name == "on_policy":
            arms[name] = _on_policy(config, corpus, student, teacher)
        else:
            assert cache is not None
            arms[name] = _cached(name, config, corpus, student, cache)
    return arms


def _on_policy(
    config: Config, corpus: Corpus, student: CachedDecoder, teacher: CachedDecoder
) -> Arm:
    # Texts of a student are worth scoring only when it has learned something.
    first = round(config.warm * config.steps)
    batch_transform = strategies.on_policy(
        generator(config, corpus.tokenizer, student),
        prompt_length=config.prompt_length,
        share=lambda step: jnp.where(step < first, 0.0, config.share),
    )
    return Arm(
        "on_policy",
        corpus.train,
        recipes.language.gkd(beta=config.beta, temperature=config.temperature),
        config.steps,
        teacher=teacher.network,
        step_options={"batch_transform": batch_transform},
    )


def _cached(name: str, config: Config, corpus: Corpus, student: CachedDecoder, cache: Cache) -> Arm:
    output = "samples" if name == "sampled" else "logits"
    objective = distillation(config, output, 1.0 if name == "top_k_alone" else config.alpha)
    arm = Arm(name, corpus.train, objective, config.steps, cache=cache)
    if not config.fused:
        return arm

    def with_logits(trained: Network) -> Network:
        return student.network.replace(params=trained.params, state=trained.state)

    # The fused loss computes the head itself; logits are needed for the evaluation alone.
    return dataclasses.replace(
        arm, extend=lambda network, seed: without_logits(network), deploy=with_logits
    )


def distillation(config: Config, output: str, alpha: float) -> Objective:
    """Returns `alpha T² KL + (1 - alpha) CE` on cached outputs, fused with the head or not.

    Args:
      config: configuration of the experiment.
      output: name of the teacher's output in the cache.
      alpha: weight of the teacher.
    """
    t = config.temperature
    if config.fused:
        loss = losses.fused_kd(alpha=alpha, temperature=t)
        return Objective(kd=Term(loss, 1.0, t, student=("hidden", "head"), teacher=output))
    terms = {} if alpha == 1 else {"label": Term(losses.cross_entropy, weight=1 - alpha)}
    return Objective(**terms, kd=Term(losses.kl_divergence, alpha * t**2, t, teacher=output))
