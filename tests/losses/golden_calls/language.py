"""Losses on tokens: across vocabularies, on-policy, and with published guards against zeros."""

import jax
import jax.numpy as jnp
import numpy as np

from golden_calls import Differs
from jaxkd import losses


def _labeled_sum(values, inputs):
    return losses.masked_sum_and_count(values, inputs["labels"] != -100)


def _adaptive_kl(inputs, outputs, options):
    arguments = options.rest(adaptive_kl_alpha="tail_mass", kd_temperature="temperature")
    values = losses.adaptive_kl(inputs["student_logits"], inputs["teacher_logits"], **arguments)
    return _labeled_sum(values, inputs)[0]


def _js(inputs, outputs, options):
    arguments = options.rest(kd_temperature="temperature")
    values = losses.js_divergence(inputs["student_logits"], inputs["teacher_logits"], **arguments)
    return _labeled_sum(values, inputs)[0]


def _js_shifted_logs(inputs, outputs, options):
    """1e-9 inside every logarithm."""
    q, p = (
        jax.nn.softmax(inputs[name] / options["kd_temperature"])
        for name in ("student_logits", "teacher_logits")
    )
    m = (p + q) / 2
    terms = sum(x * (jnp.log(x + 1e-9) - jnp.log(m + 1e-9)) for x in (p, q))
    return _labeled_sum(0.5 * jnp.sum(terms, axis=-1), inputs)[0]


def _sparse_options(inputs, options):
    """The temperature, and whether the mass left over is a class rather than ignored ("zero")."""
    options.describes("k", inputs["teacher_topk_ids"], -1)
    with_rest = options.choose("missing", {"symmetric_uniform": True, "zero": False})
    return options["temperature"], with_rest


def _sparse_js(inputs, outputs, options):
    """The mass left over is tempered as if it were one class."""
    temperature, with_rest = _sparse_options(inputs, options)
    log_p = inputs["teacher_topk_logprobs"]
    tail = jnp.log1p(-jnp.sum(jnp.exp(log_p), axis=-1)) / temperature
    teacher = losses.SparseLogits(
        indices=inputs["teacher_topk_ids"],
        logits=log_p,
        tail=(tail if with_rest else jnp.full_like(tail, -jnp.inf))[..., None],
        temperatures=(temperature,),
        num_classes=inputs["student_logits"].shape[-1],
    )
    values = losses.js_divergence(inputs["student_logits"], teacher, temperature=temperature)
    total, count = _labeled_sum(values, inputs)
    return temperature**2 * total / count


def _sparse_js_clamped(inputs, outputs, options):
    """The same in probabilities: mixtures and rests not below eps, smaller terms dropped."""
    temperature, with_rest = _sparse_options(inputs, options)
    eps = options["eps"]
    student = jax.nn.log_softmax(inputs["student_logits"] / temperature)
    log_q = jnp.take_along_axis(student, inputs["teacher_topk_ids"], axis=-1)
    log_p = inputs["teacher_topk_logprobs"]
    tempered = jnp.exp(log_p / temperature)
    total = jnp.sum(tempered, axis=-1, keepdims=True)
    rest = jnp.zeros(())
    if with_rest:
        mass = jnp.sum(jnp.exp(log_p), axis=-1, keepdims=True)
        total += jnp.clip(1 - mass, 0, 1) ** (1 / temperature)
        sums = (jnp.sum(x, axis=-1, keepdims=True) for x in (tempered / total, jnp.exp(log_q)))
        rests = [jnp.log1p(-jnp.clip(x, eps, 1 - eps)) for x in sums]
        log_p, log_q = (
            jnp.concatenate([x, of_rest], axis=-1)
            for x, of_rest in zip((jnp.log(tempered / total), log_q), rests, strict=True)
        )
    else:
        log_p = jnp.log(tempered / total)
        rest = jnp.maximum(1 - jnp.sum(jnp.exp(log_q), axis=-1), 0) * np.log(2)
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    log_m = jnp.log(jnp.maximum((p + q) / 2, eps))
    terms = sum(
        jnp.sum(jnp.where(x > eps, x * (log_x - log_m), 0), axis=-1)
        for x, log_x in ((p, log_p), (q, log_q))
    )
    total, count = _labeled_sum(0.5 * (terms + rest), inputs)
    return temperature**2 * total / count


def _responses(labels, skip_last):
    """As many tokens from the first labeled one on as there are labels."""
    labeled = labels != -100
    offset = np.arange(labels.shape[1]) - labeled.argmax(axis=1)[:, None]
    return (offset >= 0) & (offset < labeled.sum(axis=1, keepdims=True) - skip_last)


