"""Every call of `golden_calls` depends on every hyperparameter of its entry.

Which of them a call reads, `test_golden` checks on whatever reference numbers it is given. Here
each gets other values, one at a time, and the program that JAX makes of the call must become
another, or the call must say that the value contradicts the arrays of the case, or needs one that
is not there. So a hyperparameter that is only asserted, or read and dropped, is found although its
value never changes from case to case. The programs are compared as text and not compiled.
"""

import dataclasses

import jax
import pytest
import test_golden
from golden_calls import CALLS, Differs
from golden_calls._options import Mismatch, Missing, Options, Refused, flat
from golden_cases import WITHOUT_EFFECT, arrays_of, call_on, floats, methods

METHODS = {method["method"]: method for method in methods()}
# Values to try, where the next whole number or three quarters of the value would not do.
VALUES = {
    ("at", "p"): 4,
    ("ft", "p2"): 4,
    ("ctkd_schedule", "num_loops"): 12.0,
}
# Other hyperparameters without which one has no effect in the reference either.
_WEIGHTS = {"uld_hybrid_matched_weight": 0.5, "uld_hybrid_unmatched_weight": 0.5}
WITH = {
    ("uld_extended", "uld_hybrid_matched_weight"): _WEIGHTS,
    ("uld_extended", "uld_hybrid_unmatched_weight"): _WEIGHTS,
}
# What describes the arrays of a case and so has one value for them; any other is refused.
DESCRIPTIONS = {
    "uskd": {"num_classes", "channel"},
    "wsld": {"num_classes"},
    "sdd_kd": {"N"},
    "sdd_dkd": {"N"},
    "sdd_nkd": {"N"},
    "semckd": {"num_stu", "num_tea"},
    "crd": {"feat_dim", "nce_k"},
    "layer_adaptive_avg_pool2d": {"in_size", "out_size"},
    "layer_interpolate_nearest": {"in_size", "out_size"},
    "layer_sdd_spp": {"in_size", "M"},
    # Widths of the layers whose weights are given, and sizes of maps.
    "reviewkd_full": {"shapes", "out_shapes", "in_channels", "out_channels"},
    "simkd": {"factor"},
    "semckd_full": {"factor"},
    "afd": {"qk_dim", "n_t"},
    # Columns of the singular vectors whose signs are taken over.
    "kdsvd": {"k"},
    "kdsvd__mdistiller": {"k"},
    "sparse_kl": {"k"},
    "sparse_js": {"k"},
    "sparse_tvd": {"k"},
    "sparse_kl_tail": {"k"},
    "sparse_kl_ghost": {"k"},
}


def _program(call, name, arrays, hyperparameters):
    """The text of the call's program, and its `Options`."""
    options = Options(name, hyperparameters)

    def of_floats(moving):
        return call_on(call, arrays | moving, arrays | moving, options)

    with jax.enable_x64(True):
        return jax.jit(of_floats).lower(floats(arrays)).as_text(), options


def _reaction(call, name, arrays, hyperparameters, other):
    """What another value of a hyperparameter does: "changes", "described", "missing" or why not."""
    try:
        program, _ = _program(call, name, arrays, other)
    except Mismatch:
        return "described"
    except Missing:
        return "missing"
    except Exception as error:  # Any error at all is a value that the call does not take.
        return f"{type(error).__name__}: {error}"
    return "changes" if program != _program(call, name, arrays, hyperparameters)[0] else "nothing"


def _others(value):
    """Other values, by what each of them tries."""
    if isinstance(value, bool):
        return {not value: not value}
    if isinstance(value, list):
        changed = {i: [*value[:i], value[i] + 1, *value[i + 1 :]] for i in range(len(value))}
        return changed or {"longer": [0]}
    if value is None:
        return {"number": 0.5}
    if isinstance(value, int):
        return {"number": value + 1}
    return {"number": 0.75 * value or 0.25}


def _alternatives(name, option, value, choices):
    if (name, option) in VALUES:
        return {"number": VALUES[name, option]}
    if isinstance(value, str):
        return {choice: choice for choice in choices[option] if choice != value}
    return _others(value)


def reactions(call, method, arrays_of_cases):
    """The reactions of a call to other values.

    Args:
      call: of `golden_calls`.
      method: its entry in the index.
      arrays_of_cases: the arrays of each case.

    Returns:
      From option, and from what of it was tried, to the reactions in the cases, which stop at the
      first that is one.
    """
    name, seen = method["method"], {}
    for case, arrays in zip(method["cases"], arrays_of_cases, strict=True):
        given = flat(case["hyperparameters"])
        choices = {}
        if any(isinstance(value, str) for value in given.values()):
            choices = _program(call, name, arrays, given)[1].choices
        for option in given:
            with_it = given | WITH.get((name, option), {})
            for tried, value in _alternatives(name, option, with_it[option], choices).items():
                of_value = seen.setdefault((option, tried), [])
                if not of_value or not _reacts(of_value[-1]):
                    other = with_it | {option: value}
                    of_value.append(_reaction(call, name, arrays, with_it, other))
    return seen


def _reacts(reaction):
    return reaction in ("changes", "described", "missing")


