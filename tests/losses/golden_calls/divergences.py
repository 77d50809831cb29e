"""Divergences over tokens and sparse targets."""

import jax
import jax.numpy as jnp

from jaxkd import losses


def _tokens(inputs, loss, **arguments):
    """Sum and number of a loss over the tokens that have a label."""
    mask = inputs["labels"] != -100
    values = loss(inputs["student_logits"], inputs["teacher_logits"], where=mask, **arguments)
    return losses.masked_sum_and_count(values, mask)


def _token_mean(loss, *, entropy=0.0):
    """The mean over tokens; DistiLLM adds `entropy` times the teacher's entropy."""

    def call(inputs, outputs, options):
        total, count = _tokens(inputs, loss, **options.rest(lam="skew"))
        return total / count + entropy * outputs.get("out_teacher_entropy", 0.0)

    return call


def _token_sum(loss):
    def call(inputs, outputs, options):
        arguments = options.rest(kd_temperature="temperature", skew_lambda="skew")
        return _tokens(inputs, loss, **arguments)[0]

    return call


def _symmetric_kl(inputs, outputs, options):
    """`(1 - lam)` of the forward KL, as a cross entropy, and `lam` of the reverse."""
    lam = options["lam"]
    forward, count = _tokens(inputs, losses.kl_divergence)
    reverse, _ = _tokens(inputs, losses.reverse_kl_divergence)
    total = (1 - lam) * forward + lam * reverse
    if lam == 0.5:
        total, _ = _tokens(inputs, losses.symmetric_kl_divergence)
    return total / count + (1 - lam) * outputs["out_teacher_entropy"]


def _js_distance(inputs, outputs, options):
    total, count = _tokens(inputs, losses.js_divergence, beta=1 - options["lam"])
    return total / count


def _generalized_jsd(inputs, outputs, options):
    """Without labels all tokens count, and a batch's mean is one over examples, not over tokens."""
    labels_used, items = options["labels_used"], options["num_items_in_batch"]
    if not labels_used:
        inputs = inputs | {"labels": jnp.zeros_like(inputs["labels"])}
    total, count = _tokens(
        inputs, losses.js_divergence, beta=options["beta"], temperature=options["temperature"]
    )
    divisor = options.choose(
        "reduction",
        {
            "batchmean": count if labels_used else len(inputs["labels"]),
            "sum": 1,
            "mean": count * inputs["student_logits"].shape[-1],
        },
    )
    return total / (divisor if items is None else items)


def _sparse_teacher(inputs, temperature, tail):
    """A teacher from the stored top-k log-probabilities and a log-mass at one temperature."""
    return losses.SparseLogits(
        indices=inputs["teacher_topk_ids"],
        logits=inputs["teacher_topk_logprobs"],
        tail=tail[..., None],
        temperatures=(temperature,),
        num_classes=inputs["student_logits"].shape[-1],
    )


def _log_rest(inputs):
    return jnp.log1p(-jnp.sum(jnp.exp(inputs["teacher_topk_logprobs"]), axis=-1))


def _effect_of_clamping(inputs, temperature, eps, most):
    """What it adds to a KL over k + 1 buckets to clamp both masses of the last at eps and `most`.

    0 where no mass is clamped. The mass left over by the teacher is tempered as if it were one
    class.
    """
    log_p, ids = inputs["teacher_topk_logprobs"], inputs["teacher_topk_ids"]
    left_over = jnp.maximum(1 - jnp.sum(jnp.exp(log_p), axis=-1), 0) ** (1 / temperature)
    listed = jnp.sum(jnp.exp(log_p / temperature), axis=-1)
    p = left_over / (listed + left_over)
    log_q = jax.nn.log_softmax(inputs["student_logits"] / temperature)
    rest = jnp.put_along_axis(log_q, ids, -jnp.inf, axis=-1, inplace=False)
    log_rest = jax.nn.logsumexp(rest, axis=-1)

    def term(p, log_q):
        return jax.scipy.special.xlogy(p, p) - p * log_q

    clamped = jnp.clip(log_rest, jnp.log(eps), jnp.log(most))
    return term(jnp.clip(p, eps, most), clamped) - term(p, log_rest)


