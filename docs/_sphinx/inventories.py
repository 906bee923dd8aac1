"""Links to other libraries without a download: their addresses, as inventories of intersphinx."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

#: Project → address of its pages, pattern of a page's address, names by role.
PROJECTS = {
    "anndata": (
        "https://anndata.readthedocs.io/en/stable/",
        "generated/{name}.html#{name}",
        {"class": ["anndata.AnnData"], "function": ["anndata.concat"]},
    ),
    "pandas": (
        "https://pandas.pydata.org/docs/",
        "reference/api/{name}.html#{name}",
        {"class": ["pandas.DataFrame", "pandas.Series", "pandas.Index"]},
    ),
    "numpy": (
        "https://numpy.org/doc/stable/",
        "reference/generated/{name}.html#{name}",
        {"class": ["numpy.ndarray"]},
    ),
    "matplotlib": (
        "https://matplotlib.org/stable/",
        "api/_as_gen/{name}.html#{name}",
        {"class": ["matplotlib.axes.Axes", "matplotlib.figure.Figure"]},
    ),
    "scipy": (
        "https://docs.scipy.org/doc/scipy/",
        "reference/generated/{name}.html#{name}",
        {"class": ["scipy.sparse.csr_matrix", "scipy.sparse.csr_array"]},
    ),
    "scanpy": (
        "https://scanpy.readthedocs.io/en/stable/",
        "api/generated/{name}.html#{name}",
        {"function": ["scanpy.pp.neighbors", "scanpy.tl.umap", "scanpy.tl.leiden"]},
    ),
}


def inventory(project: str, page: str, names: dict[str, list[str]]) -> bytes:
    """Return an inventory in the second format of Sphinx."""
    head = f"# Sphinx inventory version 2\n# Project: {project}\n# Version: \n"
    head += "# The remainder of this file is compressed using zlib.\n"
    lines = [
        f"{name} py:{role} 1 {page.format(name=name)} -\n"
        for role, listed in names.items()
        for name in listed
    ]
    return head.encode() + zlib.compress("".join(lines).encode())


def mapping(folder: Path) -> dict[str, tuple[str, str]]:
    """Write the inventories into a folder; return the setting ``intersphinx_mapping``."""
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for project, (address, page, names) in PROJECTS.items():
        file = folder / f"{project}.inv"
        file.write_bytes(inventory(project, page, names))
        found[project] = (address, str(file))
    return found
