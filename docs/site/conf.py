"""Sphinx configuration of the site; `make docs` builds it from what `stage.py` lays out."""

import jaxkd

project = "jaxkd"
author = "The jaxkd authors"
copyright = "The jaxkd authors, Apache-2.0"  # noqa: A001
version = release = jaxkd.__version__

extensions = ["myst_nb", "sphinx_copybutton"]
root_doc = "index"
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb"}
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# Notebooks are executed once and again when they change; pages without cells are not notebooks.
nb_execution_mode = "cache"
nb_execution_timeout = 900
nb_execution_raise_on_error = True
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "furo"
html_title = f"jaxkd {release}"
html_copy_source = False
html_show_sphinx = False
html_static_path = ["static"]
templates_path = ["templates"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
pygments_style = "a11y-light"
pygments_dark_style = "a11y-dark"
html_theme_options = {"navigation_with_keys": True}
