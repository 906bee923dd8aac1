"""Signatures of the co-cultures in patients, bulk or single-cell."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema, signatures
from nkscore._warn import warn
from nkscore.errors import GeneCoverageError, NkscoreWarning
from nkscore.scoring import gene_sets, get_scorer, run
from nkscore.signatures import Signature
from nkscore.tl._cohorts._expression import sample_expression
from nkscore.tl._cohorts._signed_zscore import (
    SIGNED_ZSCORE,
    check_missing,
    signed_scores,
    standardized,
    stratum_codes,
    warn_of_detection,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData

    from nkscore._types import Floats
    from nkscore.scoring._registry import Option
    from nkscore.signatures._convert import SignaturesLike
    from nkscore.signatures._match import Match
    from nkscore.tl._cohorts._expression import Expression
    from nkscore.tl._cohorts._signed_zscore import SignedScores

#: Ligands of checkpoint receptors of NK cells: PD-1, TIGIT with CD96 and PVRIG, NKG2A, TIM-3,
#: LAG-3. signatures.ligand_receptor() has each pair with its resources.
_CHECKPOINT = ("CD274", "PDCD1LG2", "NECTIN2", "PVR", "HLA-E", "LGALS9", "FGL1")
_NAMED = {
    "core_response": "DUFVA2023_CORE_NK_RESPONSE_NO_AMBIENT",
    "mhc_i_presentation": "REACTOME_MHC_I_FOLDING_ASSEMBLY_PEPTIDE_LOADING",
    "mhc_ii": "DUFVA2023_TARGET_MHC_II",
    "ifn_gamma_response": "HALLMARK_INTERFERON_GAMMA_RESPONSE",
    "ifn_alpha_response": "HALLMARK_INTERFERON_ALPHA_RESPONSE",
    "tnf_nfkb": "HALLMARK_TNFA_SIGNALING_VIA_NFKB",
    "inflammatory_response": "HALLMARK_INFLAMMATORY_RESPONSE",
}


def project_cohort(
    expression: pd.DataFrame | AnnData,
    *,
    gene_signatures: SignaturesLike | None = None,
    method: str = "rank_auc",
    scale: str = "auto",
    by: str | Sequence[str] | None = schema.SAMPLE,
    compartment: str | None = None,
    min_cells: int = 20,
    min_coverage: float = 0.5,
    strata: Mapping[str, object] | pd.Series | None = None,
    equal_detection: bool = False,
    intervals: bool = False,
    **options: Option,
) -> pd.DataFrame:
    """Score the signatures of the co-cultures in the samples of patients.

    By default each sample is scored separately, by the ranks of its genes, so the other samples of
    the cohort and the scale of the values do not matter. ``method="signed_zscore"`` compares each
    gene with the other samples instead, which is more sensitive in small cohorts, plates and
    log-normalized cells.

    From an AnnData, reads ``layers["counts"]``, ``obs[by]`` and, if present, ``obs["qc_pass"]``.

    Parameters
    ----------
    expression
        Bulk: samples × genes, counts, TPM or logarithms of either. Single cells: an AnnData, whose
        counts are summed for each patient.
    gene_signatures
        As in :func:`nkscore.tl.score`. Default: the sets for residual disease, see Notes; of these,
        sets with too few genes in the data are excluded with a warning.
    method
        ``signed_zscore``, or ``rank_auc``, ``aucell``, ``weighted_mean``, ``zscore`` or ``ulm`` of
        :func:`nkscore.tl.score`. All but ranks use logarithms, which are computed from counts (per
        million) and linear values.
    scale
        ``"counts"``, ``"linear"`` (TPM, FPKM), ``"log"``, or ``"auto"``: logarithms if values are
        negative or none is above 50, counts if all are whole. Ranks do not depend on it.
    by
        Columns of ``obs`` whose combinations are patients (or samples of patients); ``None`` if
        the rows of the AnnData are samples.
    compartment
        Sum only cells of this ``obs["compartment"]``, for example ``"tumor"``.
    min_cells
        Patients with fewer cells are excluded, with a log line.
    min_coverage
        Smallest share of a set's genes that must be in the data, 0 to 1.
    strata
        Only ``signed_zscore``: batch, platform or study of each sample (index: names of samples).
        Genes are compared within strata, so differences between strata are lost. A gene may be
        missing (NaN) from whole strata; samples with too few genes of a set get no score.
    equal_detection
        Only ``signed_zscore``: subtract each sample's mean over all genes. For samples of unequal
        depth or quality, in which fewer genes are detected.
    intervals
        Only ``signed_zscore``: add ``<set>_low`` and ``<set>_high``, the 95 % interval of the mean
        over the set's genes in the sample (t distribution). It shows whether the genes agree; it
        does not hold the error that the genes share.
    **options
        Options of the method; ``max_rank`` of ``rank_auc`` is the number of genes by default,
        because bulk RNA contains most genes.

    Returns
    -------
    float64 table, samples × signatures; ``rank_auc`` from 0 to 1, or from -1 to 1 (up minus down)
    for sets with both directions; ``signed_zscore`` in standard deviations of a gene between
    samples. ``attrs`` holds ``scale``, ``method``, ``coverage`` (set to share
    of genes found) and ``left_out``.

    Raises
    ------
    GeneCoverageError
        If a requested set has too few of its genes, no default set has enough, or a gene is
        repeated.
    WrongScaleError
        If values are missing, not numbers, not on the given ``scale``, or centered gene by gene
        (``signed_zscore`` takes centered values).
    DesignError
        If a sample is repeated, no patient has ``min_cells`` cells, a stratum has fewer than 3
        samples, or a gene is missing from some samples of a stratum.
    MissingKeyError
        If a slot of the AnnData is absent.
    ValueError
        If ``method`` is unknown, or does not take an option that is given.

    Notes
    -----
    The default: the axes of a tumor cell's state (:func:`nkscore.signatures.tumor_axes`), the
    dormant-like program with ``myc`` and ``biosynthesis``
    (:func:`nkscore.signatures.dormancy_components`), the core response without NK transcripts,
    ``mhc_i`` (the genes of the HLA I score) and its machinery, MHC-II, responses to interferons,
    TNF and inflammation, the ligands of each class of NK receptors, and ligands of checkpoint
    receptors together and separately. Unlike in ``tl.score``, genes that are absent from the data
    are excluded from a set, and both directions of a set keep their weight. In bulk, NK and other
    immune cells of the sample contribute to the scores: adjust for the share of tumor cells if it
    is known. With ``max_rank`` of all genes the score is a linear function of that of singscore
    (Foroutan et al. 2018, doi 10.1186/s12859-018-2435-4). ``signed_zscore``: values less the
    stratum's mean, over the standard deviation within strata, bounded at 1.345 (Huber); the means
    of the two directions, weighted by the roots of their numbers of genes. ``docs/cohorts.md``
    compares the methods.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> genes = ["B2M", "HLA-A", "HLA-B", "HLA-C", "ACTB", "MYC"]
    >>> tpm = pd.DataFrame([[900, 80, 70, 60, 5, 4], [1, 2, 3, 4, 900, 80]], ["P1", "P2"], genes)
    >>> scores = nk.tl.project_cohort(tpm, gene_signatures={"mhc_i": genes[:4]})
    >>> scores["mhc_i"].round(2).tolist()
    [1.0, 0.43]
    """
    signed = method == SIGNED_ZSCORE
    if not signed and (strata is not None or equal_detection or intervals):
        msg = (
            f"strata, equal_detection and intervals need method={SIGNED_ZSCORE!r}; "
            f"method={method!r} scores each sample separately."
        )
        raise ValueError(msg)
    data = sample_expression(
        expression,
        scale=scale,
        by=by,
        compartment=compartment,
        min_cells=min_cells,
        missing=signed,
    )
    if gene_signatures is None:
        wanted, left_out = _those_with_genes(data, cohort_panel(), min_coverage)
    else:
        wanted, left_out = signatures.as_signatures(gene_signatures), []
    _refuse_transposed(data, wanted)
    match = signatures.match(data.genes, wanted, min_coverage=min_coverage)
    if signed:
        if options:
            msg = f"method={method!r} has no option {', '.join(options)}."
            raise ValueError(msg)
        z = _standardized(data, strata, equal_detection=equal_detection)
        parts = signed_scores(
            z, list(match.up.values()), list(match.down.values()), min_coverage=min_coverage
        )
        made = pd.DataFrame(parts.score, index=data.samples, columns=list(wanted))
        if intervals:
            made = _with_ends(made, parts)
    else:
        scores = _scores(data, match, method, options)
        made = pd.DataFrame(scores, index=data.samples, columns=list(wanted))
    coverage = match.coverage.set_index("signature")["fraction"]
    made.attrs.update(
        scale=data.scale,
        method=method,
        left_out=left_out,
        coverage={str(name): float(share) for name, share in coverage.items()},
    )
    return made


def _standardized(
    data: Expression, strata: Mapping[str, object] | pd.Series | None, *, equal_detection: bool
) -> Floats:
    codes = stratum_codes(strata, data.samples)
    check_missing(data.values, codes, data.genes)
    warn_of_detection(data.values, equal_detection=equal_detection)
    return standardized(data.logs(), codes, equal_detection=equal_detection)


def _with_ends(scores: pd.DataFrame, parts: SignedScores) -> pd.DataFrame:
    """Return each score followed by the ends of its interval."""
    table = {}
    for j, name in enumerate(scores.columns):
        table[name] = scores[name]
        table[f"{name}_low"] = pd.Series(parts.low[:, j], scores.index)
        table[f"{name}_high"] = pd.Series(parts.high[:, j], scores.index)
    return pd.DataFrame(table)


def cohort_panel() -> dict[str, Signature]:
    """Return the default sets for residual disease."""
    parts = signatures.dormancy_components()
    sets = signatures.tumor_axes()
    sets |= {name: parts[name] for name in ("dormant_like", "myc", "biosynthesis")}
    sets |= {name: signatures.get(source) for name, source in _NAMED.items()}
    sets["mhc_i"] = Signature("mhc_i", ("HLA-A", "HLA-B", "HLA-C", "B2M"))
    ligands = signatures.panel("nk_ligands")
    # That set of the catalog also contains collagens and cadherins, which other cells express.
    sets |= {
        name.removeprefix("NK_").lower(): found
        for name, found in ligands.items()
        if name != "NK_LIGANDS_CHECKPOINT"
    }
    sets["checkpoint_ligands"] = Signature("checkpoint_ligands", _CHECKPOINT)
    return sets | {gene: Signature(gene, (gene,)) for gene in _CHECKPOINT}


def _those_with_genes(
    data: Expression, sets: dict[str, Signature], min_coverage: float
) -> tuple[dict[str, Signature], list[str]]:
    kept = {}
    for name, found in sets.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NkscoreWarning)
            try:
                signatures.match(data.genes, {name: found}, min_coverage=min_coverage)
            except GeneCoverageError:
                continue
            kept[name] = found
    left_out = [name for name in sets if name not in kept]
    if left_out and kept:
        warn(
            f"{len(left_out)} of {len(sets)} sets have too few of their genes in the data and are "
            f"excluded: {', '.join(left_out)}; see attrs['left_out']."
        )
    # If no set has its genes, matching all of them shows what is wrong with the names.
    return kept or sets, left_out


def _refuse_transposed(data: Expression, sets: dict[str, Signature]) -> None:
    genes = {gene for found in sets.values() for gene in found.genes}
    in_rows = sum(str(name) in genes for name in data.samples)
    if in_rows > sum(name in genes for name in data.genes):
        msg = (
            f"{in_rows} genes of the signatures are in the rows and hardly any in the "
            "columns: samples are needed in rows and genes in columns. Give expression.T."
        )
        raise GeneCoverageError(msg)


def _scores(data: Expression, match: Match, method: str, given: dict[str, Option]) -> Floats:
    options: dict[str, Any] = given
    scorer = get_scorer(method)
    if method == "module_score":
        msg = "method='module_score' depends on the other samples; use 'rank_auc' for bulk."
        raise ValueError(msg)
    up, down = list(match.up.values()), list(match.down.values())
    n_genes, nothing = len(data.genes), np.zeros(0, dtype=np.int64)
    if not scorer.rank_based:
        sizes = [(len(one), len(two)) for one, two in zip(up, down, strict=True)]
        sets = gene_sets(up, down, n_genes=n_genes, sizes=sizes)
        return run(scorer, data.logs(), sets, **options)
    if method == "rank_auc":
        options = {"max_rank": n_genes, **options}
    # Ranks are exact on every scale; the lowest value of a sample counts as not expressed.
    ranks = scipy_stats.rankdata(data.values, method="dense", axis=1) - 1.0
    parts = [*up, *down]
    sets = gene_sets(
        parts, [nothing] * len(parts), n_genes=n_genes, sizes=[(len(p), 0) for p in parts]
    )
    made = run(scorer, ranks, sets, **options)
    return made[:, : len(up)] - made[:, len(up) :]
