"""The code of the page on training runs."""

import pathlib
import re

import jax.numpy as jnp
import numpy as np
import optax

import jaxkd
from jaxkd import recipes
from jaxkd.data import Dataset
from jaxkd.training import fit, logs

PAGE = pathlib.Path(__file__).parents[2] / "docs" / "training.md"


def test_the_code_of_the_page_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logs, "WandB", lambda project: logs.CSV(project))
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    code = "\n".join(blocks).replace("10_000", "4").replace("_every=100", "_every=2")
    # An accuracy that the callback ends its run for.
    code = code.replace("> 0.95", ">= 0.0")
    inputs = np.random.default_rng(0).normal(size=(4, 8, 6)).astype(np.float32)
    network = jaxkd.from_function(lambda p, x: x @ p, jnp.eye(6, 3))
    names = {
        "jaxkd": jaxkd,
        "recipes": recipes,
        "optax": optax,
        "fit": lambda *given, **options: fit(*given, **{"log_every": 2} | options),
        "student": network,
        "teacher": network,
        "batches": [{"inputs": x, "labels": np.arange(8) % 3} for x in inputs],
        "test_data": Dataset.from_arrays(
            inputs[0], np.zeros(8, int), name="n", split="test", num_classes=3
        ),
    }
    exec(code, names)
    assert [row["step"] for row in names["result"].eval] == [2, 4]
    assert int(names["result"].best.step) in (2, 4)
    assert (tmp_path / "digits" / "train.csv").exists()
    # The callback ended its run at the first evaluation.
    assert "ended after step 2: a callback ended it" in capsys.readouterr().err
