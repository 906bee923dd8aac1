"""Gene sets that change as a whole in a response."""

from __future__ import annotations

import logging
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import stats as scipy_stats

from nkscore import schema, signatures
from nkscore._checks import check_columns, check_whole
from nkscore._ledger import note_in, rows
from nkscore.errors import GeneCoverageError, NkscoreWarning, WrongScaleError
from nkscore.stats import benjamini_hochberg, placed_behind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nkscore._types import Floats
    from nkscore.signatures import Signature
    from nkscore.signatures._convert import SignaturesLike

_LOG = logging.getLogger("nkscore")
_ALL = "all"


def enrichment(
    response: pd.DataFrame,
    sets: SignaturesLike = "hallmark",
    *,
    statistic: str = "t",
    by: str | None = schema.TUMOR,
    min_genes: int = 10,
    gene_correlation: float = 0.05,
) -> pd.DataFrame:
    """Test for each line whether the genes of a set change more than the other genes.

    Parameters
    ----------
    response
        One row per line × gene with columns ``gene``, ``statistic`` and ``by``, as from
        :func:`nkscore.tl.interaction_response`.
    sets
        ``"hallmark"`` (50 sets of MSigDB, packaged), another panel, names of sets, or your own
        sets, as in :func:`nkscore.signatures.as_signatures`. Genes of a set that go down count
        negatively.
    statistic
        Column that ranks the genes, signed: ``"t"``, or ``"log2_fc"`` for tables without.
    by
        Column whose levels are tested separately; ``None``: the table is one response.
    min_genes
        Sets with fewer genes in a line's table (at least 1) are skipped for that line, with a log
        line.
    gene_correlation
        Mean correlation of the genes of a set over replicates, 0 to 1, which increases the variance
        of their mean. 0 assumes independent genes, which is not realistic;
        ``docs/evidence/communication.md`` shows how the default was chosen.

    Returns
    -------
    One row per line × set, sorted by line and p-value, with columns ``tumor`` (the level of ``by``;
    ``all`` without), ``set``, ``n_genes`` (of the set), ``n_tested`` (of them in the line's table),
    ``coverage`` (their ratio), ``mean`` (mean statistic of the set's genes, down genes reversed),
    ``mean_other`` (of all other genes), ``t``, ``p_value`` (two-sided), ``q_value``
    (Benjamini-Hochberg within the line), ``direction`` (``up`` or ``down``), ``leading_genes`` (up
    to ten tested genes with the strongest change in this direction, separated by commas).

    Raises
    ------
    MissingKeyError
        If a column is absent.
    WrongScaleError
        If a gene occurs twice in a line, a row has no gene or no line, no statistic is a finite
        number, or those of a line are all equal.
    ValueError
        If ``min_genes`` is below 1 or ``gene_correlation`` not from 0 to 1.
    GeneCoverageError
        If no set has ``min_genes`` genes in any line.

    Notes
    -----
    The statistic of a set is the t-value of decoupler's univariate linear model (Badia-i-Mompel et
    al. 2022, doi 10.1093/bioadv/vbac016) over all genes of the line, divided by the square root of
    ``1 + (n - 1) · gene_correlation`` (Wu and Smyth 2012, doi 10.1093/nar/gks461; limma's preset of
    0.01 was too small for permuted donors of real cells). decoupler itself returns adjusted
    p-values and silently drops absent genes. Here p-values are computed from t, and ``coverage``
    shows absent genes. Missing statistics are never imputed.

    Examples
    --------
    >>> import nkscore as nk
    >>> adata = nk.datasets.simulate_coculture(n_cells_per_sample=40, n_genes=4000, rng=0)
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.enrichment(nk.tl.interaction_response(adata))
    >>> bool(table.groupby("tumor")["set"].first().str.contains("INTERFERON").all())
    True
    """
    needed = ["gene", statistic, *([] if by is None else [by])]
    check_columns(response, needed, "Rename the columns, or name them in the options.")
    check_whole(1, min_genes=min_genes)
    if not 0 <= gene_correlation <= 1:
        msg = f"gene_correlation is {gene_correlation!r}; a number from 0 to 1 is needed."
        raise WrongScaleError(msg)
    table = _checked(response, statistic, by)
    genes = sorted(table["gene"].unique())
    wanted = signatures.as_signatures(sets)
    weights, size = _weights(genes, wanted)
    parts = []
    for line, part in table.groupby("line", sort=True):
        values = part.set_index("gene")["value"].sort_index()
        here = weights.loc[values.index]
        tested = (here != 0).sum(axis=0)
        few = tested[tested < min_genes].index
        if len(few):
            _LOG.info("%s: fewer than %d genes, excluded: %s", line, min_genes, ", ".join(few))
        here = here.drop(columns=few)
        if here.shape[1]:
            parts.append(_test(str(line), values, here, gene_correlation))
    if not parts:
        msg = (
            f"None of {weights.shape[1]} sets has {min_genes} of its genes in any line of the "
            f"table ({len(genes)} genes). Check that gene names are symbols, or lower min_genes."
        )
        raise GeneCoverageError(msg)
    made = pd.concat(parts, ignore_index=True)
    made = placed_behind(made, "set", n_genes=made["set"].map(size))
    made = placed_behind(made, "n_tested", coverage=made["n_tested"] / made["n_genes"])
    made = made.sort_values(["tumor", "p_value", "set"], ignore_index=True)
    return _noted(made, response, table, list(wanted), f"(min_genes={min_genes})")


