"""Settings of the documentation."""

from __future__ import annotations

import os
from pathlib import Path

import nkscore

project = "nkscore"
author = "The nkscore developers"
copyright = "2026, the nkscore developers"
version = release = nkscore.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc", "myst_nb"]
exclude_patterns = ["_build", "jupyter_execute"]
html_theme = "furo"
html_static_path = ["_static"]
html_title = f"nkscore {release}"

myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
autodoc_typehints = "signature"
autodoc_member_order = "alphabetical"
numpydoc_show_class_members = False
autosummary_generate = True

# Notebooks are executed where the real data lie beside the checkout.
_data = Path(__file__).resolve().parents[2] / "shared" / "data"
nb_execution_mode = "cache" if _data.is_dir() else "off"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
os.environ.setdefault("NKSCORE_DATA", str(_data))
