"""Simulated co-culture experiments with a known truth."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore.datasets._cells import draw_droplets
from nkscore.datasets._clone_truth import clone_truth
from nkscore.datasets._contact_truth import contact_truth, pair_truth
from nkscore.datasets._design import hashtag_names, lane_ambient, sample_sheet
from nkscore.datasets._genes import select_genes
from nkscore.datasets._lines import DEFAULT_TUMORS
from nkscore.datasets._options import Options, check_threads, with_lineages
from nkscore.datasets._profiles import (
    activities,
    base_profiles,
    base_rows,
    make_programs,
    planted_response,
)
from nkscore.datasets._random import Streams, barcodes, seed_of
from nkscore.datasets._truth import cell_truth, well_truth
from nkscore.datasets._uneven import tag_factors
from nkscore.datasets._wells import expected_wells

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anndata import AnnData
    from scipy import sparse

    from nkscore._types import Ints
    from nkscore.datasets._clones import Clones
    from nkscore.datasets._contacts import Contacts
    from nkscore.datasets._wells import Wells


def simulate_coculture(
    *,
    tumors: Sequence[str] | Mapping[str, str] = DEFAULT_TUMORS,
    n_donors: int = 3,
    n_cells_per_sample: int = 250,
    n_mono_replicates: int = 1,
    n_genes: int | None = None,
    median_umi: float = 4000.0,
    nk_fraction: float = 0.4,
    nk_states: bool | Mapping[str, Mapping[str, float]] = True,
    state_shift: float = 1.0,
    ifn_response: float | Mapping[str, float] = 1.0,
    donor_response: Mapping[str, float] | None = None,
    line_response: float = 1.0,
    low_myc: float = 0.15,
    low_myc_rna: float = 0.8,
    induction: float = 0.0,
    killing: float = 1.0,
    selection: float = 1.0,
    cell_cycle: bool = True,
    ambient: float | Mapping[str, float] = 0.05,
    doublets: float = 0.05,
    negatives: float = 0.03,
    low_quality: float = 0.03,
    donor_effect: float = 0.3,
    sample_effect: float = 0.15,
    lane_effect: float = 0.1,
    uneven_depth: float | Mapping[str, float] = 1.0,
    lanes_per_pool: int = 1,
    nk_lane: bool = False,
    bystanders: float = 0.0,
    unequal_tags: float = 1.0,
    few_cells: float | Mapping[str, int] = 0.0,
    inherited: bool = False,
    null: bool | str = False,
    contacts: Contacts | None = None,
    clones: Clones | None = None,
    rng: int | np.random.Generator | None = 0,
    n_threads: int = 1,
) -> AnnData:
    """Simulate NK cells and tumor lines, alone and together, with a record of all effects.

    By default six lines and three NK donors: one lane per donor with six co-cultures and NK cells
    alone, and one lane with the six lines alone, separated by hashtags. The result has the form of
    ``io.read_coculture``, plus the truth. Each effect has its own stream of random numbers, so
    switching one off does not change the others.

    Parameters
    ----------
    tumors
        Names of lines in ``datasets.LINES``, or a mapping from any name to its lineage
        (``B-ALL``, ``T-ALL``, ``AML``, ``CML``, ``BCL``, ``MM``).
    n_donors
        NK donors, named ``NK1``, ``NK2``, ...
    n_cells_per_sample
        Droplets per well, including doublets and low-quality cells.
    n_mono_replicates
        Wells of each line alone, and of each donor's NK cells alone.
    n_genes
        Number of genes to keep: those of signatures, then the most abundant. Depth falls by the
        share of the excluded genes. ``None`` keeps all 12,000.
    median_umi
        Approximate median of counts per cell.
    nk_fraction
        Share of NK cells among the cells of a co-culture.
    nk_states
        ``True``: five NK states, shifted by each line according to its NK activation. ``False``:
        all NK cells are resting. A mapping from line (or ``alone``) to fractions of ``resting``,
        ``adaptive``, ``activated``, ``type_i_ifn``, ``cytokine`` sets the full shift of that line.
    state_shift
        How far co-cultured NK cells move from the composition of NK cells alone (0) to that of
        their line (1).
    ifn_response
        Strength of the interferon-gamma-like response of tumor cells: a factor for all lines (0
        is off; stronger in lines that activate NK cells), or the strength per line.
    donor_response
        Factor on both tumor responses per NK donor. ``None`` draws it, with SD ``donor_effect``.
    line_response
        Strength of the 20 response genes that are specific to each line.
    low_myc
        Share of dormant-like tumor cells before killing: low MYC targets, high diapause genes,
        hardly any cycling.
    low_myc_rna
        RNA content of those cells relative to other tumor cells.
    induction
        Share of the surviving other tumor cells that co-culture turns into low-MYC cells.
    killing
        Strength of the killing; at 1, a third to two thirds of the tumor cells are lost.
    selection
        How much the killing spares low-MYC cells and cells with high HLA class I; with 0 all cells
        are killed at the same rate.
    cell_cycle
        Whether cells are in different phases.
    ambient
        Share of all counts of a lane that are ambient: one number, or per lane (others 0.05).
        The ambient profile is the average of all cells of the lane.
    doublets
        Share of droplets with two cells of one lane; three in ten come from one well and, in
        co-cultures, contain one NK and one tumor cell.
    negatives
        Share of droplets without hashtag staining.
    low_quality
        Share of dying cells with few counts, many of them mitochondrial.
    donor_effect
        SD (log2) between donors: every NK gene, NK states, response and killing.
    sample_effect
        SD (log2) between wells: every gene, NK states, response and depth.
    lane_effect
        SD (log2) between lanes: every gene; one and a half times as much on depth.
    uneven_depth
        A number x: conditions, lanes and lines differ in depth, wells by up to x-fold. A mapping:
        factors on the depth of named conditions, lanes or lines. 1 switches it off.
    lanes_per_pool
        Lanes on which each pool of wells is loaded (``Lane_NK1_a``, ``Lane_NK1_b``). A sample then
        stands in as many rows of the sheet; its cells are shared out to the lanes.
    nk_lane
        NK cells alone are in a separate lane, so ambient RNA of tumor cells reaches NK cells
        in co-cultures only. One well stays in the lane of its donor.
    bystanders
        Share of cells, in every well, that are T or B cells, monocytes, platelets or red cells.
    unequal_tags
        A number x: hashtags of wells stain up to x-fold weaker than others. 1 switches it off.
    few_cells
        Share of wells with a tenth of the droplets, or the number of droplets of named samples.
    inherited
        Whether donors differ in inherited expression: genes of X and Y, HLA alleles, GSTM1 and
        other genes that some people lack.
    null
        ``True`` switches off all effects of the interaction: state shift, both responses, selection
        and induction. Killing continues, at the same rate for all cells. Ambient NK transcripts
        still reach co-cultured tumor cells; ``"all"`` also switches off ambient RNA and doublets.
        Random effects of donors, wells and lanes remain: they are the noise of the null.
    contacts
        Attached pairs of NK and tumor cells; see :class:`nkscore.datasets.Contacts`. All doublets
        are then chance pairs of the lane, instead of three in ten from one well.
    clones
        Clones of the tumor cells; see :class:`nkscore.datasets.Clones`.
    rng
        Seed, generator or ``None`` for fresh entropy.
    n_threads
        Threads for drawing counts; the result does not depend on it.

    Returns
    -------
    AnnData
        Cells × genes, named ``<lane>_<barcode>-1``, ``X`` empty, with

        - ``layers["counts"]``: CSR int32; ``obsm["hashtags"]``: int32 DataFrame;
          ``obs["lane"]``; ``uns["nkscore"]["sample_sheet"]``.
        - ``obs["truth_sample"]``, ``truth_tumor``, ``truth_lineage``, ``truth_nk_donor``,
          ``truth_nk_source``, ``truth_condition``: of the first cell of the droplet;
          ``truth_sample_2``: of the second one; ``truth_hashtag``: missing unless one tag;
          ``truth_hashtag_class``: ``singlet``, ``doublet`` (two tags), ``negative``;
          ``truth_doublet``: two cells, with one tag or two; ``truth_compartment``: ``nk``,
          ``tumor``, ``mixed`` (two kinds) or, with ``bystanders``, ``other``, whose type is in
          ``truth_bystander``; ``truth_nk_state``; ``truth_tumor_state``: ``normal`` or
          ``low_myc``; ``truth_phase``; ``truth_ifng_activity``; ``truth_low_quality``;
          ``truth_ambient``: share of ambient counts.
        - ``uns["truth"]["samples"]``: per well the simulated response strengths, killed share,
          share of low-MYC tumor cells before, after killing and after induction, NK-state
          fractions, and the cells drawn (without doublets); ``["lanes"]``: ambient share;
          ``["response"]``: simulated ``log2_fc`` per ``tumor``, ``gene`` and ``kind`` (``ifng``,
          ``line``), averaged over donors, and ``log2_fc_share``, the change of the gene's share of
          all counts (shares sum to 1); ``["ambient_profile"]``: genes × lanes.
        - With ``contacts``: ``obs["truth_pair"]`` (``own``, ``chance``; missing unless the droplet
          holds an NK and a tumor cell), ``uns["truth"]["contacts"]`` (rate and pairs per well) and
          ``["contact_genes"]`` (``gene``, ``cell``, ``log2_fc``).
        - With ``clones``: ``obs["truth_clone"]`` of the tumor cell, and ``uns["truth"]["clones"]``
          (``share``, ``log2_fc``, ``changed``, ``acquired`` per ``sample`` and ``clone``).

    Raises
    ------
    ValueError
        If an option is out of range or names an unknown line, donor, lane or state.

    Notes
    -----
    Counts are negative binomial. Gene symbols, their abundance in leukemia and NK cells and the
    programs come from published data and signatures (``docs/simulator.md``); the design follows
    Dufva et al. 2023 (doi:10.1016/j.immuni.2023.11.008).

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=20, rng=0)
    >>> adata.shape
    (540, 12000)
    >>> adata.obs["lane"].cat.categories.tolist()
    ['Lane_NK1', 'Lane_NK2', 'Lane_NK3', 'Lane_targets']
    >>> sorted(adata.uns["truth"])
    ['ambient_profile', 'lanes', 'response', 'samples']
    """
    given = {name: value for name, value in locals().items() if name in Options.__annotations__}
    options = Options(**given | {"tumors": with_lineages(tumors)})
    return _simulate(options, Streams(seed_of(rng)), check_threads(n_threads))


def _simulate(options: Options, streams: Streams, n_threads: int) -> AnnData:
    # The kernels are compiled on import, which must not delay "import nkscore".
    from nkscore.datasets import _draw

    genes = select_genes(options.n_genes)
    sheet = sample_sheet(options)
    wells = expected_wells(options, sheet, streams)
    droplets, cells = draw_droplets(options, wells, genes, streams)
    programs = make_programs(options, genes, streams)
    program, activity = activities(options, wells, cells, programs, streams)
    expected = _draw.Expected(
        base=base_profiles(options, wells, genes, streams),
        base_of=base_rows(cells, len(sheet)),
        program=program,
        activity=activity,
        programs=programs,
    )
    chosen = lane_ambient(options, wells.lanes)
    # The second cell of a doublet shares the droplet, and so the lane, of the first.
    soup = _draw.lane_soups(expected, cells, wells.lane[cells.well], len(wells.lanes), n_threads)
    lane = wells.lane[cells.well[droplets.cells[:, 0]]]
    ambient = _draw.ambient_shares(droplets, cells, lane, np.array(list(chosen.values())))
    names, order = _cell_names(wells, lane, streams)
    counts = _draw.gene_counts(
        expected,
        droplets,
        cells,
        genes,
        rest=(lane, ambient, soup),
        order=order,
        streams=streams,
        n_threads=n_threads,
    )
    tags = hashtag_names(sheet)
    table = _draw.hashtag_counts(
        wells,
        droplets,
        cells,
        lane=lane,
        n_tags=len(tags),
        weaker=tag_factors(options, sheet, streams),
        streams=streams,
        contacts=options.contacts,
    )
    truth = cell_truth(wells, droplets, cells, expected=expected, ambient=ambient)
    of_clones, clones = clone_truth(options, wells, (droplets, cells), streams)
    truth = truth.join(pair_truth(options, droplets, cells)).join(of_clones)
    obs = _with_lanes(truth, wells, lane).iloc[order].set_axis(names, axis=0)
    hashtags = pd.DataFrame(table[order], index=names, columns=pd.Index(tags, dtype=str))
    adata = _assemble(counts, obs, genes.names, hashtags)
    adata.uns[schema.TRUTH] = {
        "samples": well_truth(wells, obs),
        "lanes": _lanes(wells, chosen),
        "response": planted_response(options, wells, genes, programs, expected.base),
        "ambient_profile": pd.DataFrame(soup.T, index=genes.names, columns=wells.lanes),
        **contact_truth(options, wells, obs, programs, genes),
        **clones,
    }
    _record(adata, options, sheet, streams.seed)
    return adata


def _with_lanes(truth: pd.DataFrame, wells: Wells, lane: Ints) -> pd.DataFrame:
    of_cells = pd.Categorical.from_codes(lane, categories=pd.Index(wells.lanes))
    return truth.assign(**{schema.LANE: of_cells})[[schema.LANE, *truth.columns]]


def _lanes(wells: Wells, ambient: Mapping[str, float]) -> pd.DataFrame:
    lanes = pd.DataFrame({schema.LANE: wells.lanes, "ambient": list(ambient.values())})
    return lanes.set_axis(lanes.index.astype(str))


def _cell_names(wells: Wells, lane: Ints, streams: Streams) -> tuple[pd.Index[str], Ints]:
    """Return names and drawing order of cells: lane by lane, barcodes in alphabetical order."""
    bare = np.array(barcodes(streams.key("barcodes"), np.arange(lane.size)))
    order = np.lexsort((bare, lane)).astype(np.int64)
    names = [f"{wells.lanes[lane[i]]}_{bare[i]}-1" for i in order]
    return pd.Index(names, dtype=str), order


def _assemble(
    counts: sparse.csr_matrix, obs: pd.DataFrame, gene_names: pd.Index[str], hashtags: pd.DataFrame
) -> AnnData:
    from anndata import AnnData

    adata = AnnData(obs=obs, var=pd.DataFrame(index=gene_names), layers={schema.COUNTS: counts})
    adata.obsm[schema.HASHTAGS] = hashtags
    return adata


def _record(adata: AnnData, options: Options, sheet: pd.DataFrame, seed: int) -> None:
    settings = asdict(options)
    if settings["n_genes"] is None:
        settings["n_genes"] = adata.n_vars
    schema.record(
        adata,
        "datasets.simulate_coculture",
        function="datasets.simulate_coculture",
        options=settings,
        seed=seed,
    )
    adata.uns[schema.RECORD][schema.SAMPLE_SHEET] = sheet
