"""A table of responses, one row per line × gene, as matrices of genes × lines."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_columns
from nkscore._ledger import note_in, rows
from nkscore._samples._left_out import left_out
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Array, Bools, Floats, Ints

_LOG = logging.getLogger("nkscore")

#: Names that published tables use.
_Q_VALUES = ("q_value", "p_val_adj", "adj.P.Val", "padj")
_ALSO = {
    "tumor": ("cell_line",),
    "log2_fc": ("avg_log2FC", "avg_logFC", "logFC"),
    # Over the genes of one line; published tables have one line each.
    "q_value_line": _Q_VALUES,
    "p_value": ("p_val", "P.Value", "pvalue"),
}
_HINTS = {
    "se": (
        " Without standard errors, method='counting' works; from two-sided p-values of a t-test "
        "they are about abs(log2_fc) / scipy.stats.norm.isf(p_value / 2)."
    ),
}


@dataclass(frozen=True, slots=True)
class ResponseTable:
    """``matrices[name]`` is genes × lines, NaN if the table has no row; both are sorted."""

    genes: list[str]
    lines: list[str]
    matrices: dict[str, Any]
    lineage: list[str] | None
    #: Rows of the table.
    n_rows: int = 0


def response_matrices(
    table: pd.DataFrame, needed: Sequence[str], optional: Sequence[str] = ()
) -> ResponseTable:
    """Check a table of responses, and convert it to matrices."""
    columns = _columns(table, ["tumor", "gene", *needed], optional)
    if table.empty:
        msg = (
            "The table has no rows; one row per line and gene is needed. Check the "
            "selection of its rows."
        )
        raise DesignError(msg)
    text = {
        name: table[columns[name]].astype("string").to_numpy(dtype=object)
        for name in ("tumor", "gene")
    }
    if any(pd.isna(values).any() for values in text.values()):
        msg = "Some rows lack a gene or a line (tumor); one of each is needed in every row."
        raise DesignError(msg)
    genes, gene_code = np.unique(text["gene"].astype(str), return_inverse=True)
    lines, line_code = np.unique(text["tumor"].astype(str), return_inverse=True)
    flat = gene_code * len(lines) + line_code
    if np.unique(flat).size < flat.size:
        seen = np.flatnonzero(pd.Series(flat).duplicated())[0]
        msg = (
            f"Gene {text['gene'][seen]!r} of line {text['tumor'][seen]!r} has more than one row; "
            "one row per line and gene is needed. Select one contrast of the table first."
        )
        raise DesignError(msg)
    values = {}
    for name in [*needed, *optional]:
        if name in columns:
            matrix = np.full(len(genes) * len(lines), np.nan)
            matrix[flat] = _numbers(table[columns[name]])
            values[name] = matrix.reshape(len(genes), len(lines))
    return ResponseTable(
        list(map(str, genes)),
        list(map(str, lines)),
        values,
        _lineage(table, lines, line_code),
        len(table),
    )


def _numbers(column: pd.Series) -> Floats:
    try:
        return pd.to_numeric(column).to_numpy(dtype=float, na_value=np.nan)
    except (TypeError, ValueError) as error:
        msg = (
            f"Column {column.name!r} of the table holds a value that is not a number ({error}). "
            "Convert it, with pandas.to_numeric(errors='coerce') if other text means missing."
        )
        raise WrongScaleError(msg) from error


def _columns(table: pd.DataFrame, needed: Sequence[str], optional: Sequence[str]) -> dict[str, str]:
    """Return the name that each column has in the table."""
    columns = {}
    for name in [*needed, *optional]:
        found = [c for c in (name, *_ALSO.get(name, ())) if c in table]
        if found:
            columns[name] = found[0]
        elif name in needed:
            others = "".join(f" or {c!r}" for c in _ALSO.get(name, ()))
            have = ", ".join(map(str, table.columns[:20]))
            msg = (
                f"The table has no column {name!r}{others} (it has: {have}). It needs the "
                f"columns of tl.interaction_response; rename them.{_HINTS.get(name, '')}"
            )
            raise MissingKeyError(msg)
    check_columns(table, columns.values(), "")
    return columns


def _lineage(table: pd.DataFrame, lines: Array, line_code: Ints) -> list[str] | None:
    if schema.LINEAGE not in table:
        return None
    known = table[schema.LINEAGE].notna().to_numpy()
    pairs = pd.DataFrame(
        {"line": line_code[known], "lineage": table.loc[known, schema.LINEAGE].astype(str)}
    ).drop_duplicates()
    repeated = pairs.loc[pairs["line"].duplicated(), "line"]
    if len(repeated):
        msg = f"Line {lines[repeated.iloc[0]]!r} has several lineages; give each line one."
        raise DesignError(msg)
    names = dict(zip(pairs["line"], pairs["lineage"], strict=True))
    return [names.get(i, "") for i in range(len(lines))]


#: Columns of :func:`nkscore.tl.flag_ambient` with counts: effects without ambient RNA.
ADJUSTED: Final = ("log2_fc_adjusted", "se_adjusted", "se_ambient", "p_value_adjusted")
FLAG: Final = "ambient_suspect"


@dataclass(frozen=True, slots=True)
class Effects:
    """Genes × lines: effects and errors, NaN where not usable, and the q-value within the line.

    ``common`` is the part of the errors that lines share (``None``: unknown), ``name`` the column
    of the effects, ``left_out`` names lines and numbers of effects that cannot be used.
    """

    effect: Floats
    error: Floats
    common: Floats | None
    q_value: Floats | None
    name: str
    left_out: tuple[LeftOut, ...]


def effects_of(table: ResponseTable, *, adjusted: bool | None, errors: bool = True) -> Effects:
    """Return the effects to pool: without ambient RNA if the table has them, or as asked.

    ``errors``: whether effects without a standard error are excluded.
    """
    found = table.matrices
    absent = [name for name in ADJUSTED if name not in found]
    if adjusted and absent:
        msg = (
            f"adjusted is True, and the table has no column {', '.join(map(repr, absent))}. Run "
            "tl.flag_ambient(response, adata=adata) first, or pass adjusted=False."
        )
        raise MissingKeyError(msg)
    without = not absent if adjusted is None else adjusted
    name = "log2_fc_adjusted" if without else "log2_fc"
    effect = found[name]
    lost = _lost(table, np.isfinite(found["log2_fc"]) & ~np.isfinite(effect), "no adjusted effect")
    if not errors:
        return Effects(effect, effect, None, _q_values(found, adjusted=without), name, lost)
    se = found["se_adjusted" if without else "se"]
    usable = np.isfinite(effect) & np.isfinite(se) & (se > 0)
    unknown = np.isfinite(effect) & ~usable
    if unknown.any():
        _LOG.warning(
            "%d of %d effects have a standard error of 0 or NaN and are excluded",
            unknown.sum(),
            np.isfinite(effect).sum(),
        )
    return Effects(
        np.where(usable, effect, np.nan),
        np.where(usable, se, np.nan),
        found["se_ambient"] if without else None,
        _q_values(found, adjusted=without),
        name,
        (*lost, *_lost(table, unknown, "a standard error of 0 or NaN")),
    )


def note_effects(
    result: pd.DataFrame, table: ResponseTable, found: Effects, *, step: str, too_few: str
) -> pd.DataFrame:
    """Add effects and genes that a table made from responses lost to its ledger; return it.

    ``too_few`` says which genes have no estimate.
    """
    usable = int(np.isfinite(found.effect).sum())
    n_given = int((~np.isnan(table.matrices[found.name])).sum())
    lost = {
        f"{found.name} is missing": {"": table.n_rows - n_given},
        "standard error is 0 or missing": {"": n_given - usable},
    }
    note_in(result, rows(step, "effects", table.n_rows, usable, lost))
    estimate = result["difference" if "difference" in result else "log2_fc"]
    present = set(result.loc[estimate.notna(), "gene"])
    without = [gene for gene in table.genes if gene not in present]
    note_in(result, rows(step, "genes", len(table.genes), len(present), {too_few: without}))
    return result


def _lost(table: ResponseTable, lost: Bools, reason: str) -> tuple[LeftOut, ...]:
    """Name the lines that lose effects, and how many."""
    some = np.flatnonzero(lost.any(axis=0))
    return left_out(
        "effects",
        [table.lines[j] for j in some],
        [f"{int(lost[:, j].sum())} with {reason}" for j in some],
    )


def _q_values(found: dict[str, Any], *, adjusted: bool) -> Floats | None:
    """Return the q-values within each line; never below those of the measured effects."""
    measured: Floats | None = found.get("q_value_line")
    if not adjusted:
        return measured
    p = found["p_value_adjusted"]
    q = np.column_stack([benjamini_hochberg(column) for column in p.T])
    return q if measured is None else np.where(np.isfinite(q), np.fmax(q, measured), np.nan)


def _medians(df: Floats) -> Floats:
    known = [column[~np.isnan(column)] for column in df.T]
    return np.array([np.median(column) if column.size else np.inf for column in known])


def error_df(table: ResponseTable) -> Floats:
    """Return for each line the degrees of freedom that relate its p-values to its t.

    Infinite without p-values. A grid is precise enough, because large numbers hardly differ.
    """
    from scipy import stats

    if "df_total" in table.matrices:
        with np.errstate(invalid="ignore"):
            return _medians(table.matrices["df_total"])
    if "p_value" not in table.matrices:
        return np.full(len(table.lines), np.inf)
    grid = np.append(np.geomspace(1, 200, 107), np.inf)
    result = np.full(len(table.lines), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = np.abs(table.matrices["log2_fc"] / table.matrices["se"])
        p = table.matrices["p_value"]
        telling = np.isfinite(t) & np.isfinite(p) & (p > 1e-12) & (t > 1)
    for j in range(len(table.lines)):
        rows = np.flatnonzero(telling[:, j])[:500]
        if rows.size:
            expected = np.asarray(2 * stats.t.sf(t[rows, j][:, None], grid))
            expected[:, -1] = 2 * stats.norm.sf(t[rows, j])
            off = np.abs(np.log(expected) - np.log(p[rows, j])[:, None])
            result[j] = grid[np.median(off, axis=0).argmin()]
    return result