def _without_first_chunk(responses, chunks):
    """Drops the chunk that nothing predicts, if a response begins with the sequence."""
    begins = np.any([response[:, :1] for response in responses], axis=0)
    return [np.where(begins & (x == 0), -1, x) for x in chunks]


def _uld(inputs, outputs, options):
    sides = ("student", "teacher")
    responses = [_responses(inputs[f"{x}_labels"], options[f"uld_skip_{x}_eos"]) for x in sides]
    if options["use_extended_uld"]:
        offsets = (inputs[f"{side}_byte_offsets"] for side in sides)
        chunks = losses.align_by_bytes(
            *offsets, student_where=responses[0], teacher_where=responses[1]
        )
    else:
        chunks = losses.align_by_position(*responses)
    logits = [inputs[f"{side}_logits"] for side in sides]
    keep = options.choose("uld_token_merge_strategy", {"observed": "first", "bayesian": "last"})
    if keep == "last":
        chunks = _without_first_chunk(responses, chunks)
        logits = [jnp.roll(x, 1, axis=1) for x in logits]
    (log_q, present), (log_p, _) = (
        losses.chunk_log_probs(
            x,
            inputs[f"{side}_input_ids"],
            of_side,
            num_chunks=min(of_token.shape[1] for of_token in chunks),
            keep=keep,
            temperature=options[f"uld_{side}_temperature"],
        )
        for x, side, of_side in zip(logits, sides, chunks, strict=True)
    )
    hybrid, beta, matched, unmatched = (
        options.get(name)
        for name in (
            "uld_use_hybrid_loss",
            "beta",
            "uld_hybrid_matched_weight",
            "uld_hybrid_unmatched_weight",
        )
    )
    if hybrid:
        values = losses.hybrid_uld(
            log_q,
            log_p,
            student_ids=inputs["vocab_map_student"],
            teacher_ids=inputs["vocab_map_teacher"],
            beta=beta,
            matched_weight=matched,
            # The reference overrules this one where the other is None.
            unmatched_weight=None if matched is None else unmatched,
            where=present,
        )
    else:
        values = losses.uld_from_log_probs(log_q, log_p, where=present)
    each = jnp.sum(values, axis=1) / jnp.maximum(jnp.sum(present, axis=1), 1)
    distilled = options["uld_distillation_weight"] * jnp.mean(each)
    weight = options["uld_crossentropy_weight"]
    if not weight:
        return distilled
    labels = inputs["student_labels"][:, 1:]
    label = losses.cross_entropy(inputs["student_logits"][:, :-1], labels)
    return distilled + weight * losses.masked_mean(label, labels != -100)


def _uld_by_position(inputs, outputs, options):
    sides = ("student", "teacher")
    chunks = losses.align_by_position(*(inputs[f"{side}_labels"] != -100 for side in sides))
    (student, present), (teacher, _) = (
        losses.chunk_log_probs(
            inputs[f"{side}_logits"],
            jnp.zeros_like(of_side),
            of_side,
            num_chunks=of_side.shape[1],
        )
        for side, of_side in zip(sides, chunks, strict=True)
    )
    return jnp.sum(losses.uld(student, teacher, where=present))


def _minillm_reg(inputs, outputs, options):
    mask = inputs["mask"] > 0
    values = losses.reverse_kl_divergence(
        inputs["student_logits"], inputs["teacher_logits"], where=mask
    )
    return losses.masked_mean(values, mask)


def _minillm_pg(inputs, outputs, options):
    """The statistics of the published whitening are over padding as well."""
    mask = inputs["mask"] > 0
    returns = losses.length_normalized_returns(
        inputs["rewards"], discount=options["gamma"], where=mask
    )
    advantages = losses.whiten(returns)
    values = losses.policy_gradient(
        inputs["logprobs"],
        advantages,
        old_log_probs=inputs["old_logprobs"],
        importance=inputs["w"],
        clip=options["cliprange"],
        where=mask,
    )
    return losses.masked_mean(values, mask), {"out_advantages": advantages}


CALLS = {
    "adaptive_kl": _adaptive_kl,
    "js__dskd": Differs("1e-9 inside every logarithm", _js, _js_shifted_logs, at_most=1e-6),
    "sparse_js": Differs(
        "probabilities are clamped at eps or dropped",
        _sparse_js,
        _sparse_js_clamped,
        at_most=1e-6,
        guards=("eps",),
    ),
    "uld": _uld,
    "uld__dskd": _uld_by_position,
    "uld_extended": _uld,
    "minillm_reg": _minillm_reg,
    "minillm_pg": _minillm_pg,
}
