"""Divergences over tokens and sparse targets."""

import jax.numpy as jnp

from jaxkd import losses


def _tokens(inputs, loss, **arguments):
    """Sum and number of a loss over the tokens that have a label."""
    mask = inputs["labels"] != -100
    values = loss(inputs["student_logits"], inputs["teacher_logits"], where=mask, **arguments)
    return losses.masked_sum_and_count(values, mask)


def _token_mean(loss, *, entropy=0.0):
    """The mean over tokens; DistiLLM adds `entropy` times the teacher's entropy."""

    def call(inputs, outputs, **hyperparameters):
        if "lam" in hyperparameters:
            hyperparameters["skew"] = hyperparameters.pop("lam")
        total, count = _tokens(inputs, loss, **hyperparameters)
        return total / count + entropy * outputs.get("out_teacher_entropy", 0.0)

    return call


def _token_sum(loss):
    def call(inputs, outputs, kd_temperature, **hyperparameters):
        if "skew_lambda" in hyperparameters:
            hyperparameters["skew"] = hyperparameters.pop("skew_lambda")
        return _tokens(inputs, loss, temperature=kd_temperature, **hyperparameters)[0]

    return call


def _symmetric_kl(inputs, outputs, lam):
    """`(1 - lam)` of the forward KL, as a cross entropy, and `lam` of the reverse."""
    forward, count = _tokens(inputs, losses.kl_divergence)
    reverse, _ = _tokens(inputs, losses.reverse_kl_divergence)
    total = (1 - lam) * forward + lam * reverse
    if lam == 0.5:
        total, _ = _tokens(inputs, losses.symmetric_kl_divergence)
    return total / count + (1 - lam) * outputs["out_teacher_entropy"]


def _js_distance(inputs, outputs, lam):
    total, count = _tokens(inputs, losses.js_divergence, beta=1 - lam)
    return total / count


def _generalized_jsd(
    inputs, outputs, beta, temperature, reduction, num_items_in_batch, labels_used
):
    if not labels_used:
        inputs = inputs | {"labels": jnp.zeros_like(inputs["labels"])}
    total, count = _tokens(inputs, losses.js_divergence, beta=beta, temperature=temperature)
    if num_items_in_batch is not None:
        return total / num_items_in_batch
    if reduction == "mean":
        return total / (count * inputs["student_logits"].shape[-1])
    return total / (count if labels_used else len(inputs["labels"]))


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


def _distillkit(loss):
    """DistillKit tempers the mass left over as if it were one class, or ignores it ("zero")."""

    def call(inputs, outputs, temperature, missing, k, eps):
        tail = _log_rest(inputs) / temperature
        if missing == "zero":
            tail = jnp.full_like(tail, -jnp.inf)
        teacher = _sparse_teacher(inputs, temperature, tail)
        total, count = _tokens(inputs | {"teacher_logits": teacher}, loss, temperature=temperature)
        return temperature**2 * total / count

    return call


def _tail_bucket(inputs, outputs, add_tail, k):
    if add_tail:
        teacher = _sparse_teacher(inputs, 1.0, _log_rest(inputs))
        inputs = inputs | {"teacher_logits": teacher}
    else:
        kept = jnp.take_along_axis(inputs["student_logits"], inputs["teacher_topk_ids"], axis=-1)
        inputs = inputs | {
            "student_logits": kept,
            "teacher_logits": inputs["teacher_topk_logprobs"],
        }
    total, count = _tokens(inputs, losses.kl_divergence)
    return total / count


def _ghost_token(inputs, outputs, add_ghost_token, k, eps):
    teacher = _sparse_teacher(inputs, 1.0, _log_rest(inputs))
    values = losses.kl_divergence(inputs["student_logits"], teacher)
    return losses.masked_sum_and_count(values.T, inputs["loss_mask"] > 0)[0]


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
    "sparse_kl": _distillkit(losses.kl_divergence),
    "sparse_tvd": _distillkit(losses.total_variation),
    "sparse_kl_tail": _tail_bucket,
    "sparse_kl_ghost": _ghost_token,
}