def _noted(
    made: pd.DataFrame, response: pd.DataFrame, table: pd.DataFrame, wanted: list[str], limit: str
) -> pd.DataFrame:
    """Add effects, sets and tests of sets in single lines that are lost to the ledger."""
    step, n_given, tested = "tl.enrichment", len(response), set(made["set"])
    missing = {"the statistic is missing": {"": n_given - len(table)}}
    note_in(made, rows(step, "effects", n_given, len(table), missing))
    few = {f"too few genes in every line {limit}": [n for n in wanted if n not in tested]}
    note_in(made, rows(step, "gene sets", len(wanted), len(tested), few))
    lines = made["tumor"].value_counts()
    here = {str(line): len(tested) - int(n) for line, n in lines.items()}
    lost = {f"too few genes in the line {limit}": here}
    note_in(made, rows(step, "tests", len(tested) * len(lines), len(made), lost))
    return made


def _check_names(response: pd.DataFrame, by: str | None) -> None:
    nameless = response[["gene", *([] if by is None else [by])]].isna().to_numpy().any(axis=1)
    if nameless.any():
        msg = (
            f"{int(nameless.sum())} rows lack a gene or a line ({by}); one of each is needed in "
            "every row. Fill them, or drop the rows."
        )
        raise WrongScaleError(msg)


def _checked(response: pd.DataFrame, statistic: str, by: str | None) -> pd.DataFrame:
    """Return line, gene and value of the rows with a finite value."""
    _check_names(response, by)
    value = pd.to_numeric(response[statistic], errors="coerce").to_numpy(dtype=float)
    table: pd.DataFrame = pd.DataFrame(
        {
            "line": _ALL if by is None else response[by].astype(str).to_numpy(),
            "gene": response["gene"].astype(str).to_numpy(),
            "value": value,
        }
    )
    finite = np.isfinite(value)
    if not finite.any():
        msg = f"Column {statistic!r} holds no finite number, so genes cannot be ranked."
        raise WrongScaleError(msg)
    if not finite.all():
        _LOG.warning("%d rows without a finite %s are excluded", int((~finite).sum()), statistic)
    table = table[finite]
    doubled = table.duplicated(["line", "gene"])
    if doubled.any():
        first = table[doubled].iloc[0]
        msg = (
            f"Gene {first['gene']!r} occurs more than once for {first['line']!r}; one row per "
            "line and gene is needed. Name the column of the lines in by, or pick one contrast."
        )
        raise WrongScaleError(msg)
    return table


def _weights(
    genes: list[str], sets: Mapping[str, Signature]
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Return genes × sets of 1, -1 and 0, and the number of genes of each set."""
    columns, size = {}, {}
    for name, signature in sets.items():
        with warnings.catch_warnings():
            # Incomplete sets are the rule in a table of expressed genes; see ``coverage``.
            warnings.simplefilter("ignore", NkscoreWarning)
            try:
                found = signatures.match(genes, {name: signature}, min_coverage=0.0)
            except GeneCoverageError:
                _LOG.warning("%s: none of its genes (or none of a direction) was tested", name)
                continue
        column = np.zeros(len(genes))
        column[found.up[name]], column[found.down[name]] = 1.0, -1.0
        columns[name], size[name] = column, int(found.coverage["n_genes"].iloc[0])
    return pd.DataFrame(columns, index=genes), size


def _test(line: str, values: pd.Series, weights: pd.DataFrame, correlation: float) -> pd.DataFrame:
    if values.min() == values.max():
        msg = (
            f"The statistic is {values.iloc[0]:g} for all genes of {line!r}, so they cannot be "
            "ranked. Name the statistic of the response, or remove this line."
        )
        raise WrongScaleError(msg)
    tested = (weights != 0).sum(axis=0).to_numpy()
    inflation = np.sqrt(1 + (tested - 1) * correlation)
    t = _ulm(values, weights) / inflation
    p = 2 * scipy_stats.t.sf(np.abs(t), len(values) - 2)
    w, v = weights.to_numpy(), values.to_numpy()
    signed = w * v[:, None]
    outside = (w == 0).sum(axis=0)
    direction = np.where(t > 0, "up", "down")
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_other = ((w == 0) * v[:, None]).sum(axis=0) / outside
    return pd.DataFrame(
        {
            "tumor": line,
            "set": weights.columns.astype(str),
            "n_tested": tested,
            "mean": signed.sum(axis=0) / tested,
            "mean_other": mean_other,
            "t": t,
            "p_value": p,
            "q_value": benjamini_hochberg(p),
            "direction": direction,
            "leading_genes": [
                _leading(signed[:, j], w[:, j], values.index, 1 if d == "up" else -1)
                for j, d in enumerate(direction)
            ],
        }
    )


def _leading(signed: Floats, weight: Floats, genes: pd.Index, sign: int) -> str:
    members = np.flatnonzero((weight != 0) & (sign * signed > 0))
    order = members[np.argsort(-sign * signed[members], kind="stable")][:10]
    return ",".join(genes[order])


def _ulm(values: pd.Series, weights: pd.DataFrame) -> Floats:
    from matplotlib import rc_context

    # Its import changes how legends of all later figures look.
    with rc_context():
        import decoupler  # type: ignore[import-untyped, import-not-found, unused-ignore]
    row, column = np.nonzero(weights.to_numpy())
    net = pd.DataFrame(
        {
            "source": weights.columns.to_numpy()[column],
            "target": weights.index.to_numpy()[row],
            "weight": weights.to_numpy()[row, column],
        }
    )
    # tmin=1: sets that are too small were already skipped and named. A gene with value
    # zero would be dropped as empty.
    scores, _ = decoupler.mt.ulm(values.to_frame("line").T, net, tmin=1, empty=False)
    return np.asarray(scores.loc["line", list(weights.columns)], dtype=float)
