"""What NK cells can see of residual tumor cells, against other tumor cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence, check_whole
from nkscore._samples._left_out import LEFT_OUT
from nkscore.errors import DesignError
from nkscore.stats import log_cpm, with_q_values
from nkscore.tl._states._visibility_cells import CellUnits, cell_units
from nkscore.tl._states._visibility_fit import (
    RNA,
    Units,
    changes_of,
    detectable,
    per_cell,
    rna_ratio,
    with_rna,
)
from nkscore.tl._states._visibility_genes import SUM, VisibleGenes
from nkscore.tl._states._visibility_samples import SampleUnits, sample_units
from nkscore.tl._states._visibility_state import groups_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Floats, Ints

AS_SUCH: Final = "as_such"
MATCHED: Final = "equal_depth_and_cycle"
_COLUMNS: Final = (
    "tumor",
    "answer",
    "class",
    "role",
    "more_means",
    "gene",
    "n_genes",
    "log2_fc",
    "se",
    "ci_low",
    "ci_high",
    "t",
    "df_total",
    "p_value",
    "q_value",
    "detectable_log2_fc",
    "mean_residual",
    "mean_other",
    "n_residual",
    "n_other",
    "n_samples",
    "overlap",
    "also_in",
)


def visibility(
    data: pd.DataFrame | AnnData,
    samples: pd.DataFrame | None = None,
    *,
    residual: str = "low_myc_dormant_like",
    other: str | None = None,
    state: str = schema.TUMOR_STATE,
    by: str | None = schema.TUMOR,
    replicate: str | None = None,
    covariates: Sequence[str] = (),
    classes: Mapping[str, Iterable[str]] | None = None,
    state_genes: Iterable[str] | None = None,
    min_cells: int = 10,
    min_count: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Compare what NK cells can see of residual tumor cells with that of other tumor cells.

    Tests ligands of NK receptors, HLA, death receptors and the machinery of apoptosis, adhesion,
    antigen presentation and interferon-gamma signaling, gene by gene and as sums of each class.
    Gives two answers: as such, and at equal depth and cell cycle.

    For cells, reads ``layers["counts"]``, ``obs["sample"]``, ``obs["compartment"]``,
    ``obs["qc_pass"]`` if present, ``obs[by]`` and ``obs[state]``.

    Parameters
    ----------
    data
        Cells × genes; or, with ``samples``, samples × genes of patients or lines: counts, or
        logarithms like ``log2(TPM + 1)``.
    samples
        Annotation of ``data`` with one row per sample, matched by the index (``adata.obs`` for an
        AnnData of samples). Default: ``data`` holds cells.
    residual
        Level of ``state`` of the residual cells or samples (dormant cells, residual disease,
        relapse, survivors).
    other
        Level to compare with; needed with ``samples``. Default for cells: all called tumor cells
        that are not residual.
    state
        Column with both levels.
    by
        Column whose levels (lines, patients with several samples) get separate rows; ``None``, only
        with ``samples``: all together.
    replicate
        Only with ``samples``: column of patients or experiments. One that has both levels is
        compared with itself; samples that agree in it, line and level are joined. Cells of one
        sample are always compared with each other.
    covariates
        Only with ``samples``: further columns of it for both models, for example the tumor share.
    classes
        Class → genes, instead of :func:`nkscore.signatures.visibility_classes`.
    state_genes
        Genes that made the calls of ``state``; they are not tested. Not needed after
        :func:`nkscore.tl.tumor_states`: it is then run again on a copy, without the genes that are
        tested here.
    min_cells
        Cells that a sample needs in each group.
    min_count
        Counts that a gene needs, as in :func:`nkscore.tl.interaction_response`.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line, answer, and gene or class: ``tumor`` (the level of ``by``), ``answer``,
    ``class``, ``role``, ``more_means`` (``more visible`` or ``less visible`` to NK cells, or
    ``either``), ``gene`` (``sum``: all genes of the class together), ``n_genes`` (1, or genes of
    the sum), ``log2_fc`` (residual against other), ``se``, ``ci_low``, ``ci_high``, ``t``,
    ``df_total``, ``p_value``, ``q_value`` (Benjamini-Hochberg over all lines, genes and sums of an
    answer), ``detectable_log2_fc`` (smallest change in either direction that such an experiment
    finds in four of five cases at a false discovery rate of 5 %), ``mean_residual``,
    ``mean_other`` (counts per cell; for samples, mean log2 expression), ``n_residual``,
    ``n_other`` (cells, after matching their effective number; or samples), ``n_samples``,
    ``overlap`` (0 to 1: how much both groups share of depth and cell cycle; for samples, of cell
    cycle) and ``also_in`` (other classes of the gene).

    ``answer`` is ``as_such``: change of the counts per cell. A row of class ``rna_per_cell`` holds
    the change of the whole RNA content, which all genes share. Or ``equal_depth_and_cycle``:
    change against cells of the same sample that are weighted to have the same depth and the same
    level of S and G2M genes. Without cells the RNA content is unknown: ``as_such`` then is the
    change of the share of all RNA, and the level of cell-cycle genes is a covariate of the other
    answer.

    ``attrs["design"]`` describes the calls and the comparison in words; ``attrs["left_out"]``
    lists genes, classes and samples without a row (``what``, ``name``, ``reason``).

    Raises
    ------
    MissingKeyError
        If a column or level is absent.
    DesignError
        If no sample has both groups, or there are no replicates.
    GeneCoverageError
        If no gene of any class is in the data.
    WrongScaleError
        If values are neither counts nor logarithms.

    Notes
    -----
    Sums of counts per sample and group, in the model of :func:`nkscore.tl.interaction_response`
    with samples as blocks. Weights after Li et al. 2018 (doi 10.1080/01621459.2016.1260466).
    ``docs/visibility.md`` says which answer serves which question.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=150, tumors=["K562"], rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.visibility(
    ...     adata, residual="low_myc", state="truth_tumor_state", min_cells=5
    ... )
    >>> sorted(table["answer"].unique())
    ['as_such', 'equal_depth_and_cycle']
    """
    check_confidence(confidence)
    check_whole(1, min_cells=min_cells)
    _check_kind(samples, other=other, by=by, replicate=replicate, covariates=covariates)
    names = data.columns if isinstance(data, pd.DataFrame) else data.var_names
    genes = VisibleGenes.of(names.astype(str), classes)
    if samples is None:
        groups = groups_of(
            data,
            genes.symbols,
            state=state,
            residual=residual,
            other=other,
            gave=state_genes,
        )
        genes = genes.without(groups.gave)
        cells = cell_units(
            data,
            groups,
            by=str(by),
            min_cells=min_cells,
            classes=genes.member,
            tested=genes.columns,
        )
        parts = _of_cells(cells, min_count=min_count, confidence=confidence)
        return _finished(
            parts, genes, cells.overlap, cells.left_out, [groups.remark, *cells.remarks]
        )
    genes = genes.without(frozenset(map(str, state_genes or ())))
    made = sample_units(
        data,
        samples,
        residual=residual,
        other=str(other),
        state=state,
        by=by,
        replicate=replicate,
        covariates=covariates,
        classes=genes.member,
        tested=genes.columns,
    )
    parts = _of_samples(made, min_count=min_count, confidence=confidence)
    return _finished(parts, genes, made.overlap, made.left_out, [_NO_CELLS, *made.remarks])