def assert_depends(call, method, arrays_of_cases, *, but=()):
    """Fails unless a call depends on all hyperparameters; returns those that describe the arrays.

    Args:
      call: of `golden_calls`.
      method: its entry in the index.
      arrays_of_cases: the arrays of each case.
      but: hyperparameters on which it must not depend.
    """
    name, described = method["method"], {}
    for (option, tried), of_value in reactions(call, method, arrays_of_cases).items():
        what = f"the call mapped to {name!r}, another {option!r} ({tried}): {of_value}"
        if option in but:
            assert set(of_value) == {"nothing"}, f"has an effect: {what}"
        else:
            assert _reacts(of_value[-1]), f"ignored or refused: {what}"
            described[option] = described.get(option, True) and of_value[-1] == "described"
    return {option for option, only in described.items() if only}


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", METHODS)
def test_every_hyperparameter_has_an_effect(name):
    call, method = CALLS[name], METHODS[name]
    cases, without = arrays_of(method), tuple(WITHOUT_EFFECT.get(name, ()))
    if isinstance(call, Differs):
        assert_depends(call.correct, method, cases, but=(*call.guards, *without))
        call = call.reference
    described = assert_depends(call, method, cases, but=without)
    assert described == DESCRIPTIONS.get(name, set())


@pytest.mark.parametrize(
    ("name", "option"),
    [
        (name, option)
        for name, method in METHODS.items()
        for option, value in flat(method["cases"][0]["hyperparameters"]).items()
        if isinstance(value, str)
    ],
)
def test_an_unknown_name_is_refused(name, option):
    call, method = CALLS[name], METHODS[name]
    call = call.reference if isinstance(call, Differs) else call
    hyperparameters = flat(method["cases"][0]["hyperparameters"]) | {option: "none such"}
    with pytest.raises(Refused, match=f"{name}: {option}='none such'"):
        _program(call, name, arrays_of(method)[0], hyperparameters)


@pytest.mark.parametrize(
    ("name", "changed"), [("at", {"p": 3}), ("ft", {"p1": 2, "p2": 3})], ids=str
)
def test_powers_that_differ_from_ours_are_refused(name, changed):
    with pytest.raises(Refused, match="3 is odd"):
        _program(CALLS[name], name, arrays_of(METHODS[name])[0], changed)


def _wrong(replaced):
    """The mapping of `kd` with another way of dealing with the temperature."""

    right = CALLS["kd"]

    def call(inputs, outputs, options):
        return right(inputs, outputs, Options("kd", {"temperature": replaced(options)}))

    return call


def _asserted(options):
    assert options["temperature"] in (4.0, 2.0, 1.0)
    return 1.0


def _dropped(options):
    options.rest()
    return 1.0


BLIND = {"unread": lambda options: 1.0, "asserted": _asserted, "dropped": _dropped}


@pytest.mark.parametrize("blind", BLIND)
def test_a_call_that_ignores_a_hyperparameter_fails(blind):
    with pytest.raises(AssertionError, match=r"ignored or refused: .*'kd', another 'temperature'"):
        assert_depends(_wrong(BLIND[blind]), METHODS["kd"], arrays_of(METHODS["kd"]))
    right = _wrong(lambda options: options["temperature"])
    assert assert_depends(right, METHODS["kd"], arrays_of(METHODS["kd"])) == set()


def test_the_run_fails_where_a_hyperparameter_is_not_read(monkeypatch):
    """Whatever the numbers are: here they are those of the reference, at temperature 1."""
    method = METHODS["kd"] | {"cases": METHODS["kd"]["cases"][2:]}
    blind, right = _wrong(BLIND["unread"]), _wrong(lambda options: options["temperature"])
    monkeypatch.setitem(CALLS, "kd", blind)
    with pytest.raises(AssertionError, match=r"'kd' ignores its hyperparameters \['temperature'\]"):
        test_golden.assert_reference(method)
    monkeypatch.setitem(CALLS, "kd", right)
    test_golden.assert_reference(method)


def test_a_correction_must_use_all_but_the_guards(monkeypatch):
    differs = dataclasses.replace(CALLS["sparse_js"], guards=())
    monkeypatch.setitem(CALLS, "sparse_js", differs)
    with pytest.raises(AssertionError, match=r"'sparse_js' ignores its hyperparameters \['eps'\]"):
        test_golden.assert_reference(METHODS["sparse_js"])


def test_names_cannot_fall_into_the_branch_of_another():
    options = Options("method", {"reduction": "sum", "kernel": {"gamma": 2.0}})
    with pytest.raises(TypeError, match="reduction='sum' is one of several names"):
        options["reduction"]
    with pytest.raises(TypeError, match=r"asserted to be \['sum'\]"):
        options.choose("reduction", {"sum": 1})
    with pytest.raises(Refused, match="reduction='sum' is none of"):
        options.choose("reduction", {"mean": 1, "batchmean": 2})
    assert options.again().choose("reduction", {"mean": 1, "sum": 2}) == 2
    assert options.unused() == {"kernel.gamma"}
    assert options.rest(**{"kernel.gamma": "gamma"}) == {"gamma": 2.0}
    assert not options.unused()
