"""Genes that differ between attached pairs and pairs made by chance."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence, check_whole, seed_of
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore.errors import DesignError
from nkscore.stats import fit_count_response, response_design, with_q_values
from nkscore.tl._contacts._evidence import expected_of_samples, lanes_of
from nkscore.tl._contacts._expectation import CROSS, OWN, Sums, sums_of_pairs

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._samples._left_out import LeftOut
    from nkscore._types import Floats, Labels
    from nkscore.tl._contacts._evidence import Lane

#: Pairs of a sample and arm from which they are used.
_FEWEST: Final = 5
ALL_LINES: Final = "all lines"


def contact_response(
    adata: AnnData,
    *,
    by: str | None = None,
    min_own: int = 200,
    min_cross: int = 100,
    min_count: float = 10.0,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Test which genes attached pairs express more or less than their two cells would apart.

    Own pairs (one hashtag) are compared with cross pairs (two hashtags). Each is compared with what
    the single NK and tumor cells of its wells lead to expect at its share of NK RNA, so neither
    another composition nor droplets of two cells pass for an effect.

    Reads ``obs["pair"]``, ``obs["pair_tumor"]``, ``obs["compartment"]``, ``obs["hashtag"]``,
    ``obs["hashtag_class"]``, ``obs["lane"]`` and the columns of the samples, ``obsm["hashtags"]``,
    ``layers["counts"]``, and what ``pp.demultiplex`` and ``pp.compartments`` recorded. Run it
    before ``pp.keep``, or on the result of ``pp.keep(pairs=True)``.

    Parameters
    ----------
    adata
        Cells × genes.
    by
        ``tumor`` for one effect per line; by default one effect over all lines.
    min_own, min_cross
        Fewest own and cross pairs for a test.
    min_count
        Fewest counts of a gene; see :func:`nkscore.stats.expressed_genes`.
    confidence
        Coverage of the intervals.
    rng
        Seed or generator, for the share of chance pairs among the own ones.

    Returns
    -------
    pd.DataFrame
        One row per level of ``by`` (column ``tumor``; ``all lines`` by default) and gene, by
        p-value: ``log2_fc`` of attached pairs over expectation, with ``se``, ``ci_low`` and
        ``ci_high``; ``log2_fc_observed``, before chance pairs among the own ones are accounted for;
        ``t``, ``p_value``, ``q_value``, ``df_total``; ``nk_share``, the share of the gene's
        expected counts from NK cells; ``chance_share`` of the own pairs; ``n_own``, ``n_cross``
        pairs; ``n_samples``. ``attrs["left_out"]`` lists samples and lines without a test.

    Raises
    ------
    MissingKeyError
        If ``pp.demultiplex`` or ``pp.compartments`` was not run.
    DesignError
        If there are too few pairs, or fewer than two samples with both kinds.
    ValueError
        If an option is out of range.

    Notes
    -----
    Counts are summed by sample and kind of pair, divided by the ratio of expectations within a
    sample, and compared within samples by a negative binomial model with shared variance
    (:func:`nkscore.stats.fit_count_response`). The share of NK RNA in the expectation of a gene is
    fitted without that gene. A fold change of a pair is less than that of the cell that carries it,
    as the other cell has counts of the gene, too: see ``nk_share``. Whether contact induces a gene
    or such cells make contact cannot be distinguished within a state.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Contacts(rate=0.2, log2_fc=1.5)
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562", "697"], n_donors=2, n_cells_per_sample=400, doublets=0.15,
    ...     n_genes=4000, contacts=planted, rng=0,
    ... )
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> table = nk.tl.contact_response(adata, min_own=100, min_cross=50)
    >>> table["gene"].iloc[0] in set(adata.uns["truth"]["contact_genes"]["gene"])
    True
    """
    _check(by, min_own, min_cross, confidence)
    lanes = lanes_of(adata, rng=np.random.default_rng(seed_of(rng)))
    answered = [lane.pairs for lane in lanes if lane.pairs is not None]
    if not answered:
        msg = f"No lane has pairs to compare: {'; '.join(lane.reason for lane in lanes)}."
        raise DesignError(msg)
    models = schema.recorded(adata, "pp.demultiplex", "pp.demultiplex")["models"]
    sums = sums_of_pairs(adata, answered, models).merged()
    line = _lines_of(adata, sums, by)
    tables: list[pd.DataFrame] = []
    lost: list[LeftOut] = []
    for level in sorted(set(line)):
        part = _paired(sums.rows(line == level))
        why = _too_few(part, min_own, min_cross)
        if why:
            lost += left_out("line", [level], [why])
            continue
        found = _tested(part, _chance_share(lanes, part), min_count, confidence)
        found["gene"] = adata.var_names[found["gene"].to_numpy()].astype(str)
        found[schema.TUMOR] = level
        tables.append(found[[schema.TUMOR, *found.columns[:-1]]])
    return _joined(tables, lost)


def _check(by: str | None, min_own: int, min_cross: int, confidence: float) -> None:
    if by not in (None, schema.TUMOR):
        msg = f"by is {by!r}; known: None (one effect over all lines) and 'tumor'."
        raise ValueError(msg)
    check_whole(2, min_own=min_own, min_cross=min_cross)
    check_confidence(confidence)


