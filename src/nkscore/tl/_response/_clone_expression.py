"""What clones that later win expressed before contact."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import (
    check_columns,
    check_confidence,
    check_single_rows,
    check_whole,
    names_of,
)
from nkscore._samples._cells import passed_qc
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import at_level, control_of, labels
from nkscore.errors import DesignError
from nkscore.stats import fit_count_response, response_design, with_q_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Bools, Ints, Labels, Level

_LOG = logging.getLogger("nkscore")
_ALL: Final = "all"
_FEWEST: Final = 2
_ADVICE: Final = "Pass the table of tl.clone_fate."


def clone_expression(
    adata: AnnData,
    fates: pd.DataFrame,
    key: str = schema.CLONE,
    *,
    winners: Sequence[str] | str = ("grown",),
    losers: Sequence[str] | str = ("shrunken", "eliminated"),
    condition: str = schema.CONDITION,
    control: Level | None = None,
    by: str | None = schema.TUMOR,
    compartment: str | None = schema.TUMOR_CELLS,
    min_cells: int = 10,
    min_count: int = 10,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test which genes differed before contact between clones that later won and lost.

    Cells of the control arm are summed per clone; clones are the units, never cells. All lines
    enter one quasi-likelihood model of counts, as in :func:`nkscore.tl.interaction_response`.

    Reads ``layers["counts"]``, ``obs["clone"]`` (or ``key``), ``obs["compartment"]``,
    ``obs["qc_pass"]`` and the columns named by the options.

    Parameters
    ----------
    adata
        Cells × genes.
    fates
        Table of :func:`nkscore.tl.clone_fate`, or any with ``tumor``, ``clone`` and ``fate``.
    key
        Column of ``obs`` with the clones.
    winners, losers
        Fates of the clones to compare.
    condition, control
        Column of the arms, and the level before contact; by default the monoculture of the
        compartment.
    by
        Column of the lines, as in ``tl.clone_fate``; ``None`` for all together.
    compartment
        ``"tumor"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    min_cells
        Clones with fewer cells before contact are excluded.
    min_count
        See :func:`nkscore.tl.interaction_response`.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line × gene, sorted by line and p-value: ``tumor``, ``gene``, ``log2_fc`` (winners
    against losers, before contact), ``se``, ``ci_low``, ``ci_high``, ``t``, ``p_value``,
    ``q_value`` (Benjamini-Hochberg over all rows), ``mean_log2_cpm``, ``n_clones_winners``,
    ``n_clones_losers``, ``df_residual``, ``df_total``. ``attrs["left_out"]`` lists the lines
    without a row.

    Raises
    ------
    DesignError
        If no line has two winners and two losers with enough cells, or no cell is of the control.
    MissingKeyError
        If a column is absent.
    ValueError
        If a number is out of range.

    Notes
    -----
    Eliminated clones have no cells after contact, so this is the only look at them. The clones of a
    line share wells, so differences between wells cancel. Winners are few: with two to four of
    them, genes of any one clone can stand out.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Clones(n=8, spread=0.1)
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562"], n_cells_per_sample=200, n_genes=4000, clones=planted, rng=0
    ... )
    >>> nk.datasets.use_truth(adata)
    >>> fates = nk.tl.clone_fate(adata, "truth_clone")
    >>> fates["fate"] = ["grown", "shrunken"] * 4
    >>> table = nk.tl.clone_expression(adata, fates, "truth_clone")
    >>> int(table["n_clones_winners"].iloc[0])
    4
    """
    check_confidence(confidence)
    check_whole(1, min_cells=min_cells)
    control = control_of(compartment, condition=condition, control=control)
    inside = _before_contact(adata, key, compartment, condition, control)
    line = np.full(adata.n_obs, _ALL, dtype=object)
    if by is not None:
        schema.require(adata, "obs", [by], "pp.demultiplex")
        line = labels(adata.obs, by)
    clone = labels(adata.obs, key)
    wins = _sides(fates, names_of(winners), names_of(losers))
    codes, units = _units(inside, line, clone, wins, min_cells)
    units, codes, lost = _lines_with_both(units, codes)
    design = response_design(
        units["wins"].to_numpy(dtype=bool),
        units["tumor"].to_numpy(dtype=object),
        (units["tumor"] + " | " + units["clone"]).to_numpy(dtype=object),
    )
    sums = counts_of(adata, check=False).group_sums(codes, len(units), squares=True)
    n_cells = units["n_cells"].to_numpy(dtype=float)
    table = fit_count_response(
        sums.sums,
        design,
        n_cells=n_cells,
        cell_squares=sums.squares,
        overdispersion=sums.overdispersion(n_cells),
        min_count=min_count,
        confidence=confidence,
    )
    table = with_q_values(table).rename(
        columns={
            "group": "tumor",
            "n_samples_treated": "n_clones_winners",
            "n_samples_control": "n_clones_losers",
        }
    )
    table["gene"] = adata.var_names.astype(str)[table["gene"].to_numpy()]
    table = table.sort_values(["tumor", "p_value", "gene"], ignore_index=True)
    table.attrs[LEFT_OUT] = list(lost)
    return table


