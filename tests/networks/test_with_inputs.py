import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import Small
from flax import nnx

import jaxkd
from jaxkd import networks

LOGITS = jnp.asarray([[1.0, 2.0, 3.0, 0.5]])


def identity(outputs=None):
    return jaxkd.from_function(
        lambda params, inputs: inputs * params, jnp.ones(()), outputs=outputs
    )


def test_a_network_gets_the_inputs_that_a_function_makes():
    network = networks.with_inputs(identity(), lambda inputs: inputs["x"] * 2)
    np.testing.assert_array_equal(network({"x": LOGITS})["logits"], 2 * LOGITS)
    assert network.params is not None and network.name == identity().name
    scaled = [networks.with_inputs(identity(), lambda x, by=by: x * by) for by in (1.0, 2.0)]
    other = networks.with_inputs(identity(), lambda x: x - 1)
    prints = {n.fingerprint()["architecture"] for n in (identity(), *scaled, other)}
    assert len(prints) == 4
    with pytest.raises(TypeError, match="with_inputs takes a function"):
        networks.with_inputs(identity(), "image")


def test_classes_are_selected_by_index_name_and_group():
    names = ["a", "b", "c", "d"]
    for classes in ([2, 0], ["c", "a"], np.asarray([2, 0]), {"x": ["c"], "y": [0]}):
        chosen = networks.select_classes(identity(), classes, class_names=names)
        np.testing.assert_array_equal(chosen(LOGITS)["logits"], [[3.0, 1.0]])
    merged = networks.select_classes(identity(), [[0, "c"], [1, 3]], class_names=names)
    probabilities = jax.nn.softmax(LOGITS)[0]
    np.testing.assert_allclose(
        jax.nn.softmax(merged(LOGITS)["logits"])[0],
        [probabilities[0] + probabilities[2], probabilities[1] + probabilities[3]],
        rtol=1e-6,
    )
    prints = [
        networks.select_classes(identity(), c).fingerprint()["architecture"]
        for c in ([0, 1], [1, 0], [[0, 1]])
    ]
    assert len({*prints, identity().fingerprint()["architecture"]}) == 4


def test_a_head_is_selected_with_the_logits_unless_classes_are_merged():
    network = identity(lambda x: {"logits": x, "head": jnp.eye(4)})
    assert networks.select_classes(network, [3])(LOGITS)["head"].tolist() == [[0], [0], [0], [1]]
    assert sorted(networks.select_classes(network, [[0, 1]])(LOGITS)) == ["logits"]


@pytest.mark.parametrize(
    ("classes", "names", "error", "match"),
    [
        ([4], None, ValueError, r"class 4, .* of 4 classes"),
        ([-1], None, ValueError, "at least 0"),
        (["z"], ["a"], ValueError, r"no class \['z'\]"),
        (["a"], ["a", "a"], ValueError, "more than once"),
        (["a"], None, ValueError, "class_names="),
        ([], None, ValueError, "at least one class"),
        ([[]], None, ValueError, "at least one class"),
        ("cat", None, TypeError, "classes are indices"),
        ([True, False, True, False], None, TypeError, "flatnonzero"),
        (np.array([True, False]), None, TypeError, "flatnonzero"),
        ([0.9], None, TypeError, r"not 0\.9"),
        ([[1, 1], 0], None, ValueError, "class twice"),
    ],
)
def test_classes_that_there_are_not_are_refused(classes, names, error, match):
    with pytest.raises(error, match=match):
        networks.select_classes(identity(), classes, class_names=names)(LOGITS)
    without = identity(lambda x: {"z": x})
    with pytest.raises(ValueError, match="select_classes needs an output 'logits'"):
        networks.select_classes(without, [0])(LOGITS)


def test_what_is_no_network_or_of_another_adapter_is_refused_with_the_line_to_write():
    module, linen = Small(5, rngs=nnx.Rngs(0)), nn.Dense(3)
    for value, match in [
        (module, r"from_nnx\(module\)"),
        (linen, r"from_linen\(module, module.init"),
        (Small, r"the class Small: .*from_nnx\(Small\("),
        ("resnet18", r"'resnet18': .*models.create\('resnet18'"),
        (LOGITS, "come with the batches"),
        (lambda params, inputs: inputs, r"from_function\(function, params\)"),
        (3, "from_nnx"),
    ]:
        with pytest.raises(TypeError, match=match):
            networks.with_inputs(value, lambda inputs: inputs)
    for value, match in [
        (jaxkd.from_nnx(module), "a Network already"),
        (linen, r"from_linen\(module"),
        (Small, r"from_nnx\(Small\("),
    ]:
        with pytest.raises(TypeError, match=match):
            jaxkd.from_nnx(value)
    with pytest.raises(TypeError, match=r"Flax Linen module, .*from_nnx\(module\)"):
        jaxkd.from_linen(module, {"params": {}})
    with pytest.raises(ValueError, match=r"from_linen\(module, \{'params': variables\}\)"):
        jaxkd.from_linen(linen, {"kernel": jnp.ones((4, 3))})
    with pytest.raises(TypeError, match=r"module.init"):
        jaxkd.from_linen(linen, None)


def test_a_linen_module_without_parameters_is_a_network():
    class Mean(nn.Module):
        @nn.compact
        def __call__(self, x):
            return x.mean(-1, keepdims=True)

    network = jaxkd.from_linen(Mean(), Mean().init(jax.random.key(0), LOGITS))
    assert network.params == {} and network(LOGITS)["logits"].shape == (1, 1)
