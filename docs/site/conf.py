"""Settings of the documentation's site: `make docs` builds it of the pages as they lie in the checkout.

The source folder is the checkout itself, so that every link between pages is the same file here and on the site.
"""

from __future__ import annotations

import sys
from pathlib import Path

import kdkit

sys.path.insert(0, str(Path(__file__).parent))

project = "kdkit"
version = release = kdkit.__version__
copyright = ""  # noqa: A001 - Sphinx's name
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "docs/**.md", "docs/api/*.rst", "plugins/*/README.md"]
exclude_patterns = [".*", "build", "dist", "runs", "**/__pycache__", "**/tests", "kdkit", "recipes", "benchmarks"]

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "docstrings",
    "api_pages",
    "navigation",
    "linked_files",
    "reading",
]

myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True}
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
napoleon_use_ivar = True
napoleon_numpy_docstring = False

html_theme = "furo"
html_title = "kdkit"
html_static_path = ["static"]
html_css_files = ["kdkit.css"]
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {"navigation_with_keys": False}
copybutton_prompt_text = "$ "
