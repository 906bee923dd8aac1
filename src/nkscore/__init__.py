"""NK-tumor co-culture single-cell RNA-seq: states, scores and what the interaction changed.

>>> import nkscore as nk
>>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
>>> nk.pp.qc(adata)

Where things are (namespaces are loaded on first use, so that ``import nkscore`` is fast):

``io``          read lanes (``read_coculture``) or annotated cells (``read_cells``), export tables
``pp``          quality, hashtags, NK and tumor cells, ambient RNA, ``keep``, ``normalize``
``tl``          scores, states, responses, core response, signals, contacts, communication
``pl``          figures of the tables of ``tl``
``signatures``  gene sets with their sources: ``catalog()``, ``get(name)``
``datasets``    simulated experiments with known truth, published data
``schema``      names of slots, ``validate(adata, stage)``
``report``      an analysis as one HTML file
``evidence``    all that an analysis knows of one gene or line
``ledger``      what each step lost, and why
``about``       what a table says of itself: its design, and what is not in it
``settings``    how much is said, and how figures look

The way of the data: ``io.read_coculture``, ``pp.qc``, ``pp.demultiplex``, ``pp.compartments``,
``pp.ambient``, ``pp.keep``, ``pp.normalize``, ``tl.score``, ``tl.nk_states``, ``tl.tumor_states``,
``tl.interaction_response``, ``tl.flag_ambient``, ``tl.core_response``, ``report``. On the command
line: ``nkscore run sheet.csv --out results``. ``help(nk.tl.nk_states)`` explains one function.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nkscore._version import __version__

_NAMESPACES = ("datasets", "errors", "io", "pl", "pp", "schema", "signatures", "tl")

#: Functions and objects of the package itself, and the modules that hold them.
_OBJECTS = {
    "about": "_about",
    "evidence": "_report._evidence",
    "ledger": "_ledger",
    "report": "_report",
    "settings": "_settings",
}

__all__ = [
    "__version__",
    "about",
    "datasets",
    "errors",
    "evidence",
    "io",
    "ledger",
    "pl",
    "pp",
    "report",
    "schema",
    "settings",
    "signatures",
    "tl",
]

if TYPE_CHECKING:
    from nkscore import datasets, errors, io, pl, pp, schema, signatures, tl
    from nkscore._about import about
    from nkscore._ledger import ledger
    from nkscore._report import report
    from nkscore._report._evidence import evidence
    from nkscore._settings import settings


def __getattr__(name: str) -> object:
    if name in _NAMESPACES:
        return importlib.import_module(f"nkscore.{name}")
    if name in _OBJECTS:
        return getattr(importlib.import_module(f"nkscore.{_OBJECTS[name]}"), name)
    msg = f"module 'nkscore' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
