"""The students of the language experiment: what each arm learns from, and by which objective."""

import jax.numpy as jnp

from experiments.language.config import Config
from experiments.language.corpus import Corpus
from experiments.language.networks import generator
from jaxkd import Network, Objective, Term, losses, recipes, strategies
from jaxkd.cache import Cache
from jaxkd.generation import CachedDecoder
from jaxkd.networks import without_logits
from jaxkd.study import Arm, ArmTraining, Study
from jaxkd.training import BatchTransform


def make_arm(
    name: str,
    config: Config,
    corpus: Corpus,
    student: CachedDecoder,
    teacher: CachedDecoder,
    cache: Cache | None,
) -> Arm:
    """Makes an arm of the study; that of the sequences trains on its data `generated`.

    Args:
      name: one of `ARMS`.
      config: configuration of the experiment.
      corpus: texts.
      student: how students compute.
      teacher: trained teacher, which the arm `on_policy` runs in every step.
      cache: its cached outputs, for the arms that learn from them.

    Returns:
      The arm.
    """
    if name in ("labels", "sequences"):
        return Arm("labels", name=name, data="generated" if name == "sequences" else "train")
    output = "samples" if name == "sampled" else "logits"
    objective = distillation(config, output, 1.0 if name == "top_k_alone" else config.alpha)

    def on_policy(study: Study, seed: int) -> ArmTraining:
        objective = recipes.language.gkd(beta=config.beta, temperature=config.temperature)
        options = {"batch_transform": _own_texts(config, corpus, student)}
        return study.training(
            seed, objective, teacher=teacher.network, online=True, step_options=options
        )

    def cached(study: Study, seed: int) -> ArmTraining:
        return study.training(seed, objective, cache=cache)

    def fused(study: Study, seed: int) -> ArmTraining:
        # The loss computes the head itself; logits are needed for the evaluation alone.
        own = without_logits(study.make_student(seed))
        return study.training(seed, objective, cache=cache, student=own, deploy=with_logits)

    def with_logits(trained: Network) -> Network:
        return student.network.replace(params=trained.params, state=trained.state)

    cached_by = fused if config.fused else cached
    return Arm(on_policy if name == "on_policy" else cached_by, name=name)


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
