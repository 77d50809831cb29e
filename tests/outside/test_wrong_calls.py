"""Calls as a newcomer writes them: the message says what was given, and the line to write."""

import jax
import numpy as np
import optax
import pytest
from flax import nnx

import jaxkd
from jaxkd import Objective, Term, Views, cache, losses, networks, recipes
from jaxkd.compression import pruning
from jaxkd.data import Dataset, Loader
from jaxkd.export import export
from jaxkd.training import fit

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(8, 4)).astype(np.float32)
LABELS = RNG.integers(0, 3, 8)
LABELS[0] = 2
ADAM, OBJECTIVE = optax.adam(1e-3), recipes.kd(alpha=0.5)
make_step, from_nnx = jaxkd.make_train_step, jaxkd.from_nnx


class Model(nnx.Module):
    def __init__(self, num_classes=3):
        self.head = nnx.Linear(4, num_classes, rngs=nnx.Rngs(0))

    def __call__(self, inputs):
        return self.head(inputs)


class NoLogits(nnx.Module):
    def __call__(self, inputs):
        return {"scores": inputs}


# Known by the module of its class alone, as no test needs PyTorch for it.
TORCH_MODULE = type("Linear", (), {"__module__": "torch.nn.modules.linear"})


def network(num_classes=3):
    return from_nnx(Model(num_classes))


def data(labels=LABELS):
    return Dataset.from_arrays(IMAGES, labels, name="d", split="train", num_classes=3)


def run(batch, teacher=None):
    step = make_step(network(), OBJECTIVE, ADAM, teacher=teacher)
    return step(step.init(), batch)


def build(teacher, dataset, path="wrong_cache", **options):
    return cache.build(path, teacher, dataset, Views(), progress=False, **options)


