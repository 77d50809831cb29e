import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import ops


def _maps(rows):
    """One map of one channel from a list of rows."""
    return jnp.asarray(rows, jnp.float32)[None, :, :, None]


def _rows(maps):
    return maps[0, :, :, 0].tolist()


def test_bins_overlap_where_the_sizes_do_not_divide():
    # 7 to 4: 0-1, 1-3, 3-5, 5-6.
    maps = _maps([[0.0, 1.0, 2.0, 3.0, 10.0, 5.0, 6.0]])
    assert _rows(ops.adaptive_average_pool(maps, (1, 4))) == [[0.5, 2.0, 6.0, 5.5]]


def test_bins_repeat_where_the_result_is_larger():
    maps = _maps([[1.0, 2.0], [3.0, 4.0]])
    expected = [[1.0, 1.5, 2.0], [2.0, 2.5, 3.0], [3.0, 3.5, 4.0]]
    np.testing.assert_allclose(_rows(ops.adaptive_average_pool(maps, (3, 3))), expected)


def test_whole_bins_are_plain_means():
    maps = _maps([[1.0, 3.0, 0.0, 4.0], [5.0, 7.0, 8.0, 0.0]])
    assert _rows(ops.adaptive_average_pool(maps, (1, 2))) == [[4.0, 3.0]]
    assert _rows(ops.adaptive_average_pool(maps, (2, 4))) == _rows(maps)


def test_pooling_keeps_examples_and_channels_apart():
    maps = jnp.arange(2 * 3 * 5 * 2.0).reshape(2, 3, 5, 2)
    for size in ((2, 2), (1, 1)):
        pooled = ops.adaptive_average_pool(maps, size)
        for example in range(2):
            for channel in range(2):
                alone = maps[example, None, :, :, channel, None]
                np.testing.assert_allclose(
                    pooled[example, :, :, channel],
                    ops.adaptive_average_pool(alone, size)[0, :, :, 0],
                    rtol=1e-6,
                )


def test_nearest_takes_the_floor():
    # 2 of 5 places: 0 and floor(5 / 2); 5 of 3 places: floor(0, 0.6, 1.2, 1.8, 2.4).
    assert _rows(ops.resize_nearest(_maps([[0.0, 1.0, 2.0, 3.0, 4.0]]), (1, 2))) == [[0.0, 2.0]]
    assert (
        _rows(ops.resize_nearest(_maps([[5.0, 6.0, 7.0]]), (2, 5)))
        == [[5.0, 5.0, 6.0, 6.0, 7.0]] * 2
    )


def test_the_common_size_is_the_smaller_along_each_axis():
    student, teacher = ops.to_common_size(jnp.ones((2, 4, 2, 3)), jnp.ones((2, 2, 8, 5)))
    assert student.shape == (2, 2, 2, 3)
    assert teacher.shape == (2, 2, 2, 5)


def test_pyramid_lists_the_regions_in_reading_order():
    maps = jnp.arange(16.0).reshape(1, 4, 4, 1)
    regions = ops.pyramid(maps)
    assert regions.shape == (1, 21, 1)
    assert regions[0, :5, 0].tolist() == [7.5, 2.5, 4.5, 10.5, 12.5]
    assert regions[0, 5:, 0].tolist() == list(range(16))


def test_pyramid_pools_the_coarse_grids_from_the_base():
    # 6 to 4 has the bins 0-1, 1-2, 3-4, 4-5: places 0, 2, 3 and 5 weigh half of the others.
    maps = _maps([[8.0, 0.0, 0.0, 0.0, 0.0, 0.0]] * 6)
    assert float(ops.pyramid(maps, (1,))[0, 0, 0]) == 1.0
    np.testing.assert_allclose(ops.pyramid(maps, (1,), base=6)[0, 0, 0], 8 / 6, rtol=1e-6)


@pytest.mark.parametrize("function", [ops.adaptive_average_pool, ops.resize_nearest])
def test_what_is_no_map_is_refused(function):
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        function(jnp.zeros((2, 3)), (1, 1))
    with pytest.raises(ValueError, match="positive"):
        function(jnp.zeros((1, 2, 2, 1)), (0, 1))


def test_sizes_and_pyramids_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 3\)"):
        ops.to_common_size(jnp.zeros((2, 3)), jnp.zeros((1, 2, 2, 1)))
    with pytest.raises(ValueError, match="at least one grid"):
        ops.pyramid(jnp.zeros((1, 4, 4, 1)), ())
    with pytest.raises(ValueError, match="positive"):
        ops.pyramid(jnp.zeros((1, 4, 4, 1)), (1, 0))


@pytest.mark.parametrize(
    ("window", "stride", "padding"), [(2, 2, 0), (3, 2, 0), (3, 2, 1), (3, 1, 1)]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_max_pool_is_the_windowed_maximum_with_its_gradient(window, stride, padding, dtype):
    places = np.random.default_rng(1).permutation(2 * 7 * 6 * 3).reshape(2, 7, 6, 3)  # no ties
    images = (
        jnp.asarray(places, dtype) if dtype == jnp.float32 else jnp.asarray(places % 256, dtype)
    )

    def windowed(x):
        pads = [(padding, padding)] * 2
        return nnx.max_pool(x, (window, window), strides=(stride, stride), padding=pads)

    def pooled(x):
        return ops.max_pool(x, window, stride, padding=padding)

    shape = jax.eval_shape(windowed, images).shape
    seed = jnp.asarray(np.random.default_rng(2).normal(size=shape), dtype)

    @jax.jit
    def evaluate(images, seed):
        (values, pull), (wanted, pull_wanted) = jax.vjp(pooled, images), jax.vjp(windowed, images)
        primals = [pooled(images), windowed(images), values, wanted]
        return primals, (pull(seed)[0], pull_wanted(seed)[0])

    (plain, expected, values, wanted), gradients = evaluate(images, seed)
    np.testing.assert_array_equal(plain, expected)
    np.testing.assert_array_equal(values, wanted)
    if dtype == jnp.float32:
        np.testing.assert_allclose(*gradients, rtol=1e-6)


def test_max_pool_without_a_gradient_is_one_operation_and_with_one_is_slices():
    images = jnp.ones((1, 4, 4, 1))
    forward = str(jax.make_jaxpr(ops.max_pool)(images))
    assert "reduce_window_max" in forward and "slice" not in forward
    backward = str(jax.make_jaxpr(jax.grad(lambda x: ops.max_pool(x).sum()))(images))
    assert "reduce_window" not in backward and "select_and_scatter" not in backward


def test_max_pool_of_whole_numbers_and_of_too_small_maps():
    numbers = jnp.arange(16).reshape(1, 4, 4, 1) - 20
    np.testing.assert_array_equal(ops.max_pool(numbers).ravel(), [-15, -13, -7, -5])
    with pytest.raises(ValueError, match=r"window of 3 does not fit into maps of \(2, 4\)"):
        ops.max_pool(jnp.ones((1, 2, 4, 1)), 3)


def test_whole_numbers_are_averaged_too():
    maps = jnp.arange(5).reshape(1, 1, 5, 1)
    np.testing.assert_allclose(ops.adaptive_average_pool(maps, (1, 2)).ravel(), [1.0, 3.0])
    np.testing.assert_allclose(ops.adaptive_average_pool(maps, (1, 1)).ravel(), [2.0])
