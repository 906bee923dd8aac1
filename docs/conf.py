"""Settings of the documentation. Nothing is fetched to build it, and nothing to read it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from _sphinx import inventories

import nkscore

project = "nkscore"
author = "The nkscore developers"
copyright = "2026, the nkscore developers"
version = release = nkscore.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "numpydoc",
    "myst_nb",
    "sphinx_copybutton",
    "sphinx_design",
    "_sphinx.mathml",
]
exclude_patterns = ["_build", "_sphinx", "jupyter_execute"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["nkscore.css"]
html_title = f"nkscore {release}"
html_math_renderer = "mathml"
intersphinx_mapping = inventories.mapping(HERE / "_build" / "inventories")
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

myst_enable_extensions = ["dollarmath", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "alphabetical"
numpydoc_show_class_members = False
autosummary_generate = True

# Notebooks are shown with the outputs that `make notebooks` stored in them.
nb_execution_mode = "off"
