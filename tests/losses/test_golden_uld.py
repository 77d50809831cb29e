"""Universal logit distillation as TRL has it, at values that the stored numbers do not have."""

import itertools

import jax
import numpy as np
import pytest
from golden_calls import CALLS
from golden_calls._options import Options
from golden_cases import arrays_of, call_on, floats, methods
from scipy.special import rel_entr, softmax

pytestmark = pytest.mark.exhaustive
METHODS = {method["method"]: method for method in methods()}
SIDES = ("student", "teacher")
LEAST = 1e-8


def _groups(student_ends, teacher_ends):
    """Positions of both sides up to each end that they have in common; the rest is a last group."""
    common = sorted(set(student_ends) & set(teacher_ends))
    groups = []
    for ends in (student_ends, teacher_ends):
        of_side = np.searchsorted(common, ends)
        groups.append([np.flatnonzero(of_side == g) for g in range(len(common) + 1)])
    return [(s, t) for s, t in zip(*groups, strict=True) if len(s) and len(t)]


def _merged(probs, ids, group, last):
    """The first distribution of a group, or its last, times the other tokens' probabilities."""
    base, others = (group[-1], group[:-1]) if last else (group[0], group[1:])
    return probs[base] * np.prod([max(probs[i, ids[i]], LEAST) for i in others])


def _sorted_distance(q, p):
    size = max(q.shape[-1], p.shape[-1])
    q, p = (np.pad(np.sort(x)[:, ::-1], ((0, 0), (0, size - x.shape[-1]))) for x in (q, p))
    return np.abs(q - p).sum()


def _hybrid(q, p, ids, beta, weights):
    matched_q, matched_p = (np.maximum(x[:, i], LEAST) for x, i in zip((q, p), ids, strict=True))
    mixture = (1 - beta) * matched_q + beta * matched_p
    # Not normalized: the terms of rel_entr as they are, without -x + y.
    js = beta * rel_entr(matched_p, mixture) + (1 - beta) * rel_entr(matched_q, mixture)
    if weights[0] is None:
        weights = (share := len(ids[0]) / p.shape[-1]), 1 - share
    rest = _sorted_distance(*(np.delete(x, i, axis=1) for x, i in zip((q, p), ids, strict=True)))
    return weights[0] * js.sum() + weights[1] * rest


def _example(arrays, index, given):
    """The loss of one example; responses that begin with the sequence are not among these."""
    last = given["uld_token_merge_strategy"] == "bayesian"
    probs, ids, ends = [], [], []
    for side in SIDES:
        labeled = np.flatnonzero(arrays[f"{side}_labels"][index] != -100)
        size = len(labeled) - given[f"uld_skip_{side}_eos"]
        response = slice(labeled[0], labeled[0] + size)
        assert not (last and labeled[0] == 0)
        predicted_at = slice(response.start - last, response.stop - last)
        logits = arrays[f"{side}_logits"][index, predicted_at]
        probs.append(softmax(logits / given[f"uld_{side}_temperature"], axis=-1))
        ids.append(arrays[f"{side}_input_ids"][index, response])
        if given["use_extended_uld"]:
            ends.append(arrays[f"{side}_byte_offsets"][index, response, 1].tolist())
    if given["use_extended_uld"]:
        groups = zip(*_groups(*ends), strict=True)
        q, p = (
            np.stack([_merged(x, i, group, last) for group in of_side])
            for x, i, of_side in zip(probs, ids, groups, strict=True)
        )
    else:
        size = min(map(len, probs))
        q, p = (x[:size] for x in probs)
    if not given.get("uld_use_hybrid_loss"):
        return _sorted_distance(q, p) / len(q)
    vocabularies = [arrays[f"vocab_map_{side}"] for side in SIDES]
    weights = given["uld_hybrid_matched_weight"], given["uld_hybrid_unmatched_weight"]
    return _hybrid(q, p, vocabularies, given["beta"], weights) / len(q)


def _check(name, index, changed):
    arrays = arrays_of(METHODS[name])[index]
    given = METHODS[name]["cases"][index]["hyperparameters"] | changed
    given |= {"uld_crossentropy_weight": 0.0, "uld_distillation_weight": 2.0}
    options = Options(name, given)

    @jax.jit
    def value(moving):
        return call_on(CALLS[name], arrays | moving, arrays | moving, options)[0]

    with jax.enable_x64(True):
        got = value(floats(arrays))
    expected = np.mean([_example(arrays, i, given) for i in range(len(arrays["student_labels"]))])
    np.testing.assert_allclose(got, 2 * expected, rtol=1e-9)


@pytest.mark.parametrize("strategy", ["observed", "bayesian"])
@pytest.mark.parametrize("extended", [False, True])
def test_ends_of_sequence_are_skipped(extended, strategy):
    for student, teacher in itertools.product((False, True), repeat=2):
        changed = {
            "use_extended_uld": extended,
            "uld_token_merge_strategy": strategy,
            "uld_skip_student_eos": student,
            "uld_skip_teacher_eos": teacher,
            "uld_student_temperature": 1.5,
        }
        _check("uld_extended", 0, changed)


@pytest.mark.parametrize("weights", [(None, None), (None, 0.3), (0.6, 0.3)], ids=str)
@pytest.mark.parametrize("beta", [0.2, 0.5])
def test_hybrid_loss(beta, weights):
    names = ("uld_hybrid_matched_weight", "uld_hybrid_unmatched_weight")
    for strategy in ("observed", "bayesian"):
        changed = dict(zip(names, weights, strict=True)) | {"beta": beta}
        _check("uld_extended", 2, changed | {"uld_token_merge_strategy": strategy})
