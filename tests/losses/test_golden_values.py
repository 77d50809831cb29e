"""Values of hyperparameters that the references accept and their stored numbers do not have.

Each expectation is written in NumPy from the reference's formula, or follows from a stored number.
"""

import itertools

import jax
import numpy as np
import pytest
from golden_calls import CALLS, Differs
from golden_calls._options import Options, flat
from golden_cases import arrays_of, call_on, floats, methods
from scipy.special import log_softmax, rel_entr, softmax

pytestmark = pytest.mark.exhaustive
METHODS = {method["method"]: method for method in methods()}
CASES = {}


def _case(name, index=0):
    """The arrays of a case and its hyperparameters."""
    if name not in CASES:
        CASES[name] = arrays_of(METHODS[name])
    return CASES[name][index], METHODS[name]["cases"][index]["hyperparameters"]


def _check(name, arrays, hyperparameters, expected):
    call = CALLS[name].reference if isinstance(CALLS[name], Differs) else CALLS[name]
    options = Options(name, flat(hyperparameters))

    @jax.jit
    def value(moving):
        return call_on(call, arrays | moving, arrays | moving, options)[0]

    with jax.enable_x64(True):
        np.testing.assert_allclose(value(floats(arrays)), expected, rtol=1e-9)


@pytest.mark.parametrize("beta", [0, 0.3, 1])
@pytest.mark.parametrize("labels_used", [True, False])
def test_generalized_jsd(labels_used, beta):
    arrays, given = _case("generalized_jsd", 2)
    q, p = (softmax(arrays[f"{x}_logits"] / 2, axis=-1) for x in ("student", "teacher"))
    mixture = (1 - beta) * q + beta * p
    each = beta * rel_entr(p, mixture) + (1 - beta) * rel_entr(q, mixture)
    if beta in (0, 1):  # The limits are 0; TRL takes the KL divergences instead.
        each = rel_entr(q, p) if beta else rel_entr(p, q)
    if labels_used:
        each = each[arrays["labels"] != -100]
    tokens = each.size // q.shape[-1]
    divisors = {"sum": 1, "mean": each.size, "batchmean": tokens if labels_used else len(q)}
    for (reduction, divisor), items in itertools.product(divisors.items(), (None, 37)):
        changed = given | {
            "beta": beta,
            "temperature": 2.0,
            "labels_used": labels_used,
            "reduction": reduction,
            "num_items_in_batch": items,
        }
        _check("generalized_jsd", arrays, changed, each.sum() / (items or divisor))


def _truncated(arrays, temperature=1.0):
    """The student's log-probabilities at the teacher's top k, the teacher's at temperature 1."""
    log_q = log_softmax(arrays["student_logits"] / temperature, axis=-1)
    return np.take_along_axis(log_q, arrays["teacher_topk_ids"], -1), arrays[
        "teacher_topk_logprobs"
    ]


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize("eps", [1e-8, 0.3])
@pytest.mark.parametrize("ghost", [True, False])
def test_ghost_token(ghost, eps, case):
    arrays, given = _case("sparse_kl_ghost", case)
    log_q, log_p = _truncated(arrays)
    there = log_p != -1000
    values = np.sum(np.where(there, np.exp(log_p) * (log_p - log_q), 0), axis=-1)
    if ghost:
        rest_p, rest_q = (
            np.maximum(1 - np.sum(np.exp(x) * there, axis=-1), eps) for x in (log_p, log_q)
        )
        values += rel_entr(rest_p, rest_q)
    expected = np.sum(values.T * arrays["loss_mask"])
    _check("sparse_kl_ghost", arrays, given | {"add_ghost_token": ghost, "eps": eps}, expected)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("missing", ["zero", "symmetric_uniform"])
