import dataclasses
import math
import re

import pytest
from experiment_runs import chosen

from experiments.common.validation import field, recipe_options, validate


@dataclasses.dataclass
class Views:
    crop: int = field(0, ge=0)
    flip: bool = False


@dataclasses.dataclass
class Config:
    dataset: str = field("digits", choices=("digits", "fashion_mnist"))
    arms: str = field("labels,kd", choices=("labels", "kd", "dkd"), several=True)
    seeds: int = field(5, ge=1)
    epochs: int = field(0, ge=1, unset=0)
    alpha: float = field(0.9, ge=0, le=1)
    rate: float = field(0.1, gt=0)
    below: float = field(0.1, lt=1)
    free: float = 1.0
    noise: tuple[float, ...] = field((0.0, 0.2), ge=0, lt=1)
    widths: tuple[int, ...] = field((), ge=1, unset=())
    views: Views = field(lambda: Views(crop=2))


def test_defaults_and_values_on_the_bounds_pass():
    validate(Config())
    validate(Config(seeds=1, epochs=3, alpha=0.0, noise=(0,), widths=(4, 2), arms="dkd"))
    assert Config().views.crop == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dataset": "digit"}, "one of digits, fashion_mnist, not 'digit'; did you mean 'digits'?"),
        ({"arms": "labels,dk"}, "some of labels, kd, dkd, each once, not 'labels,dk'; did you"),
        ({"arms": "kd,kd"}, "arms must be some of labels, kd, dkd, each once, not 'kd,kd'"),
        ({"arms": ""}, "arms must be some of labels, kd, dkd, each once, not ''"),
        ({"seeds": 0}, "seeds must be at least 1, not 0"),
        ({"epochs": -1}, "epochs must be at least 1, not -1"),
        ({"alpha": 1.5}, "alpha must lie in [0, 1], not 1.5"),
        ({"alpha": math.nan}, "alpha must lie in [0, 1], not nan"),
        ({"rate": 0.0}, "rate must be a positive number, not 0.0"),
        ({"rate": math.inf}, "rate must be a positive number, not inf"),
        ({"below": 1.0}, "below must be less than 1, not 1.0"),
        ({"free": math.nan}, "free must be finite, not nan"),
        ({"noise": (0.5, 1.0)}, "noise must lie in [0, 1), not 1.0"),
        ({"noise": (0.5, "all")}, "noise must be numbers separated by commas"),
        ({"noise": ()}, "at least one and none twice, not ()"),
        ({"noise": (0.5, 0.5)}, "none twice, not (0.5, 0.5)"),
        ({"widths": (2, 2.5)}, "widths must be numbers"),
        ({"widths": "x"}, "widths must be numbers separated by commas, at least one and none"),
        ({"noise": 0.5}, "none twice, not 0.5"),
        ({"views": Views(crop=-1)}, "views.crop must be at least 0, not -1"),
        ({"seeds": 1.5}, "seeds must be an integer, not 1.5"),
        ({"seeds": "7"}, "seeds must be an integer, not '7'"),
        ({"epochs": False}, "epochs must be an integer, not False"),
        ({"alpha": None}, "alpha must be a number, not None"),
        ({"dataset": 3}, "dataset must be a text, not 3"),
        ({"views": Views(flip="no")}, "views.flip must be True or False, not 'no'"),
    ],
)
def test_a_value_outside_its_range_is_named(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        validate(Config(**options))


def test_flags_set_fields_with_ranges():
    config = chosen(Config(), ["--config.seeds=0", "--config.views.crop=3", "--config.noise=0.1"])
    assert (config.seeds, config.views.crop, config.noise) == (0, 3, (0.1,))
    with pytest.raises(ValueError, match="seeds must be at least 1, not 0"):
        validate(config)


def test_options_of_recipes_are_json():
    assert recipe_options("options", '{"kd": {"alpha": 0.5}}') == {"kd": {"alpha": 0.5}}
    with pytest.raises(ValueError, match=re.escape("options must be JSON, not '{kd}'")):
        recipe_options("options", "{kd}")
    with pytest.raises(ValueError, match="options must map recipes to their options"):
        recipe_options("options", '{"kd": 1}')
    with pytest.raises(ValueError, match="options must give 'alpha' once, not twice"):
        recipe_options("options", '{"kd": {"alpha": 0.5, "alpha": 0.6}}')


def test_options_of_recipes_are_those_of_the_chosen_ones():
    text = '{"dkdd": {"beta": 2.0}}'
    message = "options are for the chosen kd, dkd, not 'dkdd'; did you mean 'dkd'?"
    with pytest.raises(ValueError, match=re.escape(message)):
        recipe_options("options", text, ["kd", "dkd"])
    with pytest.raises(ValueError, match=r"the chosen recipes \(there are none\), not 'dkdd'"):
        recipe_options("options", text, [])
    assert recipe_options("options", text, ["dkdd"]) == {"dkdd": {"beta": 2.0}}
