import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import connectors, losses, networks


def maps(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def outputs(seed=0):
    shapes = (4, 8, 6, 3), (4, 3, 3, 5), (4, 7)
    return tuple(maps(*shape, seed=seed + index) for index, shape in enumerate(shapes))


def fusion(**options):
    sizes = (4, 6), (3, 3)
    return connectors.ReviewKD((3, 5, 7), (6, 9, 10), sizes, rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def fuse():
    """The fusion in evaluation mode, compiled once, of some outputs and changed parameters."""
    connector = networks.as_connector(fusion())
    apply = jax.jit(connector.apply)

    def call(student, **changed):
        params = connector.params | {f"blocks.1.attention.{k}": v for k, v in changed.items()}
        return apply(params, connector.state, student)[0]["student"]

    return call


def test_stages_become_the_teachers(fuse):
    fused = fuse(outputs())
    assert [x.shape for x in fused] == [(4, 4, 6, 6), (4, 3, 3, 9), (4, 10)]
    teacher = tuple(jnp.zeros_like(x) for x in fused)
    assert jax.eval_shape(losses.over_stages(losses.hcl), fused, teacher).shape == (4,)


def test_later_stages_reach_earlier_ones_and_not_the_other_way(fuse):
    student = outputs()

    def changed(stage):
        """Which results another output of this stage changes."""
        other = list(student)
        other[stage] = other[stage] + 1
        pairs = zip(fuse(tuple(other)), fuse(student), strict=True)
        return [bool(np.any(np.asarray(a) != np.asarray(b))) for a, b in pairs]

    assert [changed(stage) for stage in range(3)] == [
        [True, False, False],
        [True, True, False],
        [True, True, True],
    ]


def test_attention_weighs_the_stage_and_what_comes_later(fuse):
    student = outputs()
    other = (student[0], student[1] + 1, student[2]), (*student[:2], student[2] + 1)
    for chosen, weights in enumerate(([-200.0, 200.0], [200.0, -200.0])):
        attention = {"kernel": jnp.zeros((14, 2)), "bias": jnp.array(weights)}
        results = [fuse(x, **attention)[1] for x in (student, *other)]
        np.testing.assert_array_equal(results[1 + chosen], results[0])
        assert np.any(np.asarray(results[2 - chosen]) != np.asarray(results[0]))


def test_width_inside():
    assert fusion().blocks[0].reduce.conv.kernel.shape == (3, 7)
    assert fusion(mid_channels=4).blocks[0].reduce.conv.kernel.shape == (3, 4)
    wide = jax.eval_shape(
        lambda: connectors.ReviewKD((600,), (3,), (), rngs=nnx.Rngs(0)).blocks[0].reduce.conv.kernel
    )
    assert wide.shape == (600, 512)


def test_errors():
    with pytest.raises(ValueError, match="3 in_channels, 2 out_channels and 2 sizes"):
        connectors.ReviewKD((3, 5, 7), (6, 9), (4, 3), rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="3 outputs of the student.*got 2"):
        fusion()(outputs()[:2])
    with pytest.raises(ValueError, match=r"2 maps .* then vectors.*\(4, 1, 1, 7\)"):
        fusion()((*outputs()[:2], jnp.ones((4, 1, 1, 7))))
