import math

import numpy as np
import pytest

from jaxkd.study import Finding, compare

BASE = np.array([0.806, 0.803, 0.808, 0.805])


def test_a_gain_with_the_numbers_of_the_textbook():
    # Differences 0.02, 0.03, 0.02, 0.03; the 0.975 quantile of t with 3 degrees is 3.182446.
    finding = compare("Distillation", BASE + [0.02, 0.03, 0.02, 0.03], BASE)
    std = math.sqrt(4 * 0.005**2 / 3)
    assert finding.kind == "gain"
    assert finding.difference.mean == pytest.approx(0.025)
    assert finding.difference.std == pytest.approx(std)
    reach = 3.182446 * std / 2
    assert finding.interval == pytest.approx((0.025 - reach, 0.025 + reach), rel=1e-6)
    assert finding.text == (
        "Distillation helps: +2.50 ± 0.58 points over 4 paired seeds "
        "(95 % interval +1.58 to +3.42)."
    )


def test_a_loss():
    finding = compare("Distillation", BASE - [0.02, 0.03, 0.02, 0.03], BASE)
    assert finding.kind == "loss"
    assert finding.text.startswith("Distillation hurts: \u22122.50 ± 0.58 points")


def test_no_difference_that_the_seeds_can_show():
    finding = compare("Distillation", BASE + [0.01, -0.01, 0.02, -0.01], BASE)
    assert finding.kind == "none"
    assert finding.text.startswith(
        "Distillation makes no difference that these seeds can show: +0.25 ± 1.50 points"
    )
    assert finding.interval[0] < 0 < finding.interval[1]


def test_equal_arms_show_nothing():
    assert compare("Nothing", BASE, BASE).kind == "none"


def test_pairing_finds_what_a_difference_of_means_would_not():
    seeds = np.array([0.70, 0.80, 0.90])  # The seeds differ far more than the arms.
    assert compare("Distillation", seeds + [0.010, 0.011, 0.012], seeds).kind == "gain"


def test_lower_is_better_for_losses():
    loss = np.array([0.50, 0.52, 0.51])
    finding = compare(
        "Distillation", loss - [0.1, 0.11, 0.12], loss, format="difference", higher_is_better=False
    )
    assert finding.kind == "gain"
    assert finding.text.startswith("Distillation helps: \u22120.110 ± 0.010 over 3 paired seeds")


def test_one_seed_shows_nothing_however_large_the_difference():
    finding = compare("Distillation", [0.9], [0.1])
    assert (finding.kind, finding.interval) == ("none", None)
    assert finding.text == "Distillation: one seed cannot show a difference (+80.00 points)."


def test_seeds_with_the_same_difference_give_no_interval():
    finding = compare("Distillation", [0.4, 0.6, 0.5], [0.3, 0.5, 0.4])
    assert (finding.kind, finding.interval) == ("none", None)
    assert "all 3 paired seeds give the same difference (+10.00 points)" in finding.text
    assert compare("Distillation", [0.4, 0.6], [0.4, 0.6]).interval == (0, 0)


def test_equal_arms_are_distinguished_once_in_twenty():
    rng = np.random.default_rng(0)
    kinds = [compare("x", rng.normal(size=5), rng.normal(size=5)).kind for _ in range(2000)]
    share = sum(kind != "none" for kind in kinds) / len(kinds)
    assert 0.035 < share < 0.065  # Three standard deviations around 0.05.


@pytest.mark.parametrize(
    ("values", "baseline", "message"),
    [
        ([0.1, 0.2], [0.1], r"paired by seed: got \[2\] and \[1\]"),
        ([], [], r"got \[0\] and \[0\]"),
        (0.1, 0.2, r"got \[\] and \[\]"),
        ([0.1, math.nan], [0.1, 0.2], "x: a value is not finite"),
    ],
)
def test_what_cannot_be_compared_is_refused(values, baseline, message):
    with pytest.raises(ValueError, match=message):
        compare("x", values, baseline)


def test_unknown_format_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="unknown format 'bits'; there are .*points"):
        compare("x", BASE, BASE, format="bits")


def test_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="kind must be .* got 'win'"):
        Finding("win", "x")
