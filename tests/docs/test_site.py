"""The site: every public name has a page, every page a place, and all of it builds."""

import inspect
import os
import pathlib
import re
import shutil
import subprocess
import sys

import docstrings
import names
import pytest
import stage

ROOT = pathlib.Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pages():
    return dict(stage.sources())


def test_every_public_name_has_a_page_with_signature_example_and_source(pages):
    listed = {
        f"{path}.{name}"
        for path, module in names.modules().items()
        for name in getattr(module, "__all__", [])
        if not hasattr(getattr(module, name), "__path__")
    } - set(names.modules())
    public = names.public_names()
    reached = {name for found in public for name in (found.name, *found.aliases)}
    assert listed and not listed - reached
    assert {f"reference/{found.name}.md" for found in public} < set(pages)
    for found in public:
        page = pages[f"reference/{found.name}.md"]
        short = found.name.rpartition(".")[2]
        assert f"# {found.name}\n" in page
        assert re.search(rf"```python\n(def |class )?{short}\b", page), found.name
        assert "## Example" in page or "```pycon" in page or "```python\n>" in page, found.name
        path, first = re.search(r"\[source\]\(.*?/main/([\w/.]+)(?:#L(\d+))?", page).groups()
        lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
        assert first is None or short in lines[int(first) - 1], found.name


def test_every_public_name_has_an_example_of_its_own():
    # Constants and type aliases have no docstring that could hold one.
    described = [found for found in names.public_names() if found.definition is not None]
    assert len(described) > 500
    assert not [found.name for found in described if ">>>" not in found.doc]


def test_the_reference_lists_its_names_by_package(pages):
    for found in names.public_names():
        assert f"]({found.name}.md)" in pages[f"reference/{found.package}.md"]
        assert f"\n{found.package}\n" in pages["reference/index.md"]


def test_a_docstring_becomes_markdown():
    doc = """Computes a thing, `a < b`, of <any> kind.

    A list:

    - one
      and more

    Args:
      x: an array `[batch]`,
        of *any* type.
      **options: others.

    Example:
      >>> 1 + 1
      2
    """
    assert docstrings.to_markdown(inspect.cleandoc(doc)) == (
        "Computes a thing, `a < b`, of \\<any\\> kind.\n\nA list:\n\n- one\n  and more\n\n"
        "## Arguments\n\n- **`x`**: an array `[batch]`, of \\*any\\* type.\n"
        "- **`**options`**: others.\n\n## Example\n\n```pycon\n>>> 1 + 1\n2\n```\n"
    )
    assert docstrings.first_sentence("Returns a thing. It is\nlarge.") == "Returns a thing."


def test_links_of_the_repository_become_links_of_the_site():
    text = "[a](cache.md#x) [b](../benchmarks/models.md) [c](../LICENSE) ```[d](../LICENSE)```"
    assert stage.relinked(text, pathlib.Path("docs/data.md")) == (
        "[a](cache.md#x) [b](benchmarks/models.md) "
        "[c](https://github.com/jaxkd/jaxkd/blob/main/LICENSE) ```[d](../LICENSE)```"
    )
    back = stage.relinked("[a](../docs/cache.md)", pathlib.Path("benchmarks/models.md"))
    assert back == "[a](../cache.md)"


def test_links_of_all_sources_lead_to_pages_of_the_site(pages):
    pictures = {
        str(stage.placed(file.relative_to(ROOT)))
        for name in stage.FOLDERS
        for file in ROOT.glob(f"{name}/*")
        if file.suffix in stage.PICTURES
    }
    broken = []
    for path, text in pages.items():
        plain = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
        for link in re.findall(r"\]\(([^)\s#:]+)(?:#[^)]*)?\)", plain):
            target = os.path.normpath(pathlib.PurePosixPath(path).parent / link)
            if target not in pages and target not in pictures:
                broken.append((path, link))
    assert len(pages) > 600 and not broken


def test_whole_reports_are_in_the_site_and_say_nothing_of_the_machine_that_made_them(pages):
    folder = ROOT / "docs" / "site" / "static"
    named = re.findall(r'href="_static/(reports/[\w.-]+\.html)"', pages["gallery.md"])
    assert {folder / name for name in named} == set(folder.glob("reports/*")) and named
    for name in named:
        text = (folder / name).read_text(encoding="utf-8")
        assert len(text) < 300_000 and "</html>" in text and "<h1" in text, name
        # Paths of a machine, and scripts or pictures of others.
        assert not re.search(r"(?:/home|/root|/tmp|/Users|/work)/|src=.https?:", text), name


def test_every_page_has_one_title(pages):
    for path, text in pages.items():
        if path.endswith(".md"):
            plain = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
            assert len(re.findall(r"^# ", plain, re.M)) == 1, path
    both = stage.with_one_title("# A\n\n```sh\n# no title\n```\n\n# B\n", "x")
    assert both == "# A\n\n```sh\n# no title\n```\n\n## B\n"
    assert stage.with_one_title("A table.\n", "memory_use") == "# Memory use\n\nA table.\n"


def test_the_first_page_has_the_version_and_what_is_new():
    text = stage.with_contents(stage.with_news("<!-- new -->\n\n## Use\n\n- [Data](data.md): x\n"))
    assert re.match(r"## What is new in \d+\.\d+\.\d+", text)
    assert text.count("\n- ") == 7 and "```{toctree}\n:hidden:\n:caption: Use\n\ndata\n```" in text


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_make_docs_treats_warnings_as_errors():
    command = ["make", "-n", f"PYTHON={sys.executable}", "docs"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    assert "sphinx -W" in run.stdout and "'.[docs]'" in run.stdout


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path):
    pytest.importorskip("furo", reason="needs the extra docs: make docs installs it")
    stage.main(tmp_path / "source")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q"]
    command += ["-c", str(ROOT / "docs" / "site"), str(tmp_path / "source"), str(tmp_path / "html")]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert run.returncode == 0, run.stderr
    for name in names.public_names():
        assert (tmp_path / "html" / "reference" / f"{name.name}.html").exists()
    for page in (tmp_path / "html").rglob("*.html"):
        loaded = re.findall(
            r'<(?:script|img|link|iframe)[^>]*https?://[^"]*', page.read_text(encoding="utf-8")
        )
        assert not loaded, page.name
    assert "What is new" in (tmp_path / "html" / "index.html").read_text(encoding="utf-8")
