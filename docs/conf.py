"""Settings of the site that `make docs` builds from the repository's Markdown files, docstrings and descriptions.

The source folder is the repository's root: links between Markdown files lead to the same pages here and in an editor.
"""

import sys
from pathlib import Path
from typing import Final

from sphinx.application import Sphinx

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "docs")]

from site_pages import api_pages, docstrings, markdown  # noqa: E402

project = "GourmetGram"
language = "en"
root_doc = "docs/index"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
]
include_patterns = [
    "docs/**/*.md",
    "docs/*.md",
    "chameleon/source/*.md",
    "model_training/workspace/*.ipynb",
    "README.md",
    "CONTRIBUTING.md",
    "*/README.md",
]
exclude_patterns = [
    ".git",
    ".venv*",
    ".stack",
    ".rehearsal",
    ".*_cache",
    "build",
    "**/.ipynb_checkpoints",
    "**/__pycache__",
]

# --- Markdown and notebooks ---------------------------------------------------------------------------------
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
# Cells need servers: notebooks are shown as they are stored.
nb_execution_mode = "off"
suppress_warnings = ["mystnb.unknown_mime_type"]

# --- Python modules -----------------------------------------------------------------------------------------
# Docstrings write code between single backticks.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
toc_object_entries_show_parents = "hide"
autodoc_default_options = {"members": True, "exclude-members": "model_config"}
python_maximum_signature_line_length = 88
python_use_unqualified_type_names = True
# Docstrings follow Google's style.
napoleon_numpy_docstring = False
napoleon_use_ivar = True
# Types of other libraries have no page here; a broken link between two Markdown files is an error by itself.
nitpicky = True
nitpick_ignore_regex = [("py:.*", ".*")]

# --- Pages --------------------------------------------------------------------------------------------------
html_theme = "furo"
html_title = "GourmetGram data platform"
html_static_path = ["site_files/static"]
html_extra_path = ["site_files/root"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#9a3412", "color-brand-content": "#9a3412"},
    "dark_css_variables": {"color-brand-primary": "#fdba74", "color-brand-content": "#fdba74"},
}
pygments_style = "friendly"
pygments_dark_style = "github-dark"
copybutton_prompt_text = "$ "
copybutton_exclude = ".linenos, .gp, .go"


def setup(app: Sphinx) -> None:
    """Connect the parts of `site_pages` with the events of a build."""
    app.connect("source-read", api_pages.insert)
    app.connect("source-read", markdown.adapt)
    app.connect("autodoc-process-docstring", docstrings.before_napoleon, priority=400)
    app.connect("autodoc-process-docstring", docstrings.after_napoleon, priority=600)