_NO_CELLS: Final = (
    "Each row of the data is a sample: the RNA content of a cell is unknown, so both answers "
    "compare shares of all RNA."
)


def _check_kind(
    samples: pd.DataFrame | None,
    *,
    other: str | None,
    by: str | None,
    replicate: str | None,
    covariates: Sequence[str],
) -> None:
    """Refuse options that serve only the other type of data."""
    if samples is None:
        wrong = [n for n, v in (("replicate", replicate), ("covariates", covariates)) if v]
        wrong += ["by=None"] if by is None else []
        if wrong:
            msg = (
                f"{' and '.join(wrong)} are for tables of samples. Cells are compared within their "
                "sample; give samples= if each row of the data is a sample."
            )
            raise DesignError(msg)
    elif other is None:
        msg = "With samples, name the level to compare with in other, for example 'diagnosis'."
        raise DesignError(msg)


def _of_cells(made: CellUnits, *, min_count: float, confidence: float) -> list[pd.DataFrame]:
    shares = changes_of(made.raw, min_count=min_count, confidence=confidence)
    ratio = rna_ratio(made.raw, made.pairs)
    raw = with_rna(per_cell(shares, ratio, confidence), ratio, confidence)
    parts = [_described(raw, AS_SUCH, made.raw)]
    if made.matched is not None:
        found = changes_of(made.matched, min_count=min_count, confidence=confidence)
        parts.append(_described(found, MATCHED, made.matched))
    return parts


