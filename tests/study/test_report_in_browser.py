import re
import shutil
import subprocess

import numpy as np
import pytest
from studies import make_study

from jaxkd.study import Column, Picture, Report, Section, Table, class_figures, learning_curves

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SCRIPT = """<body style="margin:0"><iframe id="f" src="report.html" style="
width:{width}px;height:900px;
border:0"></iframe><p id="out"></p><script>onload = () => {{ const page =
document.getElementById("f").contentDocument.documentElement; document.getElementById("out")
.textContent = "width " + page.scrollWidth; }}</script></body>"""


def everything():
    """A section with a wide table, many curves, pictures and figures of classes."""
    curve = np.arange(4), np.array([0.1, 0.5, 0.7, 0.8])
    curves = {f"distilled at temperature {t}, weight 0.9": curve for t in range(6)}
    columns = ["Arm", *(Column(f"A heading of column {n}", "percent") for n in range(12))]
    picture = Picture(np.zeros((28, 28, 3), np.uint8), "Only the teacher is right", ["Label: bag"])
    names = [f"a class with a long name {n}" for n in range(10)]
    logits = np.random.default_rng(0).normal(size=(2, 30, 10))
    figures = class_figures("kd", logits, np.arange(30) % 10, names, baseline=("a", -logits))
    return Section(
        "Everything",
        tables=[Table("Wide", columns, [["arm", *[0.5] * 12]])],
        figures=[learning_curves(curves), *figures],
        pictures=[picture] * 12,
    )


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_itself_never_scrolls_sideways(width, tmp_path):
    study = make_study(tmp_path / "study", arms=["labels", "label smoothing", "kd"], steps=8)
    report = study.run(progress=False).report("Which is the largest?")
    sections = [*report.sections, everything()]
    Report(report.title, report.summary, sections).write_html(tmp_path / "report.html")
    (tmp_path / "frame.html").write_text(SCRIPT.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--disable-web-security", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         "--virtual-time-budget=3000", (tmp_path / "frame.html").as_uri()],
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    (found,) = re.findall(r"width (\d+)<", done.stdout)
    assert int(found) <= width
