"""Similarity of knock-outs: changes of the same genes in the same direction."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore._checks import (
    check_columns,
    check_confidence,
    check_single_rows,
    check_whole,
    names_of,
)
from nkscore.errors import DesignError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nkscore._types import Floats, Ints

_NEEDED = (
    "target",
    "gene",
    "contrast",
    "log2_fc",
    "se",
    "n_units",
    "n_units_control",
)
_COLUMNS = [
    "target",
    "other",
    "correlation",
    "ci_low",
    "ci_high",
    "correlation_observed",
    "correlation_by_controls",
    "n_genes",
]
_FEWEST = 10


def perturbation_similarity(
    table: pd.DataFrame,
    *,
    contrast: str | None = None,
    genes: Sequence[str] | None = None,
    n_bootstrap: int = 500,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Correlate the effects of each pair of knock-outs over genes.

    Errors weaken a correlation, and controls that two targets share create a spurious one; the
    result is corrected for both.

    Parameters
    ----------
    table
        From ``tl.perturbation_response``.
    contrast
        Contrast to use, if the table has several.
    genes
        Genes to use; by default all that are tested in both targets. Do not choose them by their
        effect in one of the two.
    n_bootstrap
        Samples of genes, drawn with replacement, for the interval.
    confidence
        Coverage of the interval, 0 to 1. It is too narrow if genes are coregulated.
    rng
        Seed of the bootstrap.

    Returns
    -------
    One row per pair, with columns ``target``, ``other``, ``correlation`` (of the true effects, −1
    to 1; NaN if the effects of a target are not larger than their errors), ``ci_low``, ``ci_high``,
    ``correlation_observed`` (of the estimates), ``correlation_by_controls`` (expected from shared
    controls alone) and ``n_genes``.

    Raises
    ------
    MissingKeyError
        If a column is missing.
    DesignError
        If the table holds several contrasts, one target, a gene twice, or fewer than ten genes of
        two targets.
    ValueError
        If ``confidence`` or ``n_bootstrap`` is out of range.

    Notes
    -----
    With effects a and b, errors s and the common share ρ of the errors (the controls' part of the
    variances, from the numbers of units), the correlation uses the moments Σ(ab − ρ s_a s_b) and
    Σ(a² − s_a²), Σ(b² − s_b²), about zero: no effect is the natural origin.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> import nkscore as nk
    >>> effect = np.random.default_rng(0).normal(size=50)
    >>> parts = [pd.DataFrame({"target": t, "gene": [f"g{i}" for i in range(50)],
    ...                        "contrast": "knockout", "log2_fc": sign * effect, "se": 0.1,
    ...                        "n_units": 4, "n_units_control": 9})
    ...          for t, sign in (("JAK1", 1), ("JAK2", 1), ("SOCS1", -1))]
    >>> table = nk.tl.perturbation_similarity(pd.concat(parts), n_bootstrap=50)
    >>> table["correlation"].round(1).tolist()
    [1.0, -1.0, -1.0]
    """
    check_confidence(confidence)
    check_whole(1, n_bootstrap=n_bootstrap)
    table = _with_genes(_one_contrast(table, contrast), genes)
    effect, error = (
        table.pivot_table(index="gene", columns="target", values=name) for name in ("log2_fc", "se")
    )
    if effect.shape[1] < 2:
        msg = f"The table holds {effect.shape[1]} target; two or more can be compared."
        raise DesignError(msg)
    n = table.groupby("target")["n_units"].max()
    n_control = float(table["n_units_control"].max())
    draw = np.random.default_rng(rng)
    found = []
    for a, b in itertools.combinations(effect.columns, 2):
        both = (effect[a].notna() & effect[b].notna()).to_numpy()
        if both.sum() < _FEWEST:
            msg = (
                f"{a} and {b} have {int(both.sum())} genes in common; at least {_FEWEST} are "
                "needed. Lower min_count in tl.perturbation_response, or give more genes."
            )
            raise DesignError(msg)
        shared = (1 / n_control) / np.sqrt((1 / n[a] + 1 / n_control) * (1 / n[b] + 1 / n_control))
        moments = _moments(effect.loc[both, [a, b]], error.loc[both, [a, b]], float(shared))
        picks = draw.integers(0, len(moments), (n_bootstrap, len(moments)))
        x, y = effect.loc[both, a].to_numpy(), effect.loc[both, b].to_numpy()
        observed = float(x @ y / np.sqrt((x @ x) * (y @ y)))
        best = float(_correlation(moments.sum(axis=0)[None])[0])
        low, high = _limits(moments, picks, confidence)
        found.append((a, b, best, low, high, observed, float(shared), int(both.sum())))
    return pd.DataFrame(found, columns=_COLUMNS)


def _one_contrast(table: pd.DataFrame, contrast: str | None) -> pd.DataFrame:
    check_columns(table, _NEEDED, "Give the table of tl.perturbation_response.")
    have = list(dict.fromkeys(table["contrast"]))
    if contrast is None and len(have) == 1:
        contrast = have[0]
    if contrast not in have:
        msg = (
            f"The table holds the contrasts {', '.join(map(str, have)) or 'of no row'}; name one "
            "of them with contrast=."
        )
        raise DesignError(msg)
    table = table[table["contrast"] == contrast]
    check_single_rows(table, ["gene", "target"], "Compare the tables of several runs separately.")
    return table


def _with_genes(table: pd.DataFrame, genes: Sequence[str] | None) -> pd.DataFrame:
    if genes is None:
        return table
    chosen = table["gene"].isin(names_of(genes))
    if not chosen.any():
        msg = "None of the genes is in the table; use the names in its column 'gene'."
        raise DesignError(msg)
    return table[chosen]


def _moments(effect: pd.DataFrame, error: pd.DataFrame, shared: float) -> Floats:
    """Return for each gene the estimated products of the true effects."""
    (a, b), (s, r) = effect.to_numpy().T, error.to_numpy().T
    return np.column_stack([a * b - shared * s * r, a**2 - s**2, b**2 - r**2])


def _limits(moments: Floats, picks: Ints, confidence: float) -> tuple[float, float]:
    """Return the interval of the correlation, from sums over the genes picked."""
    many = _correlation(moments[picks].sum(axis=1))
    tail = (1 - confidence) / 2
    # An undefined correlation means that an effect may be only error, so any value is possible.
    low = np.nanquantile(np.where(np.isnan(many), -1.0, many), tail)
    high = np.nanquantile(np.where(np.isnan(many), 1.0, many), 1 - tail)
    return float(low), float(high)


def _correlation(sums: Floats) -> Floats:
    known = (sums[:, 1] > 0) & (sums[:, 2] > 0)
    scale = np.sqrt(np.where(known, sums[:, 1] * sums[:, 2], np.nan))
    return np.clip(sums[:, 0] / scale, -1.0, 1.0)
