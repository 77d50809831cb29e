"""What a run evaluates its student on has the classes and the normalization that it trains on."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.data import Dataset, Loader, eval_batches
from jaxkd.training import (
    Population,
    evaluate,
    evaluator,
    fit,
    make_eval_step,
    make_train_step,
    predict,
)
from jaxkd.views import Augment, Normalize, RandomCrop, Views

NAMES = ("a", "b", "c")
ARRAYS = np.random.default_rng(0).integers(0, 256, (8, 4, 4, 1)).astype(np.uint8)
PLAIN = Views((Normalize((0.5,), (0.2,)),))
TRAINED = Views((RandomCrop(1), Normalize((0.5,), (0.2,))))


def data(names=NAMES, arrays=ARRAYS):
    return Dataset.from_arrays(
        arrays, np.arange(8) % 3, name="n", split="s", num_classes=3, class_names=names
    )


def linear(scale=0.0):
    def classify(w, x):
        return x.reshape(len(x), -1) @ w

    return jaxkd.from_function(classify, jnp.full((16, 3), scale))


STUDENT = linear()
STEP = make_train_step(STUDENT, recipes.labels(), optax.sgd(0.1), views=TRAINED)


def train(dataset, views, network=STUDENT, call=evaluate, allow=()):
    eval_step = make_eval_step(network, views=views)

    def score(state):
        own = state.network(network) if network is STUDENT else network
        if call is predict:
            return {"mean": predict(eval_step, own, eval_batches(dataset, 8)).mean()}
        return evaluate(eval_step, own.params, own.state, eval_batches(dataset, 8))

    batches = Loader(data(), TRAINED, 8)
    return fit(
        STEP, STEP.init(), batches, steps=1, evaluate=score, progress=None, allow=allow
    ).eval[0]


REFUSED = {
    "names": (data(NAMES[::-1]), PLAIN, r"class_names \('a', 'b', 'c'\), .* \('c', 'b', 'a'\)"),
    "no normalization": (data(), None, r"trains on .*evaluated on .*views=Views\(\(Normalize\("),
    "another one": (data(), Views((Normalize(),)), r"normalize otherwise.*allow=\{'views'\}"),
}


@pytest.mark.parametrize("call", [evaluate, predict])
@pytest.mark.parametrize("case", REFUSED)
def test_an_evaluation_of_something_else_is_refused(case, call):
    dataset, views, message = REFUSED[case]
    with pytest.raises(ValueError, match=message):
        train(dataset, views, call=call)


@dataclasses.dataclass(frozen=True)
class Own:
    """A transform that normalizes by itself."""

    random = False

    def __call__(self, key, image):
        return (image.astype(jnp.float32) / 255 - 0.5) / 0.2


def normalized(image):
    return Own()(None, image)


class Untouchable(Loader):
    """Batches of which the first one alone may be looked at."""

    def __getitem__(self, step):
        assert step == 0
        return super().__getitem__(step)


@pytest.mark.parametrize("case", REFUSED)
def test_what_an_evaluator_evaluates_is_compared_before_the_first_step(case):
    dataset, views, message = REFUSED[case]
    options = {"steps": 2, "steps_per_call": 2, "progress": None}
    given = STEP, STEP.init(), Untouchable(data(), TRAINED, 8)
    with pytest.raises(ValueError, match=message):
        fit(*given, evaluate=evaluator(make_eval_step(STUDENT, views=views), dataset), **options)


def test_an_evaluator_gives_what_evaluate_gives():
    step, state = make_eval_step(STUDENT, views=PLAIN), STEP.init()
    found = evaluator(step, data(), batch_size=3)(state)
    own = state.params["student"], state.model_state["student"]
    assert found == evaluate(step, *own, eval_batches(data(), 3))


def test_what_belongs_to_the_run_or_is_meant_is_accepted():
    assert np.isfinite(train(data(), PLAIN)["accuracy"])
    train(data(()), PLAIN)
    train(data(), None, allow={"views"})
    train(data(NAMES[::-1]), PLAIN, allow={"dataset.class_names"})
    train(data(), Views((Own(),)))
    train(data(), Views((Augment(normalized, takes="any", random=False),)))
    # Examples that were prepared otherwise, and another network.
    train(data(arrays=(ARRAYS / 255 - 0.5).astype(np.float32)), None)
    train(data(), None, network=linear(1.0))
    # Outside of a run nothing is compared.
    step = make_eval_step(STUDENT)
    evaluate(step, STUDENT.params, STUDENT.state, eval_batches(data(NAMES[::-1]), 8))


def test_a_population_compares_what_it_evaluates():
    population = Population(
        lambda seed: STUDENT, recipes.labels(), optax.sgd, {"learning_rate": [0.1, 0.2]},
        views=TRAINED,
    )  # fmt: skip
    with pytest.raises(ValueError, match="normalize otherwise"):
        fit(
            population.step,
            population.init(),
            Loader(data(), TRAINED, 8),
            steps=1,
            evaluate=population.evaluator(data(), views=None, batch_size=8),
            progress=None,
        )