def _lines_of(adata: AnnData, sums: Sums, by: str | None) -> Labels:
    """Return the level of each row."""
    if by is None:
        return np.full(len(sums.table), ALL_LINES, dtype=object)
    pairs = adata.obs[[schema.SAMPLE, schema.TUMOR]].dropna().astype(str).drop_duplicates()
    of_sample = dict(zip(pairs[schema.SAMPLE], pairs[schema.TUMOR], strict=True))
    return np.array([of_sample[name] for name in sums.table["sample"]], dtype=object)


def _paired(sums: Sums) -> Sums:
    """Return the samples with enough pairs of both kinds."""
    table = sums.table
    enough = table[table["n_pairs"] >= _FEWEST]
    both = set(enough.loc[enough["arm"] == OWN, "sample"])
    both &= set(enough.loc[enough["arm"] == CROSS, "sample"])
    return sums.rows(table["sample"].isin(both).to_numpy())


def _too_few(sums: Sums, min_own: int, min_cross: int) -> str:
    n = sums.table.groupby("arm")["n_pairs"].sum()
    own, cross = int(n.get(OWN, 0)), int(n.get(CROSS, 0))
    if own < min_own or cross < min_cross:
        return f"too few: {own} own and {cross} cross pairs; {min_own} and {min_cross} are needed"
    if sums.table["sample"].nunique() < 2:
        return "too few: one sample with both kinds of pairs; two are needed"
    return ""


def _chance_share(lanes: list[Lane], sums: Sums) -> float:
    """Return the share of chance and leaked pairs among the own pairs of these samples."""
    found = expected_of_samples(lanes)
    here = found[found.index.isin(set(sums.table["sample"]))].sum()
    return float(np.clip(here["expected"] / max(here["observed"], 1), 0.0, 0.95))


def _tested(sums: Sums, chance: float, min_count: float, confidence: float) -> pd.DataFrame:
    table = sums.table
    own = (table["arm"] == OWN).to_numpy()
    sample = table["sample"].to_numpy(dtype=object)
    adjusted = _comparable(sums, sample)
    group = np.full(own.size, "contact", dtype=object)
    # Both arms belong to one level, so that each sample is compared with itself.
    design = response_design(own, group, sample)
    found = fit_count_response(
        adjusted,
        design,
        library=adjusted.sum(axis=1),
        n_cells=table["n_pairs"].to_numpy(dtype=np.float64),
        min_count=min_count,
        confidence=confidence,
    )
    gene = found["gene"].to_numpy()
    nk = sums.from_nk[own].sum(axis=0) / np.maximum(sums.expected[own].sum(axis=0), 1e-300)
    seen = found["log2_fc"].to_numpy()
    log2_fc = _undiluted(seen, chance)
    stretch = np.divide(log2_fc, seen, out=np.ones_like(seen), where=np.abs(seen) > 1e-9)
    n = table.groupby("arm")["n_pairs"].sum()
    made = pd.DataFrame(
        {
            "gene": gene,
            "log2_fc": log2_fc,
            "se": found["se"].to_numpy() * stretch,
            "ci_low": _undiluted(found["ci_low"].to_numpy(), chance),
            "ci_high": _undiluted(found["ci_high"].to_numpy(), chance),
            "log2_fc_observed": seen,
            **{name: found[name].to_numpy() for name in ("t", "p_value", "df_total")},
            "nk_share": nk[gene],
            "chance_share": chance,
            "n_own": int(n[OWN]),
            "n_cross": int(n[CROSS]),
            "n_samples": table["sample"].nunique(),
        }
    )
    made = with_q_values(made)
    return made.sort_values("p_value", kind="stable", ignore_index=True)


def _comparable(sums: Sums, sample: Labels) -> Floats:
    """Return counts over the ratio of expectations between the arms of a sample.

    The ratio is one on average within a sample, so counts keep their size and variance.
    """
    depth = sums.expected.sum(axis=1, keepdims=True)
    relative = sums.expected / depth
    adjusted = np.array(sums.counts, dtype=np.float64)
    for name in dict.fromkeys(sample):
        rows = np.flatnonzero(sample == name)
        typical = sums.expected[rows].sum(axis=0) / depth[rows].sum()
        known = relative[rows] > 0
        ratio = np.divide(typical, relative[rows], out=np.ones(known.shape), where=known)
        adjusted[rows] *= np.clip(ratio, 0.2, 5.0)
    return adjusted


def _undiluted(log2_fc: Floats, chance: float) -> Floats:
    """Return the fold change of attached pairs, if the others of the own pairs have none."""
    fold = 1 + (2.0**log2_fc - 1) / (1 - chance)
    return np.asarray(np.log2(np.maximum(fold, 2.0**-10)))


def _joined(tables: list[pd.DataFrame], lost: list[LeftOut]) -> pd.DataFrame:
    if not tables:
        what = "; ".join(f"{row['name']}: {row['reason']}" for row in lost)
        msg = (
            f"No genes can be tested. {what}. More lanes or wells give more pairs; lower min_own "
            "and min_cross only to look at the largest effects."
        )
        raise DesignError(msg)
    table = pd.concat(tables, ignore_index=True)
    table.attrs[LEFT_OUT] = [dict(row) for row in lost]
    return table
