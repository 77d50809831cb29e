import chex
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.metrics import cka, cka_matrix


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def rotation(d):
    return np.linalg.qr(normal(d, d, seed=9))[0]


def related(n, d_student, d_teacher):
    """Features that have some directions in common."""
    shared = normal(n, 4, seed=1)
    student = shared @ normal(4, d_student, seed=2) + normal(n, d_student, seed=3)
    return student, shared @ normal(4, d_teacher, seed=4) + normal(n, d_teacher, seed=5) + 3.0


def direct_hsic(first, second, unbiased):
    """The definitions, with Gram matrices written out."""
    n = len(first)
    if not unbiased:
        center = np.eye(n) - 1 / n
        return np.trace(first @ center @ second @ center) / (n - 1) ** 2
    first, second = (gram - np.diag(np.diag(gram)) for gram in (first, second))
    one = np.ones(n)
    ends = (one @ first @ one) * (one @ second @ one) / ((n - 1) * (n - 2))
    middle = 2 / (n - 2) * (one @ first @ second @ one)
    return (np.trace(first @ second) + ends - middle) / (n * (n - 3))


def direct_cka(x, y, unbiased):
    first, second = x @ x.T, y @ y.T
    own = direct_hsic(first, first, unbiased) * direct_hsic(second, second, unbiased)
    return direct_hsic(first, second, unbiased) / np.sqrt(own)


@pytest.mark.parametrize("unbiased", [True, False])
@pytest.mark.parametrize(("n", "d", "e"), [(30, 5, 7), (12, 40, 50), (20, 6, 90), (4, 2, 3)])
def test_both_ways_of_computing_follow_the_definitions(n, d, e, unbiased):
    student, teacher = related(n, d, e)
    expected = direct_cka(student, teacher, unbiased)
    assert cka(student, teacher, unbiased=unbiased) == pytest.approx(expected, abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(st.integers(5, 30), st.integers(1, 40), st.floats(1e-3, 1e3), st.booleans())
def test_rotation_scale_and_shift_change_nothing(n, d, scale, unbiased):
    student, teacher = related(n, d, 6)
    turned = scale * student @ rotation(d) + 5.0
    before = cka(student, teacher, unbiased=unbiased)
    assert cka(turned, teacher, unbiased=unbiased) == pytest.approx(before, abs=1e-6)
    assert cka(student, turned, unbiased=unbiased) == pytest.approx(1.0, abs=1e-6)
    assert cka(teacher, student, unbiased=unbiased) == pytest.approx(before, abs=1e-9)
    assert -1.0 - 1e-9 <= before <= 1.0 + 1e-9


def test_unrelated_wide_features_are_alike_for_the_biased_estimate_alone():
    pairs = [(normal(40, 300, seed=2 * i), normal(40, 300, seed=2 * i + 1)) for i in range(10)]
    assert abs(np.mean([cka(x, y) for x, y in pairs])) < 0.02
    assert min(cka(x, y, unbiased=False) for x, y in pairs) > 0.8


def test_a_distortion_lowers_it():
    features = normal(100, 5)
    scaled = features * [10, 1, 1, 1, 1]
    assert 0.1 < cka(features, scaled) < 0.7


def test_maps_are_flattened_and_small_types_computed_in_double():
    maps = normal(10, 4, 4, 3).astype(np.float16)
    flat = maps.reshape(10, -1).astype(np.float64)
    assert cka(maps, normal(10, 2, seed=1)) == cka(flat, normal(10, 2, seed=1))
    assert cka(normal(10), normal(10) * -2) == pytest.approx(1.0)


@pytest.mark.parametrize("dead", [np.full((8, 3), 0.1), np.eye(8), np.eye(8)[:, :1]])
def test_an_undefined_similarity_is_nan(dead):
    """Constant, every example as far from every other, or one example apart from equal others."""
    assert np.isnan(cka(dead, normal(8, 3)))


def test_a_matrix_has_a_row_for_each_of_the_student_and_a_column_for_each_of_the_teacher():
    students = {"stage1": normal(20, 3), "embedding": normal(20, 30, seed=1)}
    teachers = {"stage1": normal(20, 2, 2, 6, seed=2), "stage2": normal(20, 4), "x": normal(20, 1)}
    matrix = cka_matrix(students, teachers)
    expected = [[cka(s, t) for t in teachers.values()] for s in students.values()]
    chex.assert_trees_all_close(matrix, np.array(expected), atol=1e-12)
    assert matrix.shape == (2, 3) and matrix.dtype == np.float64


@pytest.mark.parametrize(
    ("student", "teacher", "match"),
    [
        (normal(8, 2), normal(9, 2), "student has 8, teacher has 9"),
        (normal(3, 2), normal(3, 2), r"n of at least 4 for the unbiased .* got \[3, 2\]"),
        (normal(8, 2), normal(8, 0), r"teacher must have shape .* got \[8, 0\]"),
        (np.float64(1.0), normal(8, 2), r"student must have shape .* got \[\]"),
        (normal(8, 2), np.full((8, 2), np.nan), "teacher has features that are not finite"),
    ],
)
def test_what_does_not_fit_is_refused(student, teacher, match):
    with pytest.raises(ValueError, match=match):
        cka(student, teacher)


def test_a_matrix_names_what_does_not_fit():
    with pytest.raises(ValueError, match="no feature of the teacher"):
        cka_matrix({"stage1": normal(8, 2)}, {})
    with pytest.raises(ValueError, match="student stage1 has 8, teacher stage2 has 7"):
        cka_matrix({"stage1": normal(8, 2)}, {"stage1": normal(8, 2), "stage2": normal(7, 2)})
