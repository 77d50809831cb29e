import numpy as np
import pytest
from flax import nnx

import jaxkd
from jaxkd import weights

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype(np.float32)


class Backbone(nnx.Module):
    def __init__(self, num_classes=3):
        self.embed = nnx.Embed(5, 4, rngs=nnx.Rngs(0))
        self.head = nnx.Linear(4, num_classes, use_bias=False, rngs=nnx.Rngs(1))

    def __call__(self, tokens):
        return self.head(self.embed(tokens).mean(axis=1))


def arrays(prefix="", num_classes=3):
    return {
        f"{prefix}embed.weight": normal(5, 4),
        f"{prefix}head.weight": normal(num_classes, 4),
    }


def test_a_common_prefix_is_named_with_the_line_that_removes_it():
    network = jaxkd.from_nnx(Backbone())
    source = arrays("module.")
    with pytest.raises(ValueError) as error:
        weights.load(network, source)
    message = str(error.value)
    assert "All names of the source begin with 'module.', without which 2 more match" in message
    assert "{name.removeprefix('module.'): array for name, array in" in message
    stripped = {name.removeprefix("module."): array for name, array in source.items()}
    assert weights.load(network, stripped)[1].complete


def test_a_prefix_of_some_names_is_named_too():
    source = arrays()
    source["encoder.model.embed.weight"] = source.pop("embed.weight")
    with pytest.raises(ValueError, match="1 names of the source begin with 'encoder.model.'"):
        weights.load(jaxkd.from_nnx(Backbone()), source)


def test_a_head_of_other_classes_is_left_out_by_ignore():
    network = jaxkd.from_nnx(Backbone())
    source = arrays(num_classes=7)
    with pytest.raises(ValueError, match=r"by ignore=\(r'\^head\\\.',\)"):
        weights.load(network, source)
    loaded, report = weights.load(network, source, ignore=(r"^head\.",))
    assert report.complete and report.ignored == ("head.weight",)
    np.testing.assert_array_equal(loaded.params["embed.embedding"], source["embed.weight"])
    np.testing.assert_array_equal(loaded.params["head.kernel"], network.params["head.kernel"])


def test_ignore_names_variables_that_the_source_lacks():
    source = {"embed.weight": normal(5, 4)}
    _, report = weights.load(jaxkd.from_nnx(Backbone()), source, ignore=(r"^head\.",))
    assert report.complete and report.ignored == ("head.kernel",)


def test_an_output_matrix_that_repeats_the_embeddings_needs_no_variable():
    class Tied(nnx.Module):
        def __init__(self):
            self.embed = nnx.Embed(5, 4, rngs=nnx.Rngs(0))

        def __call__(self, tokens):
            return self.embed.attend(self.embed(tokens))

    network, embeddings = jaxkd.from_nnx(Tied()), normal(5, 4)
    source = {"embed.weight": embeddings, "lm_head.weight": embeddings.copy()}
    _, report = weights.load(network, source)
    assert report.complete and report.ignored == ("lm_head.weight",)
    source["lm_head.weight"][0, 0] += 1
    with pytest.raises(ValueError, match="no variable in the network: lm_head.weight"):
        weights.load(network, source)


def test_a_head_that_a_tied_source_lacks_is_explained():
    source = {"embed.weight": normal(5, 4)}
    message = r"head.kernel is missing: .* tied to its embeddings, build the network with tied=True"
    with pytest.raises(ValueError, match=message):
        weights.load(jaxkd.from_nnx(Backbone()), source)


@pytest.mark.parametrize(
    ("value", "message"),
    [(1e300, r"1e\+300 as float64 overflows in float32"), (1j, "complex128 is complex, float32")],
)
def test_numbers_that_a_variable_cannot_hold_are_misfits(value, message):
    source = arrays()
    source["head.weight"] = np.full((3, 4), value)
    with pytest.raises(ValueError, match=f"head.kernel: {message}"):
        weights.load(jaxkd.from_nnx(Backbone()), source)
