"""`fit` takes any iterable of batches, and resumes it where it says its position."""

import itertools

import grain
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import jaxkd
from jaxkd import recipes
from jaxkd.training import fit
from jaxkd.training._streams import Stream, _decode, _encode, as_batch, by_step

INPUTS = np.random.default_rng(0).normal(size=(7, 8, 6)).astype(np.float32)
BATCHES = [{"inputs": x, "labels": np.arange(8) % 3} for x in INPUTS]
STEP = jaxkd.make_train_step(
    jaxkd.from_function(lambda p, x: x @ p, jnp.zeros((6, 3))), recipes.labels(), optax.sgd(0.1)
)


def train(batches, steps=5, **options):
    options = {"log_every": 2, "progress": None, "tensorboard": False} | options
    return fit(STEP, STEP.init(), batches, steps=steps, **options)


def params(result):
    return np.asarray(result.state.params["student"])


class Tensor:
    """In the shape of a tensor of PyTorch that needs its gradient."""

    def __init__(self, array, ready=False):
        self.array, self.ready = array, ready

    def detach(self):
        return self

    def cpu(self):
        return Tensor(self.array, ready=True)

    def numpy(self):
        assert self.ready
        return self.array


class DataLoader:
    """In the shape of PyTorch's: iterated again for each epoch, with tensors."""

    def __iter__(self):
        return ({name: Tensor(leaf) for name, leaf in batch.items()} for batch in BATCHES)

    def __len__(self):
        return len(BATCHES)


class Stateful:
    """In the shape of a loader that says its position before it is iterated."""

    def __init__(self):
        self.at = 0

    def __iter__(self):
        while self.at < len(BATCHES):
            self.at += 1
            yield BATCHES[self.at - 1]
        self.at = 0

    def state_dict(self):
        return {"at": np.int64(self.at), "random": b"\0\1", "tuple": (1, None)}

    def load_state_dict(self, state):
        assert state["random"] == b"\0\1" and state["tuple"] == (1, None)
        self.at = state["at"]


def grain_batches():
    return grain.MapDataset.source(BATCHES).shuffle(seed=3).repeat().to_iter_dataset()


@pytest.mark.parametrize("steps_per_call", [1, 2])
def test_every_kind_of_iterable_trains_as_batches_by_step(steps_per_call):
    expected = params(train(BATCHES * 2, 9, steps_per_call=steps_per_call))
    for batches in (itertools.cycle(BATCHES), DataLoader(), Stateful()):
        found = params(train(batches, 9, steps_per_call=steps_per_call))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", [grain_batches, Stateful])
def test_a_position_is_saved_and_resumed_bit_identically(tmp_path, make):
    whole = params(train(make(), 9))
    train(make(), 4, workdir=tmp_path)
    np.testing.assert_array_equal(params(train(make(), 9, workdir=tmp_path)), whole)


def test_a_stream_without_a_position_is_resumed_as_it_is_said(tmp_path):
    whole = params(train(BATCHES))
    for name in ("skip", "as_given"):
        train(iter(BATCHES), 4, workdir=tmp_path / name)
    with pytest.raises(ValueError, match="after step 4.*says no position.*resume='skip'"):
        train(iter(BATCHES), workdir=tmp_path / "skip")
    skipped = train(iter(BATCHES), workdir=tmp_path / "skip", resume="skip")
    np.testing.assert_array_equal(params(skipped), whole)
    given = train(iter(BATCHES[4:]), workdir=tmp_path / "as_given", resume="as_given")
    np.testing.assert_array_equal(params(given), whole)
    with pytest.raises(ValueError, match="resume must be one of.*'ignore'"):
        train(BATCHES, resume="ignore")


def test_a_run_that_is_over_takes_no_batch_of_a_stream(tmp_path):
    stops = {"callbacks": [lambda event: event.step == 2]}
    for name, options in (("all", {}), ("stopped", stops)):
        used, given = iter(BATCHES[:5]), options | {"workdir": tmp_path / name}
        first = train(used, **given)
        again = train(used, **given)
        assert again.train == first.train and len(again.train) == (1 if options else 3)
        np.testing.assert_array_equal(params(again), params(first))


def test_a_stream_that_ends_names_the_step_and_its_length():
    with pytest.raises(ValueError, match="generator ended before the batch of step 7; it gave 7"):
        train((batch for batch in BATCHES), 9)
    with pytest.raises(ValueError, match="no batch for step 0: it is empty"):
        by_step(set(), 0, None, "position", any_fields=False)[0]
    with pytest.raises(IndexError, match="no batch for step 7: the list has 7 batches"):
        train(BATCHES, 9)


def test_what_is_no_batch_is_refused_with_the_line_to_write():
    pairs = ((batch["inputs"], batch["labels"]) for batch in BATCHES)
    with pytest.raises(TypeError, match=r'tuple of 2: write \(\{"inputs": x, "labels": y\}'):
        train(pairs)
    with pytest.raises(ValueError, match=r'"inputs": batch\[\'image\'\], "labels": batch\[\'label'):
        train([{"image": INPUTS[0], "label": np.arange(8) % 3}])
    with pytest.raises(TypeError, match=r"one batch, not many: write \[batch\] \* steps"):
        train(BATCHES[0])
    with pytest.raises(TypeError, match="function, which gives no batches"):
        train(grain_batches)
    assert as_batch({"tokens": INPUTS}, any_fields=True)["tokens"] is INPUTS


def test_an_incomplete_last_batch_is_named_where_steps_are_made_together():
    short = [BATCHES[0], {name: leaf[:5] for name, leaf in BATCHES[1].items()}]
    with pytest.raises(ValueError, match=r"step 1 has the shapes .*5, 6.*drop_last=True"):
        train(iter(short), 2, steps_per_call=2)


def test_positions_are_plain_data():
    state = {"a": [1, (2.5, None)], 3: {"x": b"\xff"}, "n": np.arange(4, dtype=np.uint8)}
    found = _decode(_encode(state))
    np.testing.assert_array_equal(found.pop("n"), state.pop("n"))
    assert found == state
    with pytest.raises(TypeError, match="holds a object"):
        _encode(object())
    stream = Stream(iter(BATCHES), 0, None, "position", False)
    assert stream[0] is stream[0] and stream.position(1) is None
    with pytest.raises(IndexError, match="at step 1, not at 3"):
        stream[3]