CALLS = {
    "a module as the student": (
        lambda: make_step(Model(), OBJECTIVE, ADAM),
        r"student must be a Network, not .* class Model: write jaxkd\.from_nnx\(module\)",
    ),
    "a module as the teacher": (
        lambda: make_step(network(), OBJECTIVE, ADAM, teacher=Model()),
        r"teacher must be a Network, not .* class Model: write jaxkd\.from_nnx\(module\)",
    ),
    "a class as the student": (
        lambda: make_step(Model, OBJECTIVE, ADAM),
        r"student must be a Network, not the class Model: write jaxkd\.from_nnx\(Model\(…",
    ),
    "a module of PyTorch as the teacher": (
        lambda: make_step(network(), OBJECTIVE, ADAM, teacher=TORCH_MODULE()),
        r"teacher must be a Network, not .*: .*outside of JAX: .*cache\.build.*from_torch\(",
    ),
    "parameters as the student": (
        lambda: make_step(network().params, OBJECTIVE, ADAM),
        r"student must be a Network, not .* class dict: write",
    ),
    "a jitted function as the student": (
        lambda: make_step(jax.jit(Model()), OBJECTIVE, ADAM),
        r"student must be a Network, not the function .*from_function",
    ),
    "an array in from_nnx": (
        lambda: from_nnx(IMAGES),
        r"takes a Flax NNX module, not .* ndarray: .*jaxkd\.from_function\(function, params\)",
    ),
    "a network in from_nnx": (
        lambda: from_nnx(network()),
        "given Model, which is a Network already: use it",
    ),
    "a class in from_nnx": (
        lambda: from_nnx(Model),
        r"not the class Model: .*jaxkd\.from_nnx\(Model\(…, rngs=nnx\.Rngs\(0\)\)\)",
    ),
    "a module of NNX in from_linen": (
        lambda: jaxkd.from_linen(Model(), {"params": {}}),
        r"a Flax Linen module, not .* Model: write jaxkd\.from_nnx\(module\)",
    ),
    "an array in from_function": (
        lambda: jaxkd.from_function(IMAGES, {}),
        r"not .* ndarray: write from_function\(lambda params, inputs",
    ),
    "a loss as the objective": (
        lambda: make_step(network(), losses.kd, ADAM),
        r"objective must be an Objective, not the function kd: write recipes\.kd\(\)",
    ),
    "a term as the objective": (
        lambda: make_step(network(), Term(losses.kd), ADAM),
        r"not an object of the class Term: write .*Objective\(kd=Term\(…\)\)",
    ),
    "a dictionary in Objective": (
        lambda: Objective({"kd": Term(losses.kd)}),
        r"the class dict has none: write Objective\(kd=Term\(loss\)\)",
    ),
    "a loss in Objective": (
        lambda: Objective(kd=losses.kd),
        r"term 'kd' must be a Term, not the function kd: write kd=Term\(loss\)",
    ),
    "the name of a loss in Term": (
        lambda: Term("kd"),
        r"must be a function, not 'kd': write losses\.kd",
    ),
    "the class of an optimizer": (
        lambda: make_step(network(), OBJECTIVE, optax.adam),
        r"not the function adam: write optax\.sgd\(0\.1\)",
    ),
    "a rate as the optimizer": (
        lambda: make_step(network(), OBJECTIVE, 1e-3),
        r"not 0\.001: write optax\.sgd\(0\.1\)",
    ),
    "another order": (
        lambda: make_step(OBJECTIVE, network(), ADAM),
        "student must be a Network, not .* class Objective",
    ),
    "the name of a codec": (
        lambda: build(network(), data(), codec="float16"),
        r"'float16' is no codec, .*: write Dense\('float16'\)",
    ),
    "a module in cache.build": (
        lambda: build(Model(), data()),
        r"an object of the class Model, .*: write jaxkd\.from_nnx\(module\)",
    ),
    "an array in cache.build": (
        lambda: build(network(), IMAGES),
        r"class ndarray does not: write Dataset\.from_arrays\(",
    ),
    "a file as the path of a cache": (
        lambda: build(network(), data(), path=__file__),
        "a cache is a directory, .* is a file: choose another path",
    ),
    "a cache that is not there": (
        lambda: cache.open("wrong_cache", teacher=network(), dataset=data()),
        r"no cache at .*: build one with jaxkd\.cache\.build",
    ),
    "texts as labels": (
        lambda: data(np.array(list("abcabcab"))),
        r"got dtype <U1: write names, labels = np\.unique\(labels, return_inverse=True\)",
    ),
    "floats as labels": (
        lambda: data(LABELS * 1.0),
        r"must be integers, got dtype float64: .*num_classes=None",
    ),
    "labels from one on": (
        lambda: data(LABELS + 1),
        r"label 3 of example id 0; labels must be in \[0, 3\).*count from one: write labels - 1",
    ),
    "file names as inputs": (
        lambda: Dataset.from_arrays(["a.png"], [0], name="d", split="train", num_classes=2),
        r"got dtype <U5 \(.*read by data\.folder\)",
    ),
    "a teacher of other classes": (
        lambda: run({"inputs": IMAGES, "labels": LABELS}, teacher=network(5)),
        "student has 3 classes and teacher 5",
    ),
    "an objective in fit": (
        lambda: fit(OBJECTIVE, None, [], steps=1),
        r"step must be a TrainStep, not .* Objective: write jaxkd\.make_train_step\(",
    ),
    "a network as the state": (
        lambda: fit(make_step(network(), OBJECTIVE, ADAM), network(), [], steps=1),
        r"state must be a TrainState, not .* Network: write step\.init\(\)",
    ),
    "parameters as the state": (
        lambda: make_step(network(), OBJECTIVE, ADAM)(network().params, {}),
        r"state must be a TrainState, not .* dict: write state = step\.init\(\)",
    ),
    "a tuple as the batch": (
        lambda: run((IMAGES, LABELS)),
        r"class tuple: \(inputs, labels\) is \{'inputs': inputs, 'labels': labels\}",
    ),
    "a loader as the batch": (
        lambda: run(Loader(data(), Views(), 4)),
        r"class Loader: .* batch = loader\[0\]",
    ),
    "other names in the batch": (
        lambda: run({"x": IMAGES, "y": LABELS}),
        r"needs 'inputs'.* has \['x', 'y'\]: write \{'inputs'",
    ),
    "an array in Loader": (
        lambda: Loader(IMAGES, Views(), 4),
        r"class ndarray does not: write Dataset\.from_arrays\(",
    ),
    "a text as the batch size": (
        lambda: Loader(data(), Views(), "4"),
        "batch_size must be an integer, not '4'",
    ),
    "functions in Views": (
        lambda: Views([lambda image: image]),
        r"wrap a function of key and image, jaxkd\.views\.Augment\(",
    ),
    "a number in Views": (
        lambda: Views(3),
        r"not 3: write Views\(\(RandomFlip\(\), Normalize\(\)\), seed=0\)",
    ),
    "a connector without logits": (
        lambda: networks.as_connector(from_nnx(NoLogits())).apply({}, {}, IMAGES),
        r"connector needs an output 'logits'; NoLogits has \['scores'\]: .*outputs=\{'logits'",
    ),
    "a module without logits in pruning": (
        lambda: pruning.channel_groups(NoLogits(), IMAGES),
        r"pruning needs an output 'logits'; NoLogits has \['scores'\]: .*return \{'logits': …\}",
    ),
    "a network without logits in export": (
        lambda: export("wrong_export", from_nnx(NoLogits()), IMAGES),
        r"program needs an output 'logits'; NoLogits has \['scores'\]: .*outputs=\{'logits'",
    ),
    "temperature 0": (lambda: recipes.kd(temperature=0), r"a positive number, not 0"),
    "alpha 2": (lambda: recipes.kd(alpha=2), r"alpha must lie in \[0, 1\], not 2"),
    "a recipe that there is not": (
        lambda: recipes.create("kdd", None),
        "unknown recipe 'kdd'; did you mean 'kd'",
    ),
    "a text as a weight": (
        lambda: Term(losses.kd, weight="0.5"),
        "weight of kd must be a number or a schedule, not '0.5'",
    ),
}


@pytest.mark.parametrize(("call", "message"), CALLS.values(), ids=CALLS)
def test_the_message_says_what_to_write(call, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((TypeError, ValueError, cache.CacheError), match=f"(?s){message}"):
        call()
    assert not list(tmp_path.iterdir())
