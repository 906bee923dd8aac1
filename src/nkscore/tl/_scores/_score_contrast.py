"""Direction of gene sets in tables of fold changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from nkscore import signatures
from nkscore._checks import SHARES_OF_CELLS, check_columns, check_whole, seed_of
from nkscore._warn import warn
from nkscore.errors import WrongScaleError
from nkscore.stats import abundance_strata, rank_contrast

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore.signatures import Signature
    from nkscore.signatures._convert import SignaturesLike

AUTO: Final = "auto"
#: Columns with the mean expression: of nkscore, DESeq2, limma and edgeR.
_MEANS: Final = ("mean_log2_cpm", "baseMean", "AveExpr", "logCPM")
_MEAN_SHARE: Final = "mean of {} and {}"
#: From this share of cells with a count, a gene's share says nothing about its abundance.
_SATURATED: Final = 0.95
#: A set with this part of its genes above is named in a warning.
_MANY: Final = 0.25


def score_contrast(
    table: pd.DataFrame,
    gene_signatures: SignaturesLike | None = None,
    *,
    by: str | None = None,
    gene: str = "gene",
    value: str = "log2_fc",
    abundance: str | None = AUTO,
    min_genes: int = 5,
    n_permutations: int = 1999,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Score the direction of signed gene sets in tables of fold changes.

    Parameters
    ----------
    table
        One row per gene (and contrast), for example from :func:`nkscore.tl.interaction_response`,
        DESeq2 or limma. Genes without a value or an abundance are excluded; for repeated genes the
        most abundant is used, or the first.
    gene_signatures
        Any form of :func:`nkscore.signatures.as_signatures`; the default is
        :func:`nkscore.signatures.dormancy_components`, with ``dormant_like`` as their sum.
    by
        Column of the contrasts (``"tumor"``); ``None``: one contrast.
    gene, value
        Columns with gene symbols and with log2 fold changes or another signed statistic.
    abundance
        Column with the mean expression, or ``None``. Random sets are drawn from genes of similar
        abundance (deciles), because abundant genes often change together by normalization. By
        default ``"mean_log2_cpm"``, DESeq2's ``"baseMean"``, limma's ``"AveExpr"``, edgeR's
        ``"logCPM"``, or the mean of Seurat's ``"pct.1"`` and ``"pct.2"`` (here ``"pct_treated"``
        and ``"pct_control"``). Without such a column, a warning says so.
    min_genes
        Sets with fewer genes in the table (at least 1) get missing scores.
    n_permutations
        Random sets per set and contrast.
    rng
        Seed or generator of the random sets, which do not depend on other sets, contrasts or the
        order of rows.

    Returns
    -------
    DataFrame with one row per contrast and set: the column ``by`` (if any), ``signature``,
    ``score`` (mean rank of its genes against others of similar abundance, signed, -1 to 1; positive
    if the up genes of the set increased), ``p_up``, ``p_down`` (one-sided, (b + 1)/(m + 1)),
    ``p_value`` (two-sided), ``n_genes``, ``n_genes_in_set``, ``n_unmatched`` (genes with counts in
    more than 95 % of cells, if the abundance is a share of cells: their abundance cannot be
    matched). ``attrs["abundance"]`` names the column of the abundance, ``"none"`` without.

    Raises
    ------
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If the values are not numbers with both signs, or a row has no contrast.
    ValueError
        If ``min_genes`` or ``n_permutations`` is below 1.

    Notes
    -----
    The test is competitive: it tests whether a set changes more than other genes of the same table.

    Warns with :class:`nkscore.errors.NkscoreWarning` if no column of the abundance is found, or if
    it is a share of cells and at least a quarter of a set's genes are unmatched.

    Examples
    --------
    >>> import numpy as np, pandas as pd, nkscore as nk
    >>> table = pd.DataFrame({"gene": list("abcdefgh"), "log2_fc": np.arange(8.0) - 4})
    >>> found = nk.tl.score_contrast(table, {"x": ["f", "g", "h"]}, abundance=None, min_genes=3)
    >>> found[["score", "p_up"]].round(2)
       score  p_up
    0   0.62  0.02
    """
    table, abundance = _with_abundance(table, abundance)
    needed = [c for c in (by, gene, value, abundance) if c is not None]
    check_columns(table, needed, "Name its columns with by, gene, value, abundance.")
    check_whole(1, min_genes=min_genes, n_permutations=n_permutations)
    _check_values(table[value], value)
    if by is not None and table[by].isna().any():
        msg = (
            f"{int(table[by].isna().sum())} rows have no value of {by!r}, which names their "
            "contrast. Fill it, or drop the rows."
        )
        raise WrongScaleError(msg)
    sets = (
        signatures.dormancy_components()
        if gene_signatures is None
        else signatures.as_signatures(gene_signatures)
    )
    options: dict[str, Any] = {
        "min_genes": min_genes,
        "n_permutations": n_permutations,
        "seed": seed_of(rng),
    }
    parts = [(None, table)] if by is None else list(table.groupby(by, sort=False, observed=True))
    rows = []
    for label, part in parts:
        genes = _distinct(part[needed], gene, value, abundance)
        found = _rows(genes, sets, columns=(gene, value, abundance), **options)
        rows += [({by: label} if by is not None else {}) | row for row in found]
    made = pd.DataFrame(rows)
    made["n_unmatched"] = _unmatched(table, made, sets, gene=gene, abundance=abundance, by=by)
    made.attrs["abundance"] = abundance or "none"
    return made


