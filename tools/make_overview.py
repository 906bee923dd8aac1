"""The figure of the README: one simulated experiment, analyzed as ``nkscore demo`` does.

.venv/bin/python tools/make_overview.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

import nkscore as nk

OUT = Path(__file__).resolve().parents[1] / "docs" / "_static" / "overview.png"


def main() -> None:
    adata = nk.datasets.simulate_coculture(n_cells_per_sample=250, rng=0)
    nk.pp.qc(adata)
    nk.pp.demultiplex(adata)
    nk.pp.compartments(adata)
    nk.pp.ambient(adata)
    adata = nk.pp.keep(adata)
    nk.pp.normalize(adata)
    nk.tl.nk_states(adata)
    fractions = nk.tl.state_fractions(adata, "nk_state")
    response = nk.tl.flag_ambient(nk.tl.interaction_response(adata, "tumor"), adata=adata)
    core = nk.tl.core_response(response)
    with nk.pl.style():
        figure = plt.figure(figsize=(13, 4.4), layout="constrained")
        left, middle, right = figure.subplots(1, 3, width_ratios=[1.0, 1.15, 0.9])
        nk.pl.state_fractions(fractions, ax=left)
        genes = nk.signatures.get("DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT")
        nk.pl.volcano(response, tumor="K562", highlight=genes, ax=middle)
        nk.pl.core_response(core, genes=18, ax=right)
        figure.savefig(OUT, dpi=110)


if __name__ == "__main__":
    main()
