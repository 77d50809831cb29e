"""Batches of other libraries' loaders in `fit`: what they give trains, or the line is named."""

import itertools

import grain
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.data import Dataset, GrainSource, Loader
from jaxkd.training import fit

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(8, 6)).astype(np.float32)
LABELS = RNG.integers(0, 3, 8).astype(np.int32)
DATA = Dataset.from_arrays(ROWS, LABELS, name="rows", split="train", num_classes=3)
BATCH = {"inputs": ROWS[:4], "labels": LABELS[:4]}


class Tensor:
    """Behaves like a PyTorch tensor: it has a gradient, and `numpy` makes an array of it."""

    def __init__(self, values):
        self._values = values

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._values


class DataLoader:
    """Behaves like PyTorch's: each epoch iterates anew; batches are tuples without `collate`."""

    def __init__(self, collate=None):
        self._collate = collate or (lambda x, y: (Tensor(x), Tensor(y)))

    def __len__(self):
        return 2

    def __iter__(self):
        return (self._collate(ROWS[i : i + 4], LABELS[i : i + 4]) for i in (0, 4))


def collate(x, y):
    return {"inputs": Tensor(x), "labels": Tensor(y)}


SOURCES = {
    "a loader of our own": lambda: Loader(DATA, batch_size=4),
    "a list": lambda: [BATCH] * 3,
    "a generator": lambda: (BATCH for _ in range(3)),
    "itertools": lambda: itertools.repeat(BATCH),
    "grain": lambda: grain.MapDataset.source(GrainSource(DATA)).batch(4).repeat().to_iter_dataset(),
    "a DataLoader that collates": lambda: DataLoader(collate),
    "a DataLoader of tuples": lambda: (
        {"inputs": x, "labels": y} for _ in range(2) for x, y in DataLoader()
    ),
    "rows of Hugging Face": lambda: (
        {"inputs": row["image"], "labels": row["label"]}
        for row in [{"image": ROWS[:4].tolist(), "label": LABELS[:4].tolist()}] * 3
    ),
}
REFUSED = {
    "tuples": (lambda: DataLoader(), r'\(\{"inputs": x, "labels": y\} for x, y in batches\)'),
    "other names": (
        lambda: [{"image": ROWS, "label": LABELS}],
        r'\{"inputs": batch\[\'image\'\], "labels": batch\[\'label\'\]\}',
    ),
    "several inputs": (
        lambda: [{"input_ids": ROWS, "attention_mask": ROWS, "labels": LABELS}],
        r'"inputs": \{name: batch\[name\] for name in \[\'input_ids\', \'attention_mask\'\]\}, '
        r'"labels": batch\[\'labels\'\]',
    ),
    "one batch": (lambda: BATCH, r"write \[batch\] \* steps"),
    "a function": (lambda: lambda: BATCH, "call a function that returns one"),
    "too few": (lambda: iter([BATCH]), "ended before the batch of step 1"),
}


@pytest.fixture(scope="module")
def step():
    """One step for all sources, so that it is compiled once."""
    network = jaxkd.from_function(lambda w, x: x @ w, jnp.zeros((6, 3)))
    return jaxkd.make_train_step(network, recipes.labels(), optax.sgd(0.1))


@pytest.mark.parametrize("make", SOURCES.values(), ids=SOURCES)
def test_it_trains(make, step):
    result = fit(step, step.init(), make(), steps=3, steps_per_call=1, log_every=1, progress=None)
    assert [row["step"] for row in result.train] == [1, 2, 3]
    assert (result.state.params["student"] != 0).any()


@pytest.mark.parametrize(("make", "message"), REFUSED.values(), ids=REFUSED)
def test_the_line_to_write_is_named(make, message, step):
    with pytest.raises((TypeError, ValueError), match=message):
        fit(step, step.init(), make(), steps=3, steps_per_call=1, progress=None)