def test_distillkit(missing, temperature):
    """Masses of the class of the rest are clamped by the KL; the mixture of the JSD has none."""
    arrays, given = _case("sparse_kl", 2)
    mask = arrays["labels"] != -100
    log_q, log_p = _truncated(arrays, temperature)
    rest = np.clip(1 - np.sum(np.exp(log_p), axis=-1), 0, 1) ** (1 / temperature)
    p, q = np.exp(log_p / temperature), np.exp(log_q)
    p /= (np.sum(p, axis=-1) + (rest if missing != "zero" else 0))[..., None]
    rest_p, rest_q = (1 - np.sum(x, axis=-1) for x in (p, q))
    factor = temperature**2 / mask.sum()
    for eps in (1e-8, 0.3):
        kl, tvd = rel_entr(p, q).sum(-1), np.abs(p - q).sum(-1) + rest_q
        if missing != "zero":
            kl += rel_entr(*(np.clip(x, eps, 1 - eps) for x in (rest_p, rest_q)))
            tvd += np.abs(rest_p - rest_q) - rest_q
        changed = given | {"missing": missing, "temperature": temperature, "eps": eps}
        _check("sparse_kl", arrays, changed, factor * kl[mask].sum())
        _check("sparse_tvd", arrays, changed, factor * tvd[mask].sum() / 2)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_dkd_of_mmrazor(reduction):
    """PyTorch's legacy argument makes a sum of all but "batchmean", which it does not affect."""
    arrays, given = _case("dkd__mmrazor")
    expected = 2 * len(arrays["label"]) * arrays["value"]
    _check("dkd__mmrazor", arrays, given | {"reduction": reduction, "loss_weight": 2.0}, expected)


def test_attention_of_torchdistill():
    arrays, _ = _case("at__torchdistill_paper")
    attention = [
        np.square(arrays[f"feat_{x}"]).mean(1).reshape(len(arrays["feat_s"]), -1) for x in "st"
    ]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in attention]
    expected = np.square(unit[0] - unit[1]).mean()
    _check("at__torchdistill_paper", arrays, {"mode": "code"}, expected)


@pytest.mark.parametrize(
    ("alpha", "beta"), [(0, 0.7), (None, 0.7), (0.3, None), (0.3, 0.2)], ids=str
)
def test_kd_of_torchdistill(alpha, beta):
    arrays, _ = _case("kd__torchdistill")
    q, p = (softmax(arrays[f"logits_{x}"] / 3, axis=1) for x in "st")
    soft = expected = rel_entr(p, q).sum(1).mean()
    if alpha:
        log_q = log_softmax(arrays["logits_s"], axis=1)
        label = -np.take_along_axis(log_q, arrays["label"][:, None], 1).mean()
        expected = alpha * label + (1 - alpha if beta is None else beta) * 9 * soft
    given = {"temperature": 3.0, "alpha": alpha, "beta": beta}
    _check("kd__torchdistill", arrays, given, expected)


@pytest.mark.parametrize(
    "kernel", [{"type": "bilinear"}, {"type": "gaussian", "gamma": 0.7, "max_p": 3}]
)
@pytest.mark.parametrize("reduction", ["batchmean", "sum", "mean"])
def test_correlations_of_torchdistill(reduction, kernel):
    arrays, _ = _case("cc__torchdistill")
    grams = [arrays[f"emb_{x}"] @ arrays[f"emb_{x}"].T for x in "st"]
    if kernel["type"] == "gaussian":
        g = 2 * kernel["gamma"]
        grams = [np.exp(-g) * (1 + g * x + (g * x) ** 2 / 2 + (g * x) ** 3 / 6) for x in grams]
    expected = np.linalg.norm(grams[0] - grams[1])
    if reduction == "batchmean":
        expected /= len(grams[0]) ** 2
    _check("cc__torchdistill", arrays, {"kernel": kernel, "reduction": reduction}, expected)


@pytest.mark.parametrize("eps", [1e-12, 30.0])
@pytest.mark.parametrize("squared", [True, False])
def test_floor_under_distances(squared, eps):
    arrays, given = _case("rkd")

    def relative(rows):
        distances = np.square(rows[:, None] - rows).sum(-1)
        other = ~np.eye(len(rows), dtype=bool)
        if eps > 1:
            assert 0 < np.mean(distances[other] < eps) < 1
        distances = np.maximum(distances, eps) if squared else np.sqrt(np.maximum(distances, eps))
        return np.where(other, distances, 0) / distances[other].mean()

    difference = np.abs(relative(arrays["emb_s"]) - relative(arrays["emb_t"]))
    expected = np.where(difference < 1, difference**2 / 2, difference - 0.5).mean()
    given = given | {"squared": squared, "eps": eps, "angle_weight": 0.0, "distance_weight": 3.0}
    _check("rkd", arrays, given, 3 * expected)


def test_pyramid_of_one_level():
    arrays, given = _case("layer_sdd_spp")
    arrays = arrays | {"probe": arrays["probe"][..., :1]}
    expected = np.sum(arrays["x"].mean((2, 3))[..., None] * arrays["probe"])
    _check("layer_sdd_spp", arrays, given | {"M": "[1]"}, expected)
