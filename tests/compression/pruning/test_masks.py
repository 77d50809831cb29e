import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxkd.compression import apply_masks, magnitude_masks, prunable, sparsity


def _params():
    return {
        "first": {"kernel": jnp.arange(1.0, 13).reshape(4, 3), "bias": jnp.ones(3)},
        "last": {"kernel": 100 * jnp.arange(1.0, 9).reshape(4, 2)},
        "norm": {"scale": jnp.ones((4, 1))},
    }


def test_global_compares_layers_and_layer_does_not():
    everywhere = sparsity(apply_masks(_params(), magnitude_masks(_params(), 0.5)))
    assert everywhere.leaves == {"first.kernel": 10 / 12, "last.kernel": 0.0}
    assert everywhere.total == 0.5 and everywhere.nonzero == 10
    each = sparsity(apply_masks(_params(), magnitude_masks(_params(), 0.5, scope="layer")))
    assert each.leaves == {"first.kernel": 0.5, "last.kernel": 0.5}
    assert "total: 50.0%, 10 weights left" in str(each)


def test_the_largest_stay_and_everything_else_is_left_alone():
    params = _params()
    masks = magnitude_masks(params, 0.75, scope="layer")
    np.testing.assert_array_equal(masks["first"]["kernel"].ravel(), np.arange(12) >= 9)
    assert masks["first"]["bias"].all() and masks["norm"]["scale"].all()
    assert masks["first"]["bias"].shape == (3,)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 12), st.integers(0, 2**16))
def test_exactly_the_given_share_is_masked_among_equals_too(masked, seed):
    values = np.random.default_rng(seed).integers(-2, 3, (4, 3)).astype(np.float32)
    mask = np.asarray(magnitude_masks({"kernel": values}, masked / 12)["kernel"])
    assert (~mask).sum() == masked
    if 0 < masked < 12:
        assert np.abs(values[mask]).min() >= np.abs(values[~mask]).max()


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(1, 2), (2, 4), (1, 4), (3, 3)]), st.integers(0, 2**16))
def test_n_in_m_along_the_input_axis(structure, seed):
    n, m = structure
    values = np.random.default_rng(seed).normal(size=(3, 2 * m, 5)).astype(np.float32)
    mask = np.asarray(magnitude_masks({"kernel": values}, structure=structure)["kernel"])
    groups = mask.reshape(3, 2, m, 5)
    assert (groups.sum(axis=2) == n).all()
    sizes = np.abs(values).reshape(3, 2, m, 5)
    smallest_kept = np.where(groups, sizes, np.inf).min(axis=2)
    largest_masked = np.where(groups, -np.inf, sizes).max(axis=2)
    assert (smallest_kept > largest_masked).all()


def test_a_traced_sparsity_and_bfloat16():
    params = {"kernel": jnp.arange(1, 9, dtype=jnp.bfloat16).reshape(4, 2)}
    masks = jax.jit(magnitude_masks)(params, jnp.asarray(0.25))
    np.testing.assert_array_equal(masks["kernel"].ravel(), np.arange(8) >= 2)
    assert apply_masks(params, masks)["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    ("path", "shape", "expected"),
    [
        ("student.stages.0.conv1.kernel", (3, 3, 4, 8), True),
        ("student.embeddings.embedding", (64, 8), False),
        ("student.norm.scale", (8,), False),
        ("connectors.hint.kernel", (8, 8), False),
        ("kernel", (8, 8), True),
    ],
)
def test_what_is_pruned_if_nothing_is_said(path, shape, expected):
    assert prunable(path, jnp.zeros(shape)) is expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "either a sparsity or a structure"),
        ({"sparsity": 0.5, "structure": (2, 4)}, "either a sparsity or a structure"),
        ({"sparsity": 1.5}, r"in \[0, 1\], not 1.5"),
        ({"sparsity": np.float32(1.5)}, r"in \[0, 1\], not 1.5"),
        ({"sparsity": jnp.asarray(-0.5)}, r"in \[0, 1\], not -0.5"),
        ({"sparsity": 0.5, "scope": "row"}, "'global', 'layer'.*not 'row'"),
        ({"structure": (4, 2)}, "1 <= n <= m"),
        ({"structure": (2, 3)}, r"no multiple of 3 in .*first.kernel \(4, 3\)"),
        ({"sparsity": 0.5, "where": lambda path, leaf: False}, "selects none of .*first.kernel"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        magnitude_masks(_params(), **options)
