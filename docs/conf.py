"""Settings of the documentation site, built by ``make docs``.

The source folder is the whole repository, so that links between pages, examples and benchmarks are the same here and in
the files; only the pages below are part of the site.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from deepmd_dpa4 import __version__

project = "deepmd-dpa4"
author = "deepmd-dpa4 contributors"
release = __version__

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "examples/**.md",
    "benchmarks/**.md",
]
exclude_patterns = [".*", "build", "dist", "tests", "deepmd_dpa4", "**/__pycache__", "examples/water/demo"]

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "numpydoc"]
myst_enable_extensions = ["amsmath", "dollarmath"]
myst_heading_anchors = 4
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # numpydoc sections say more
numpydoc_show_class_members = False

html_theme = "furo"
html_title = f"deepmd-dpa4 {__version__}"
html_copy_source = False

START = """<!doctype html>
<meta charset="utf-8">
<meta http-equiv="refresh" content="0; url=docs/index.html">
<title>deepmd-dpa4</title>
<a href="docs/index.html">deepmd-dpa4</a>
"""


def write_start(app: Sphinx, exception: Exception | None) -> None:
    """Lead from the top folder of the site to its first page."""
    if exception is None:
        (Path(app.outdir) / "index.html").write_text(START)


def setup(app: Sphinx) -> None:
    """Sphinx calls this."""
    app.connect("build-finished", write_start)
