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

# All notebooks simulate their cells, except the tour: without its data, it is shown unexecuted.
_data = Path(__file__).resolve().parents[2] / "shared" / "data"
nb_execution_mode = "cache"
nb_execution_excludepatterns = [] if _data.is_dir() else ["real_data_tour.ipynb"]
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_execution_show_tb = True
os.environ.setdefault("NKSCORE_DATA", str(_data))
# Progress bars of libraries say that they would be prettier with a widget.
os.environ.setdefault("PYTHONWARNINGS", "ignore:IProgress not found")