def _unmatched(
    table: pd.DataFrame,
    made: pd.DataFrame,
    sets: Mapping[str, Signature],
    *,
    gene: str,
    abundance: str | None,
    by: str | None,
) -> list[int]:
    """Count the genes of each row that nearly all cells express, if shares are the abundance."""
    if abundance not in {_MEAN_SHARE.format(*pair) for pair in SHARES_OF_CELLS}:
        return [0] * len(made)
    share = table[abundance] / (100 if table[abundance].max() > 1 else 1)
    high = table[share > _SATURATED]
    found = []
    for row in made.to_dict("records"):
        part = high if by is None else high[high[by] == row[by]]
        found.append(part.loc[part[gene].isin(sets[row["signature"]].genes), gene].nunique())
    many = made.loc[np.array(found) >= _MANY * made["n_genes"].clip(lower=1), "signature"].unique()
    if len(many):
        warn(
            f"The abundance of genes with counts in more than {_SATURATED:.0%} of cells cannot be "
            f"matched by {abundance}; many genes of {', '.join(map(repr, many[:5]))}"
            f"{', ...' if len(many) > 5 else ''} are such genes (n_unmatched). Read their scores "
            "with that doubt, or give a table with the mean expression (abundance)."
        )
    return found


def _with_abundance(table: pd.DataFrame, asked: str | None) -> tuple[pd.DataFrame, str | None]:
    """Return the table with its column of the abundance, and the name of that column."""
    if asked != AUTO or AUTO in table:
        return table, asked
    for name in _MEANS:
        if name in table and pd.api.types.is_numeric_dtype(table[name]):
            return table, name
    for pair in SHARES_OF_CELLS:
        if set(pair) <= set(table) and all(
            map(pd.api.types.is_numeric_dtype, table[list(pair)].dtypes)
        ):
            name = _MEAN_SHARE.format(*pair)
            return table.assign(**{name: table[list(pair)].mean(axis=1)}), name
    warn(
        "The table has no column of the mean expression, so sets of abundant genes (MYC targets, "
        "ribosomal proteins) can look changed by normalization alone. Name the column with "
        "abundance, or pass abundance=None to compare with all genes."
    )
    return table, None


def _check_values(values: pd.Series, name: str) -> None:
    if not pd.api.types.is_numeric_dtype(values):
        msg = f"Column {name!r} holds {values.dtype}; numbers are needed. Convert it first."
        raise WrongScaleError(msg)
    if not ((values > 0).any() and (values < 0).any()):
        msg = (
            f"Column {name!r} ranges from {values.min():g} to {values.max():g}; signed "
            "values (log2 fold changes) are needed. Name another column with value."
        )
        raise WrongScaleError(msg)


def _distinct(part: pd.DataFrame, gene: str, value: str, abundance: str | None) -> pd.DataFrame:
    part = part[np.isfinite(part[value]) & part[gene].notna()]
    if abundance is not None:
        part = part[np.isfinite(part[abundance])].sort_values(
            abundance, ascending=False, kind="stable"
        )
    return part.drop_duplicates(gene).sort_values(gene)


def _rows(
    genes: pd.DataFrame,
    sets: Mapping[str, Signature],
    *,
    columns: tuple[str, str, str | None],
    min_genes: int,
    n_permutations: int,
    seed: int,
) -> list[dict[str, Any]]:
    gene, value, abundance = columns
    names = pd.Index(genes[gene].astype(str))
    values = genes[value].to_numpy(dtype=np.float64)
    mean = None if abundance is None else genes[abundance].to_numpy(dtype=np.float64)
    strata = abundance_strata(mean, values.size)
    rows: list[dict[str, Any]] = []
    for name, entry in sets.items():
        signs = np.isin(names, entry.up).astype(np.float64) - np.isin(names, entry.down)
        n_found = int(np.abs(signs).sum())
        row: dict[str, Any] = dict.fromkeys(["score", "p_up", "p_down", "p_value"], np.nan)
        if n_found >= min_genes:
            rng = np.random.default_rng(seed)
            found = rank_contrast(values, signs, strata, n_permutations=n_permutations, rng=rng)
            row |= {"score": found.score, "p_up": found.p_up, "p_down": found.p_down}
            row["p_value"] = min(1.0, 2 * min(found.p_up, found.p_down))
        rows.append({"signature": name} | row | {"n_genes": n_found, "n_genes_in_set": len(entry)})
    return rows
