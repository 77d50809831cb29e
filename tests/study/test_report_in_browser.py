import re
import shutil
import subprocess

import pytest
from studies import make_study

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser")
SCRIPT = """<body style="margin:0"><iframe id="f" src="report.html" style="
width:{width}px;height:900px;
border:0"></iframe><p id="out"></p><script>onload = () => {{ const page =
document.getElementById("f").contentDocument.documentElement; document.getElementById("out")
.textContent = "width " + page.scrollWidth; }}</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="there is no Chromium")
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_itself_never_scrolls_sideways(width, tmp_path):
    study = make_study(tmp_path / "study", arms=["labels", "label smoothing", "kd"], steps=8)
    study.run(progress=False).report("Which is the largest?").write_html(tmp_path / "report.html")
    (tmp_path / "frame.html").write_text(SCRIPT.format(width=width), encoding="utf-8")
    done = subprocess.run(
        [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files",
         "--disable-web-security", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
         "--virtual-time-budget=3000", (tmp_path / "frame.html").as_uri()],
        capture_output=True, encoding="utf-8", timeout=120,
    )  # fmt: skip
    (found,) = re.findall(r"width (\d+)<", done.stdout)
    assert int(found) <= width
