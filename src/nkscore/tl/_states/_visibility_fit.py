"""Tests of genes and of sums of genes between two groups, on sums of counts or on logarithms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore.stats import (
    expressed_genes,
    fit_count_response,
    fit_linear,
    interval,
    line_factors,
    moderated_test,
    squeeze_variances,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats, Ints
    from nkscore.stats import Design

#: Power and false calls of ``detectable_log2_fc``.
_POWER: Final = 0.8
_FALSE: Final = 0.05
#: Name of the row that holds the change of the whole RNA content.
RNA: Final = "rna_per_cell"


@dataclass(frozen=True, slots=True)
class Units:
    """Sums of counts of each sample and group, or log expression of each sample.

    ``sums`` are units × columns: all genes, then one sum per class. ``tested`` are the columns of
    the genes to test. ``cells`` and ``squares`` (sums of squares over cells) are ``None`` for
    samples without cells.
    """

    sums: Floats
    n_genes: int
    tested: Ints
    design: Design
    cells: Floats | None = None
    squares: Floats | None = None
    logs: bool = False


def changes_of(units: Units, *, min_count: float, confidence: float) -> pd.DataFrame:
    """Return effect, error and test of each class and tested gene, one row per line × column.

    All genes enter the model, because they share their variance.
    """
    if units.logs:
        table = _of_logs(units, confidence)
    else:
        table = _of_counts(units, min_count=min_count, confidence=confidence)
    wanted = np.append(units.tested, np.arange(units.n_genes, units.sums.shape[1]))
    kept: pd.DataFrame = table[table["gene"].isin(wanted)].reset_index(drop=True)
    return kept


def _of_counts(units: Units, *, min_count: float, confidence: float) -> pd.DataFrame:
    genes = units.sums[:, : units.n_genes]
    library = genes.sum(axis=1)
    tested = expressed_genes(
        units.sums, units.design, library=library, min_count=min_count, n_cells=units.cells
    )
    scatter = None
    if units.cells is not None and units.squares is not None:
        scatter = _overdispersion(units.sums, units.squares, units.cells)
    return fit_count_response(
        units.sums,
        units.design,
        tested=tested,
        library=library,
        effective=line_factors(genes, library, units.design).library,
        overdispersion=scatter,
        n_cells=units.cells,
        cell_squares=units.squares,
        confidence=confidence,
    )


def _overdispersion(sums: Floats, squares: Floats, n_cells: Floats) -> Floats:
    expected = (np.square(sums) / n_cells[:, None]).sum(axis=0)
    return np.asarray((squares.sum(axis=0) - expected) / np.maximum(sums.sum(axis=0), 1.0))


def _of_logs(units: Units, confidence: float) -> pd.DataFrame:
    y = np.ascontiguousarray(units.sums.T)
    fit = fit_linear(y, units.design.matrix, np.ones_like(y))
    level = y.mean(axis=1)
    squeezed = squeeze_variances(fit.variance, fit.df_residual, covariate=level, robust=True)
    parts = []
    for name, column in units.design.effects.items():
        made = moderated_test(fit, column, squeezed=squeezed)
        rows = units.design.members[name]
        treated = int(units.design.treated[rows].sum())
        low, high = interval(made.effect, made.standard_error, made.df, confidence)
        columns = {
            "group": name,
            "gene": np.arange(y.shape[0]),
            "log2_fc": made.effect,
            "se": made.standard_error,
            "ci_low": low,
            "ci_high": high,
            "t": made.t,
            "p_value": made.p_value,
            "n_samples_treated": treated,
            "n_samples_control": rows.size - treated,
            "df_residual": fit.df_residual,
            "df_total": made.df,
        }
        part = pd.DataFrame(columns)
        parts.append(part[np.ptp(y[:, rows], axis=1) > 0])
    found: pd.DataFrame = pd.concat(parts, ignore_index=True)
    return found


def rna_ratio(units: Units, pairs: Sequence[object]) -> pd.DataFrame:
    """Return the log2 ratio of RNA per cell between the groups of a sample, one row per line.

    ``pairs`` names the sample of each unit. Samples are the replicates; a line with a single one
    has the spread of the others.
    """
    genes = units.sums[:, : units.n_genes]
    library = genes.sum(axis=1)
    effective = line_factors(genes, library, units.design).library
    cells = np.ones(library.size) if units.cells is None else units.cells
    per_cell = pd.Series(np.log2(effective / cells))
    found, squares, freedom = {}, 0.0, 0
    for name, rows in units.design.members.items():
        here = units.design.treated[rows]
        names = np.asarray(pairs, dtype=object)[rows]
        on = pd.Series(per_cell[rows[here]].to_numpy(), index=names[here])
        off = pd.Series(per_cell[rows[~here]].to_numpy(), index=names[~here])
        found[name] = (on - off).dropna()
        squares += float(np.square(found[name] - found[name].mean()).sum())
        freedom += len(found[name]) - 1
    spread = np.sqrt(squares / freedom) if freedom else np.nan
    return pd.DataFrame(
        [
            {"group": name, "log2_fc": d.mean(), "se": spread / np.sqrt(len(d)), "df": freedom}
            for name, d in found.items()
        ]
    )


def per_cell(table: pd.DataFrame, ratio: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Turn changes of shares into changes per cell, by the change of the whole RNA content.

    All genes share the error of that change, whose degrees of freedom are those of the samples.
    """
    found = ratio.set_index("group").loc[table["group"]]
    own, more = np.square(table["se"].to_numpy()), np.square(found["se"].to_numpy())
    error = np.sqrt(own + more)
    freedom = np.square(own + more) / (
        np.square(own) / table["df_total"].to_numpy() + np.square(more) / found["df"].to_numpy()
    )
    effect = table["log2_fc"].to_numpy() + found["log2_fc"].to_numpy()
    return _tested(table, effect, error, freedom, confidence)


def with_rna(table: pd.DataFrame, ratio: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Add one row per line for the RNA content; its ``gene`` is -1."""
    first = table.drop_duplicates("group").set_index("group")
    there = ratio[ratio["group"].isin(first.index)]
    rows = first.loc[there["group"]].reset_index().assign(gene=-1)
    effect, error, df = (there[name].to_numpy(dtype=float) for name in ("log2_fc", "se", "df"))
    made = _tested(rows, effect, error, df, confidence)
    return pd.concat([made, table], ignore_index=True)


def _tested(
    table: pd.DataFrame, effect: Floats, error: Floats, df: Floats, confidence: float
) -> pd.DataFrame:
    low, high = interval(effect, error, df, confidence)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = effect / error
    return table.assign(
        log2_fc=effect,
        se=error,
        ci_low=low,
        ci_high=high,
        t=t,
        p_value=2 * scipy_stats.t.sf(np.abs(t), df),
        df_total=df,
    )


def detectable(se: Floats, df: Floats, n_tested: Ints) -> Floats:
    """Return the smallest change that would be found in four of five experiments like this one.

    Found means called at a false discovery rate of 5 % if no other gene changes.
    """
    level = scipy_stats.t.isf(_FALSE / (2 * np.maximum(n_tested, 1)), df)
    return np.asarray((level + scipy_stats.t.isf(1 - _POWER, df)) * se)
