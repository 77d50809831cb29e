import pathlib
import re

import pytest

PAGE = pathlib.Path(__file__).parents[2] / "docs/study.md"


@pytest.mark.slow
def test_the_code_of_the_page_runs_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S))
    # The same code with fewer steps.
    names = {}
    exec(compile(code.replace("epochs=20", "epochs=2"), str(PAGE), "exec"), names)
    assert names["results"].chosen in names["results"].arms
    for file in ("results.json", "report.html", "tuning.html", "settings.csv"):
        assert (tmp_path / "runs/digits_study" / file).exists(), file
    assert names["tuning"].chosen.method in ("kd", "dkd")
