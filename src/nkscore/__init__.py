"""NK-tumor co-culture single-cell RNA-seq: states, scores and what the interaction changed.

>>> import nkscore as nk
>>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
>>> nk.pp.qc(adata)

Namespaces are loaded on first use, so that ``import nkscore`` is fast: ``io`` (read lanes),
``pp`` (quality, hashtags, compartments), ``tl`` (scores, states, responses), ``pl`` (figures),
``signatures`` (gene sets with sources), ``datasets`` (simulator), ``schema`` (data contract).
``report`` writes an analysis as one HTML file, ``ledger`` lists what each step lost.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from nkscore._version import __version__

_NAMESPACES = ("datasets", "errors", "io", "pl", "pp", "schema", "signatures", "tl")

__all__ = [
    "__version__",
    "datasets",
    "errors",
    "io",
    "ledger",
    "pl",
    "pp",
    "report",
    "schema",
    "signatures",
    "tl",
]

if TYPE_CHECKING:
    from nkscore import datasets, errors, io, pl, pp, schema, signatures, tl
    from nkscore._ledger import ledger
    from nkscore._report import report


def __getattr__(name: str) -> object:
    if name in _NAMESPACES:
        return importlib.import_module(f"nkscore.{name}")
    if name == "ledger":
        return importlib.import_module("nkscore._ledger").ledger
    if name == "report":
        return importlib.import_module("nkscore._report").report
    msg = f"module 'nkscore' has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
