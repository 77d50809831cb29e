import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxkd import models
from jaxkd.compression import channel_groups, shrink


class OwnWidth(nnx.Module):
    """Code with a hard-coded width."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(4, 2, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        return self.head(x[:, :4] + x[:, 4:]) if x.shape[1] == 8 else self.head(x[:, ::-1])


class Sorted(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        return self.head(jnp.sort(self.first(x), axis=-1))


class Halves(nnx.Module):
    """Adds halves that begin at hard-coded positions."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        if x.shape[1] < 8:
            x = jnp.roll(x, 1, axis=1)
        return self.head(x)


class Scaled(nnx.Module):
    """Divides by the root of a width, as attention does."""

    def __init__(self, rngs):
        self.first = nnx.Linear(4, 8, rngs=rngs)
        self.head = nnx.Linear(8, 2, rngs=rngs)

    def __call__(self, x):
        x = self.first(x)
        return self.head(x) * x.shape[-1] ** -0.5


def test_a_scale_that_follows_the_width_is_found_out():
    with pytest.raises(ValueError, match="number in the program would change.*0.353553 to 0.5"):
        shrink(Scaled(nnx.Rngs(0)), jnp.ones((2, 4)), keep=0.5)


class Raised(Scaled):
    """Raises to a power that follows the width."""

    def __call__(self, x):
        x = self.first(x)
        return self.head(x) ** (x.shape[-1] // 4)


class ScaledByArray(Scaled):
    def __call__(self, x):
        x = self.first(x)
        return self.head(x) * np.full((2,), x.shape[-1] ** -0.5, np.float32)


class ScaledInALoop(Scaled):
    def __call__(self, x):
        x = self.first(x)
        scale = x.shape[-1] ** -0.5
        return jax.lax.fori_loop(0, 2, lambda _, y: y * scale, self.head(x))


class ScaledTwice(Scaled):
    """Has fewer numbers in its program when it is narrow."""

    def __call__(self, x):
        x = self.first(x)
        y = self.head(x) * x.shape[-1] ** -0.5
        return y * 2.0 if x.shape[-1] == 8 else y


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Raised, "from 2 to 1"),
        (ScaledByArray, "from 0.353553 to 0.5"),
        (ScaledInALoop, "from 0.353553 to 0.5"),
        (ScaledTwice, "to 0.5, which the complete network does not have"),
    ],
)
def test_powers_and_arrays_that_follow_the_width_are_found_out(kind, change):
    with pytest.raises(ValueError, match=f"would change with the channels, {change}"):
        shrink(kind(nnx.Rngs(0)), jnp.ones((2, 4)), keep=0.5)


class WrittenOut(Scaled):
    """Adds as many terms as there are channels, with one number in all of them."""

    def __call__(self, x):
        x = self.first(x)
        return sum(self.head(x) * 0.125 for _ in range(x.shape[-1]))


def test_fewer_of_the_same_numbers_will_do():
    small, _ = shrink(WrittenOut(nnx.Rngs(0)), jnp.ones((2, 4)), keep=0.5)
    assert small.first.kernel.shape == (4, 4)


def test_an_operation_that_mixes_channels_is_named():
    model = Sorted(nnx.Rngs(0))
    (group, _) = channel_groups(model, jnp.ones((2, 4)))
    assert group.name == "first" and "sort" in group.reason
    with pytest.raises(ValueError, match=r"nothing of Sorted can be removed(.|\n)*sort"):
        shrink(model, jnp.ones((2, 4)), keep=0.5)


def test_slices_at_places_known_by_heart_hold_a_group():
    (group, *_) = channel_groups(OwnWidth(nnx.Rngs(0)), jnp.ones((2, 4)))
    assert group.name == "first" and "slice" in group.reason


def test_code_that_turns_channels_when_there_are_fewer_is_found_out():
    with pytest.raises(ValueError, match="other channels would meet"):
        shrink(Halves(nnx.Rngs(0)), jnp.ones((2, 4)), keep=0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, r"in \(0, 1\], not 0.0"),
        ({"keep": 2}, r"in \(0, 1\], not 2"),
        ({"keep": {"layers.9": 0.5}}, r"\['layers.9'\] match the complete name of no group; those"),
        ({"keep": {"head": 0.5}}, "head must stay complete, because of the logits"),
        ({"keep": {"layers.0": [0, 8]}}, r"channels 0 to 7; \[0, 8\] are to stay"),
        ({"keep": {"layers.0": []}}, r"\[\] are to stay"),
        ({"keep": 0.5, "protect": ["conv*"]}, r"\['conv\*'\] match the complete name of no group"),
        ({"keep": 0.5, "protect": ["layers.*"]}, "nothing of MLP can be removed"),
        ({"keep": 0.5, "importance": "l3"}, "not 'l3'"),
        ({"keep": 0.5, "importance": "taylor"}, "taylor needs gradients="),
        ({"keep": 0.5, "importance": lambda group: [1.0]}, "layers.0 must be 8 numbers"),
        ({"keep": 0.5, "gradients": {}}, "for importance='taylor', not for importance='l2'"),
        ({"keep": 0.5, "multiple_of": 0}, "multiple_of must be at least 1, not 0"),
    ],
)
def test_invalid_arguments_are_refused(options, message):
    model, inputs = models.MLP(12, (8, 6), 3, rngs=nnx.Rngs(0)), jnp.ones((2, 12))
    with pytest.raises(ValueError, match=message):
        shrink(model, inputs, **options)
