"""What objects show of themselves: a few lines in the words of their users, and no arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import Objective, Term, Views, losses, recipes
from jaxkd.data import Dataset, Loader
from jaxkd.study.figures import Figure
from jaxkd.study.report import Report, Section
from jaxkd.study.tables import Table
from jaxkd.training import fit

ROWS = np.arange(32, dtype=np.float32).reshape(8, 4) / 32
DATA = Dataset.from_arrays(ROWS, np.arange(8) % 3, name="rows", split="train", num_classes=3)


def linear(params, inputs):
    return inputs @ params


def test_objects_show_what_they_are_in_a_few_lines(tmp_path):
    network = jaxkd.from_function(linear, jnp.ones((4, 3)))
    assert repr(network) == "Network('linear': 12 parameters)"
    cache = jaxkd.cache.build(tmp_path / "c", network, DATA, progress=False)
    assert repr(cache).startswith(f"Cache('{tmp_path / 'c'}': 8 examples in 1 view, logits [3] as ")
    loader = Loader(cache=cache, batch_size=4)
    assert "'rows', split 'train': 8 examples in batches of 4, 2 steps an epoch" in repr(loader)
    step = jaxkd.make_train_step(network, recipes.kd(alpha=0.75), optax.sgd(0.1, momentum=0.9))
    state = step.init()
    assert repr(state) == ("TrainState(step 0: 12 parameters, 12 numbers in the optimizer's state)")
    terms = "label=Term(cross_entropy, weight=0.25), kd=Term(kd, weight=0.75, temperature=4.0)"
    assert repr(step) == f"TrainStep(Network('linear': 12 parameters), Objective({terms}))"
    result = fit(step, state, loader, steps=2, log_every=1, progress=None)
    assert repr(state) == "TrainState(given away to a later step)"
    assert repr(result).splitlines()[1].startswith("  train: 2 rows, the last one step 2, ")
    assert "step" in repr(jax.eval_shape(step.init))
    assert repr(step.student.replace(params=network.params, state={"count": jnp.ones(2)})) == (
        "Network('linear': 12 parameters, 2 numbers in its state)"
    )


def test_terms_show_what_differs_from_the_defaults():
    objective = Objective(a=Term(losses.kd, student="aux"), b=Term(losses.kd, where=linear))
    assert repr(objective) == "Objective(a=Term(kd, student='aux'), b=Term(kd, where=linear))"
    assert repr(Views()) == "Views(transforms=(), seed=0)"


def test_notebooks_show_tables_figures_and_reports():
    table = Table("A <table>", ["Arm"], [["kd"]])
    assert table._repr_html_() == table.to_html()
    figure = Figure(b"<svg ></svg>", "svg", "a curve", "From < to")
    assert figure._repr_html_().startswith('<figure><svg role="img" aria-label="a curve"')
    assert "<figcaption>From &lt; to</figcaption>" in figure._repr_html_()
    assert repr(figure) == "Figure(svg, 12 bytes: a curve)"
    page = Report("Title", "Summary.", [Section("One", "Text.", tables=[table])])._repr_html_()
    assert page.startswith('<iframe srcdoc="&lt;!') and "<h1>" not in page