def _of_samples(made: SampleUnits, *, min_count: float, confidence: float) -> list[pd.DataFrame]:
    both = ((AS_SUCH, made.raw), (MATCHED, made.matched))
    return [
        _described(changes_of(units, min_count=min_count, confidence=confidence), name, units)
        for name, units in both
        if units is not None
    ]


def _described(table: pd.DataFrame, answer: str, units: Units) -> pd.DataFrame:
    """Add the level of both groups and their numbers of cells or samples."""
    values = units.sums
    if units.cells is None and not units.logs:
        values = log_cpm(values, values[:, : units.n_genes].sum(axis=1))
    columns = ("mean_residual", "mean_other", "n_residual", "n_other")
    made = table.assign(answer=answer, **dict.fromkeys(columns, np.nan))
    for name, rows in units.design.members.items():
        here = (made["group"] == name).to_numpy()
        gene = made.loc[here, "gene"].to_numpy(dtype=int)
        for side, arm in (("residual", True), ("other", False)):
            own = rows[units.design.treated[rows] == arm]
            level, number = _level(values, units.n_genes, own, units.cells)
            made.loc[here, f"mean_{side}"] = np.where(gene < 0, level[-1], level[gene])
            made.loc[here, f"n_{side}"] = number
    paired = made["n_samples_treated"]
    total = paired if units.cells is not None else paired + made["n_samples_control"]
    return made.assign(n_samples=total)


def _level(values: Floats, n_genes: int, rows: Ints, cells: Floats | None) -> tuple[Floats, float]:
    """Return the level of all columns, then of all genes together, and the number of cells."""
    own = values[rows]
    if cells is None:
        return np.append(own.mean(axis=0), np.nan), float(rows.size)
    number = float(cells[rows].sum())
    summed = own.sum(axis=0)
    return np.append(summed, summed[:n_genes].sum()) / number, number


def _finished(
    parts: list[pd.DataFrame],
    genes: VisibleGenes,
    overlap: Mapping[str, float],
    left_out: Sequence[LeftOut],
    remarks: Sequence[str],
) -> pd.DataFrame:
    table = pd.concat(parts, ignore_index=True)
    described = genes.described().set_index("column")
    extra = [name for name in described if name != "column"]
    rna = (table["gene"] < 0).to_numpy()
    known = described.reindex(table["gene"])[extra].reset_index(drop=True)
    for name, value in (("class", RNA), ("gene", SUM), ("n_genes", genes.n_genes)):
        known[name] = known[name].where(~rna, value)
    known[["role", "also_in"]] = known[["role", "also_in"]].fillna("")
    known["more_means"] = known["more_means"].fillna("either" if rna.any() else "")
    tested = sorted(set(table.loc[~rna, "gene"]))
    table = pd.concat([table.drop(columns="gene"), known], axis=1)
    table = table.rename(columns={"group": "tumor"})
    table["overlap"] = table["tumor"].map(overlap)
    # The RNA content is another question.
    table["_family"] = table["answer"] + np.where(rna, f" {RNA}", "")
    table = with_q_values(table, by="_family")
    number = table.groupby("_family")["p_value"].transform("size")
    table["detectable_log2_fc"] = detectable(
        table["se"].to_numpy(), table["df_total"].to_numpy(), number.to_numpy()
    )
    order = {name: i for i, name in enumerate([RNA, *dict.fromkeys(genes.table["class"])])}
    table["_class"] = table["class"].map(order)
    table["_single"] = table["gene"] != SUM
    keys = ["tumor", "answer", "_class", "_single", "p_value", "gene"]
    result: pd.DataFrame = table.sort_values(keys)[list(_COLUMNS)].reset_index(drop=True)
    result["n_genes"] = result["n_genes"].astype(int)
    result.attrs["design"] = " ".join(filter(None, remarks))
    result.attrs[LEFT_OUT] = [*left_out, *genes.left_out(tested)]
    return result
