"""Sensitivity of lines to killing, from viability over effector-to-target ratios."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from nkscore._checks import check_columns, check_confidence
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.stats import interval

_LOG = logging.getLogger("nkscore")
#: Ratios within this share of the end of the range count as reaching it.
_AT_END = 1e-9
#: Logarithms to base 2 of TPM, RPKM and CPM are smaller.
_LARGEST_LOG = 50.0
_HLA_I = ("B2M", "HLA-A", "HLA-B", "HLA-C")


def sensitivity_auc(
    viability: pd.DataFrame,
    *,
    max_ratio: float | None = None,
    unit: str = "percent",
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Return the area under the viability curve of each line, 1 where NK cells kill nothing.

    Trapezoidal rule over the ratio of effector to target cells, divided by the width of its range.
    If ratio 0 was not measured, its viability is assumed to be complete.

    Parameters
    ----------
    viability
        One row per line, ratio and replicate: ``tumor``, ``et_ratio`` (effector cells per target
        cell), ``viability`` (relative to untreated cells, in ``unit``) and, if there are several,
        ``replicate``. Rows of one line, ratio and replicate are averaged, with a log line.
    max_ratio
        Upper end of the range; by default the largest ratio that every line has. Lines that were
        not measured up to this ratio have a missing area.
    unit
        ``"percent"`` (untreated = 100) or ``"fraction"`` (untreated = 1).
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line, sorted from sensitive to resistant: ``tumor``, ``auc`` (mean over replicates),
    ``se``, ``ci_low``, ``ci_high`` (t-interval over replicates; missing for one replicate),
    ``n_replicates``, ``n_ratios``, ``max_ratio``.

    Raises
    ------
    MissingKeyError
        If a column is absent, or a row has no line or replicate.
    WrongScaleError
        If a viability is negative or not a number, a ratio is negative, or the values look like
        fractions with ``unit="percent"``, or the reverse.
    DesignError
        If no line has two ratios.

    Notes
    -----
    As in Dufva, Gandolfi et al. 2023 (doi 10.1016/j.immuni.2023.11.008), whose ``auc_norm`` is this
    area for ratios 0, 0.625, 1.25, 2.5 and 5. Viability above 100 % is kept.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> table = pd.DataFrame({"et_ratio": [0, 1, 2], "viability": [100, 50, 0], "tumor": "K562"})
    >>> float(nk.tl.sensitivity_auc(table)["auc"].iloc[0])
    0.5
    """
    check_confidence(confidence)
    table = _checked(viability, unit)
    if max_ratio is None:
        max_ratio = float(table.groupby("tumor")["et_ratio"].max().min())
    if not max_ratio > 0:
        msg = f"max_ratio is {max_ratio:g}; ratios above 0 are needed. Add wells with NK cells."
        raise DesignError(msg)
    rows = []
    for (tumor, _), curve in table.groupby(["tumor", "replicate"], sort=True):
        rows.append((tumor, *_area(curve, max_ratio)))
    areas = pd.DataFrame(rows, columns=["tumor", "auc", "n_ratios"])
    if areas["auc"].isna().all():
        msg = (
            f"No line was measured at two ratios up to {max_ratio:g}. Lower max_ratio, or add "
            "ratios."
        )
        raise DesignError(msg)
    made = _means(areas, confidence).assign(max_ratio=max_ratio)
    return made.sort_values(["auc", "tumor"]).reset_index(drop=True)


def _means(areas: pd.DataFrame, confidence: float) -> pd.DataFrame:
    """Return one row per line, from the areas of its replicates."""
    grouped = areas.groupby("tumor", sort=True)
    mean, n = grouped["auc"].mean(), grouped["auc"].count()
    error: pd.Series[float] = grouped["auc"].std(ddof=1) / np.sqrt(n.where(n > 0))
    low, high = interval(mean, error, np.maximum(n - 1, 1), confidence)
    made = pd.DataFrame(
        {
            "auc": mean,
            "se": error,
            "ci_low": low,
            "ci_high": high,
            "n_replicates": n,
            "n_ratios": grouped["n_ratios"].max(),
        }
    )
    return made.rename_axis("tumor").reset_index()