def _before_contact(
    adata: AnnData, key: str, compartment: str | None, condition: str, control: Level
) -> Bools:
    """Return which cells are of the control arm."""
    schema.check_var_names(adata)
    schema.require(adata, "obs", [key], "io.read_clones, or name the column with key,")
    schema.require(adata, "obs", [condition], "pp.demultiplex")
    inside = passed_qc(adata) & at_level(adata.obs, condition, control)
    if compartment is not None:
        schema.require(adata, "obs", [schema.COMPARTMENT], "pp.compartments")
        inside &= labels(adata.obs, schema.COMPARTMENT) == compartment
    if not inside.any():
        have = ", ".join(sorted({str(each) for each in labels(adata.obs, condition)}))
        msg = (
            f"No cell has {condition} {control!r} in the compartment (cells here: {have}). What "
            "clones expressed before contact is seen in monoculture only; name it with control."
        )
        raise DesignError(msg)
    return np.asarray(inside)


def _sides(
    fates: pd.DataFrame, winners: list[str], losers: list[str]
) -> dict[tuple[str, str], bool]:
    """Return whether each clone of a line won; other clones are absent."""
    check_columns(fates, ["tumor", "clone", "fate"], _ADVICE, what="fates")
    check_single_rows(fates, ["tumor", "clone"], _ADVICE, what="fates")
    both = sorted(set(winners) & set(losers))
    if both:
        msg = f"{', '.join(both)} is in winners and in losers; name each fate on one side."
        raise ValueError(msg)
    return {
        (str(row["tumor"]), str(row["clone"])): row["fate"] in winners
        for row in fates.to_dict("records")
        if row["fate"] in {*winners, *losers}
    }


def _units(
    inside: Bools, line: Labels, clone: Labels, wins: dict[tuple[str, str], bool], min_cells: int
) -> tuple[Ints, pd.DataFrame]:
    """Return the number of the clone of each cell, and one row per clone."""
    names = list(zip(line, clone, strict=True))
    member = np.array([ok and name in wins for ok, name in zip(inside, names, strict=True)])
    sizes: dict[tuple[str, str], int] = {}
    for i in np.flatnonzero(member):
        sizes[names[i]] = sizes.get(names[i], 0) + 1
    kept = sorted(name for name, size in sizes.items() if size >= min_cells)
    place = {name: number for number, name in enumerate(kept)}
    codes = np.array(
        [place.get(name, -1) if ok else -1 for ok, name in zip(member, names, strict=True)],
        dtype=np.int64,
    )
    rows = [(*name, wins[name], sizes[name]) for name in kept]
    columns = pd.Index(["tumor", "clone", "wins", "n_cells"])
    return codes, pd.DataFrame(rows, columns=columns)


def _lines_with_both(
    units: pd.DataFrame, codes: Ints
) -> tuple[pd.DataFrame, Ints, tuple[LeftOut, ...]]:
    """Keep lines with two winners and two losers; name the others."""
    names = sorted(units["tumor"].unique())
    winning = [int(units.loc[units["tumor"] == name, "wins"].sum()) for name in names]
    losing = [
        int((units["tumor"] == name).sum()) - n for name, n in zip(names, winning, strict=True)
    ]
    good = [min(pair) >= _FEWEST for pair in zip(winning, losing, strict=True)]
    reasons = [
        f"{won} winning and {lost} losing clones with enough cells (min_cells); two of each needed"
        for won, lost in zip(winning, losing, strict=True)
    ]
    lines = [name for name, ok in zip(names, good, strict=True) if not ok]
    why = [reason for reason, ok in zip(reasons, good, strict=True) if not ok]
    if not any(good):
        found = "; ".join(f"{n}: {r}" for n, r in zip(lines, why, strict=True)) or "no such clone"
        msg = (
            f"No line has two winning and two losing clones ({found}). Lower min_cells, or name "
            "more fates with winners and losers, for example winners=['grown', 'steady']."
        )
        raise DesignError(msg)
    if lines:
        _LOG.warning("Too few winning or losing clones, excluded: %s", ", ".join(lines))
    keep = ~units["tumor"].isin(lines).to_numpy()
    renumbered = np.append(np.where(keep, np.cumsum(keep) - 1, -1), -1)
    return units[keep].reset_index(drop=True), renumbered[codes], left_out("line", lines, why)
