"""Cell cycle phase by the scores of S and G2/M genes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from nkscore import schema
from nkscore.scoring import run
from nkscore.tl._scores._score_input import score_input, storable_options

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Floats, Labels
    from nkscore.signatures._convert import SignaturesLike

#: Levels of ``obs["phase"]``.
PHASES: Final = ("G1", "S", "G2M")


def cell_cycle(
    adata: AnnData,
    gene_signatures: SignaturesLike = "cell_cycle",
    *,
    n_controls: int = 43,
    rng: int | np.random.Generator | None = 0,
    layer: str | None = None,
    min_coverage: float = 0.5,
) -> None:
    """Score S and G2/M genes and call the phase of each cell.

    Reads ``X`` after ``pp.normalize``, or ``layers[layer]``.

    Parameters
    ----------
    adata
        Cells × genes.
    gene_signatures
        Two signatures named ``s`` and ``g2m``, in any form of
        :func:`nkscore.signatures.as_signatures`; the default is the catalog's panel (Tirosh et al.
        2016).
    n_controls
        Control genes drawn per gene. Seurat and scanpy use the length of the shorter published
        list, 43.
    rng
        Seed of the control genes.
    layer
        Score this layer instead of ``X``.
    min_coverage
        Smallest share of each set's genes that must be in the data, 0 to 1.

    Returns
    -------
    None
        Writes ``obs["S_score"]``, ``obs["G2M_score"]`` (float64, ``module_score``),
        ``obs["phase"]`` (categorical: ``G1`` if both scores are below zero, otherwise the higher of
        ``S`` and ``G2M``; equal scores leave it missing) and ``uns["nkscore"]["tl.cell_cycle"]``.

    Raises
    ------
    ValueError
        If the signatures are not ``s`` and ``g2m``.
    GeneCoverageError, WrongScaleError, MissingKeyError
        As in :func:`nkscore.tl.score`.

    Notes
    -----
    The scores are relative to the cells of the object: many cells score below zero even if all
    cells cycle. Compare phases within one experiment. Source: Tirosh et al. 2016, doi
    10.1126/science.aad0501; phases are called as in Seurat's CellCycleScoring.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=10, rng=0)
    >>> nk.pp.normalize(adata)
    >>> nk.tl.cell_cycle(adata)
    >>> list(adata.obs["phase"].cat.categories)
    ['G1', 'S', 'G2M']
    """
    found = score_input(
        adata, gene_signatures, method="module_score", layer=layer, min_coverage=min_coverage
    )
    if sorted(found.names) != ["g2m", "s"]:
        msg = (
            f"The signatures are named {', '.join(found.names)}; two are needed, named 's' and "
            "'g2m'. Pass a mapping with these names."
        )
        raise ValueError(msg)
    options: dict[str, Any] = {"n_controls": n_controls, "rng": rng}
    scores = run(found.scorer, found.matrix, found.sets, largest=found.largest, **options)
    s, g2m = scores[:, found.names.index("s")], scores[:, found.names.index("g2m")]
    adata.obs[schema.S_SCORE] = s
    adata.obs[schema.G2M_SCORE] = g2m
    adata.obs[schema.PHASE] = schema.categorical(_phase(s, g2m), PHASES)
    schema.record(
        adata,
        "tl.cell_cycle",
        function="tl.cell_cycle",
        options={"layer": found.layer, **storable_options({**found.scorer.options, **options})},
        coverage=found.coverage,
        signature_versions=found.versions,
    )


def _phase(s: Floats, g2m: Floats) -> Labels:
    """Call phases by Seurat's rule; equal scores give no phase, unless both are negative."""
    phase = np.where(s > g2m, "S", "G2M").astype(object)
    phase[s == g2m] = None
    phase[(s < 0) & (g2m < 0)] = "G1"
    return phase