def hla_score(expression: pd.DataFrame, *, offset: float = 0.01) -> pd.DataFrame:
    """Return the HLA class I score of each sample: expression of B2M, HLA-A, HLA-B and HLA-C.

    Parameters
    ----------
    expression
        Samples × genes, log2 values (of TPM, RPKM or CPM).
    offset
        Added to the values after ``2 ** x``, so that genes without expression have a logarithm.

    Returns
    -------
    Samples × one column, ``hla_i_score`` (float64): log2 of the geometric mean. Use it as a feature
    in :func:`associate`.

    Raises
    ------
    MissingKeyError
        If one of the four genes is absent.
    DesignError
        If one of them occurs twice.
    WrongScaleError
        If they are not logarithms (above 50), or not numbers.

    Notes
    -----
    The HLA I score of Dufva, Gandolfi et al. 2023, doi 10.1016/j.immuni.2023.11.008. HLA class I
    inhibits NK cells and is also a response to their interferon gamma.

    Examples
    --------
    >>> import pandas as pd
    >>> import nkscore as nk
    >>> genes = ["B2M", "HLA-A", "HLA-B", "HLA-C"]
    >>> table = pd.DataFrame([[3.0, 3.0, 3.0, 3.0]], index=["K562"], columns=genes)
    >>> round(float(nk.tl.hla_score(table).loc["K562", "hla_i_score"]), 2)
    3.0
    """
    advice = "Samples must be the rows and human symbols the columns; transpose or rename."
    check_columns(expression, _HLA_I, advice, what="expression")
    chosen = expression[list(_HLA_I)]
    if chosen.shape[1] > len(_HLA_I):
        twice = chosen.columns[chosen.columns.duplicated()][0]
        msg = f"expression holds {twice} twice; each gene must occur once. Average or drop one."
        raise DesignError(msg)
    values = chosen.apply(pd.to_numeric, errors="coerce").to_numpy(dtype=float)
    unread = np.isnan(values) & chosen.notna().to_numpy()
    if unread.any() or (values > _LARGEST_LOG).any():
        found = chosen.to_numpy()[unread | (values > _LARGEST_LOG)][0]
        msg = (
            f"expression holds '{found}', which is not a log2 value (of TPM, RPKM or CPM). Give "
            "np.log2(expression + 0.01) of linear values, for example."
        )
        raise WrongScaleError(msg)
    score = np.log2(2.0**values + offset).mean(axis=1)
    return pd.DataFrame({"hla_i_score": score}, index=expression.index)


def _checked(viability: pd.DataFrame, unit: str) -> pd.DataFrame:
    if unit not in {"percent", "fraction"}:
        msg = f"unit={unit!r}; 'percent' or 'fraction' is needed."
        raise ValueError(msg)
    advice = "One row per line, ratio and replicate is needed; pandas.melt converts a wide table."
    check_columns(viability, ["tumor", "et_ratio", "viability"], advice)
    table = _named_rows(viability)
    table = _numbers(table.assign(tumor=table["tumor"].astype(str)))
    _check_unit(float(table["viability"].max()), unit)
    scale = 100.0 if unit == "percent" else 1.0
    keys = ["tumor", "replicate", "et_ratio"]
    table = table.assign(
        viability=table["viability"] / scale, replicate=table["replicate"].astype(str)
    )
    together = int(table.duplicated(keys).sum())
    if together:
        _LOG.warning(
            "%d wells have the line, ratio and replicate of another and are averaged "
            "with it; name independent wells in a column 'replicate' to get intervals",
            together,
        )
    return table.groupby(keys, sort=True)["viability"].mean().reset_index()


def _named_rows(viability: pd.DataFrame) -> pd.DataFrame:
    table = viability if "replicate" in viability else viability.assign(replicate="1")
    if table.empty:
        msg = "The table has no rows; one per line, ratio and replicate is needed."
        raise DesignError(msg)
    for column in ("tumor", "replicate"):
        unnamed = table[column].isna().to_numpy()
        if unnamed.any():
            msg = f"Row {int(np.argmax(unnamed))} has no {column}. Fill it in, or remove such rows."
            raise MissingKeyError(msg)
    return table


def _numbers(table: pd.DataFrame) -> pd.DataFrame:
    for column in ("et_ratio", "viability"):
        values = pd.to_numeric(table[column], errors="coerce").to_numpy(dtype=float)
        bad = ~np.isfinite(values) | (values < 0)
        if bad.any():
            row = int(np.argmax(bad))
            msg = (
                f"Row {row} ({table['tumor'].iloc[row]}) has {column} = "
                f"{table[column].iloc[row]}; a number of 0 or more is needed. Remove failed wells."
            )
            raise WrongScaleError(msg)
        table = table.assign(**{column: values})
    return table


def _check_unit(highest: float, unit: str) -> None:
    looks_like = {"percent": "a fraction", "fraction": "percent"}[unit]
    if (highest <= 1.5) if unit == "percent" else (highest > 5):
        untreated = 100 if unit == "percent" else 1
        msg = (
            f"The highest viability is {highest:g}, which looks like {looks_like}, while "
            f"unit={unit!r} says that untreated cells have {untreated}. Use the other unit."
        )
        raise WrongScaleError(msg)


def _area(curve: pd.DataFrame, max_ratio: float) -> tuple[float, int]:
    x, y = curve["et_ratio"].to_numpy(), curve["viability"].to_numpy()
    if x[0] > 0:
        x, y = np.append(0.0, x), np.append(1.0, y)
    if x[-1] < max_ratio * (1 - _AT_END) or x.size < 2:
        return np.nan, len(curve)
    inside = x < max_ratio
    ends: Any = np.append(x[inside], max_ratio)
    heights = np.append(y[inside], np.interp(max_ratio, x, y))
    return float(np.trapezoid(heights, ends) / max_ratio), len(curve)
