"""The students of the language experiment: what each arm learns from, and by which objective."""

import dataclasses

import jax.numpy as jnp

from experiments.common.study import Arm
from experiments.language.config import CACHED, Config
from experiments.language.corpus import Corpus
from experiments.language.networks import generator
from jaxkd import Network, Objective, Term, losses, recipes, strategies
from jaxkd.cache import Cache
from jaxkd.data import Sequences
from jaxkd.generation import CachedDecoder
from jaxkd.networks import without_logits
from jaxkd.training import BatchTransform


def make_arm(
    name: str,
    config: Config,
    corpus: Corpus,
    student: CachedDecoder,
    teacher: CachedDecoder,
    cache: Cache | None,
    generated: Sequences | None,
) -> Arm:
    """Makes an arm of the study, which is that of the labels but for what its name says.

    Args:
      name: one of `ARMS`.
      config: configuration of the experiment.
      corpus: texts.
      student: how students compute.
      teacher: trained teacher, which the arm `on_policy` runs in every step.
      cache: its cached outputs, for the arms that learn from them.
      generated: rows that it generated, for the arm `sequences`.

    Returns:
      The arm.
    """
    arm = Arm(name, corpus.train, recipes.labels(), config.steps)
    if name == "sequences":
        assert generated is not None
        return dataclasses.replace(arm, train=generated)
    if name == "on_policy":
        return dataclasses.replace(
            arm,
            objective=recipes.language.gkd(beta=config.beta, temperature=config.temperature),
            teacher=teacher.network,
            step_options={"batch_transform": _own_texts(config, corpus, student)},
        )
    if name not in CACHED:
        return arm
    output = "samples" if name == "sampled" else "logits"
    objective = distillation(config, output, 1.0 if name == "top_k_alone" else config.alpha)
    arm = dataclasses.replace(arm, objective=objective, cache=cache)
    if not config.fused:
        return arm

    def with_logits(trained: Network) -> Network:
        return student.network.replace(params=trained.params, state=trained.state)

    # The fused loss computes the head itself; logits are needed for the evaluation alone.
    return dataclasses.replace(
        arm, extend=lambda network, seed: without_logits(network), deploy=with_logits
    )


def _own_texts(config: Config, corpus: Corpus, student: CachedDecoder) -> BatchTransform:
    # Texts of a student are worth scoring only when it has learned something.
    first = round(config.warm * config.steps)
    return strategies.on_policy(
        generator(config, corpus.tokenizer, student),
        prompt_length=config.prompt_length,
        share=lambda step: jnp.where(step < first, 0.0, config.share),
    )


def distillation(config: Config, output: str, alpha: float) -> Objective:
    """Returns `alpha T² KL + (1 - alpha) CE` on a cached output, fused with the head or not."""
    t = config.temperature
    if config.fused:
        loss = losses.fused_kd(alpha=alpha, temperature=t)
        return Objective(kd=Term(loss, 1.0, t, student=("hidden", "head"), teacher=output))
    terms = {} if alpha == 1 else {"label": Term(losses.cross_entropy, weight=1 - alpha)}
    return Objective(**terms, kd=Term(losses.kl_divergence, alpha * t**2, t, teacher=output))