def _distillkit(loss, *, clamped):
    """DistillKit tempers the mass left over as if it were one class, or ignores it ("zero")."""

    def call(inputs, outputs, options):
        temperature, mask = options["temperature"], inputs["labels"] != -100
        options.describes("k", inputs["teacher_topk_ids"], -1)
        with_rest = options.choose("missing", {"symmetric_uniform": True, "zero": False})
        tail = _log_rest(inputs) / temperature
        if not with_rest:
            tail = jnp.full_like(tail, -jnp.inf)
        teacher = _sparse_teacher(inputs, temperature, tail)
        total, count = _tokens(inputs | {"teacher_logits": teacher}, loss, temperature=temperature)
        if clamped and with_rest:
            eps = options["eps"]
            effect = _effect_of_clamping(inputs, temperature, eps, 1 - eps)
            total += losses.masked_sum_and_count(effect, mask)[0]
        return temperature**2 * total / count

    return call


def _tail_bucket(inputs, outputs, options):
    options.describes("k", inputs["teacher_topk_ids"], -1)
    if options["add_tail"]:
        teacher = _sparse_teacher(inputs, 1.0, _log_rest(inputs))
        inputs = inputs | {"teacher_logits": teacher}
    else:
        listed = jnp.take_along_axis(inputs["student_logits"], inputs["teacher_topk_ids"], axis=-1)
        inputs = inputs | {
            "student_logits": listed,
            "teacher_logits": inputs["teacher_topk_logprobs"],
        }
    total, count = _tokens(inputs, losses.kl_divergence)
    return total / count


def _ghost_token(inputs, outputs, options):
    """Without the ghost token the teacher's probabilities are left as they are, with a sum below 1.

    Ours normalize the listed ones: KL(p / s, q) = sum_k p_k / s (log p_k / s - log q_k).
    """
    eps, ids = options["eps"], inputs["teacher_topk_ids"]
    options.describes("k", ids, -1)
    student, tail = inputs["student_logits"], _log_rest(inputs)
    padding = inputs["teacher_topk_logprobs"] == -1000
    inputs = inputs | {"teacher_topk_ids": jnp.where(padding, student.shape[-1], ids)}
    if options["add_ghost_token"]:
        values = losses.kl_divergence(student, _sparse_teacher(inputs, 1.0, tail))
        values += _effect_of_clamping(inputs, 1.0, eps, jnp.inf)
    else:
        alone = _sparse_teacher(inputs, 1.0, jnp.full_like(tail, -jnp.inf))
        listed = jnp.sum(jnp.exp(inputs["teacher_topk_logprobs"]), axis=-1)
        values = listed * (losses.kl_divergence(student, alone) + jnp.log(listed))
    value = losses.masked_sum_and_count(values.T, inputs["loss_mask"] > 0)[0]
    return value, {"out_kl_per_token": values.T}


CALLS = {
    "forward_kl": _token_mean(losses.kl_divergence, entropy=1.0),
    "forward_kl__dskd": _token_sum(losses.kl_divergence),
    "reverse_kl": _token_mean(losses.reverse_kl_divergence),
    "reverse_kl__dskd": _token_sum(losses.reverse_kl_divergence),
    "symmetric_kl": _symmetric_kl,
    "generalized_jsd": _generalized_jsd,
    "js_distance": _js_distance,
    "skew_forward_kl": _token_mean(losses.skew_kl_divergence, entropy=1.0),
    "skew_forward_kl__dskd": _token_sum(losses.skew_kl_divergence),
    "skew_reverse_kl": _token_mean(losses.skew_reverse_kl_divergence),
    "skew_reverse_kl__dskd": _token_sum(losses.skew_reverse_kl_divergence),
    "tvd": _token_mean(losses.total_variation),
    "sparse_kl": _distillkit(losses.kl_divergence, clamped=True),
    "sparse_tvd": _distillkit(losses.total_variation, clamped=False),
    "sparse_kl_tail": _tail_bucket,
    "sparse_kl_ghost": _ghost_token,
}
