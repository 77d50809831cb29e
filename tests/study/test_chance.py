import warnings

import jax.numpy as jnp
import numpy as np
import pytest
from studies import linear, make_data, make_study, make_teacher

from jaxkd import data, from_function, teachers
from jaxkd.study._chance import warn_of_chance
from jaxkd.views import Views

LABELS = np.arange(66) % 3


def images(labels=LABELS, **options):
    pixels = np.repeat(LABELS, 12).reshape(66, 2, 2, 3).astype(np.uint8)
    known = {"name": "pets", "split": "train", "num_classes": 3, **options}
    return data.Dataset.from_arrays(pixels, labels, **known)


def moved(by):
    """A teacher that is always right, but for the order of its classes."""
    return teachers.from_callable(
        lambda x: np.roll(np.eye(3)[np.asarray(x)[:, 0, 0, 0].astype(int)], by, -1), name="t"
    )


def test_a_teacher_whose_classes_are_in_another_order_is_named():
    named = images(class_names=("a", "b", "c"))
    with pytest.warns(UserWarning, match=r"0 of 64 .* chance: are its classes those of pets, in"):
        warn_of_chance(moved(1), named, Views())
    with pytest.warns(UserWarning, match=r"in this order \(a, b, c\), and its inputs"):
        warn_of_chance(moved(2), named, Views())


def test_what_cannot_be_by_chance_is_not_named():
    few, other = LABELS.copy(), images(num_classes=4)
    few[3:] = -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_chance(moved(0), images(), Views())
        warn_of_chance(None, images(), Views())
        warn_of_chance(moved(1), images(few), Views())
        warn_of_chance(moved(1), images(np.eye(3, dtype=np.float32)[LABELS]), Views())
        warn_of_chance(moved(1), other, Views())


def test_a_study_says_it_before_it_trains(tmp_path):
    backward = from_function(linear, 5.0 * jnp.eye(4)[::-1])
    study = make_study(tmp_path, make_data(), teacher=backward, arms=["labels"], seeds=1, steps=1)
    with pytest.warns(UserWarning, match="training examples, no more than chance") as said:
        study.run(test=False, progress=False)
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.run(test=False, progress=False)  # A finished study does not ask the teacher again.
        study.replace(teacher=make_teacher(), workdir=tmp_path / "right").run(progress=False)
