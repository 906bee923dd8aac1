"""How many NK and tumor cells were attached to each other when the lanes were pooled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_confidence, check_whole, seed_of
from nkscore._samples._samples import labels
from nkscore.errors import DesignError
from nkscore.stats import excess_of, holm
from nkscore.tl._contacts._evidence import lanes_of

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Bools
    from nkscore.stats import LaneEvidence
    from nkscore.tl._contacts._evidence import Lane

#: What the tags of a row could tell.
EXCESS, BOUND, NONE = "excess", "upper bound", "no answer"
_OF_SAMPLE: Final = (schema.TUMOR, schema.NK_DONOR)
_COUNTED: Final = ("n_samples", "n_droplets", "n_nk", "n_tumor", "n_own")
_ESTIMATED: Final = (
    *("expected_chance", "expected_leak", "recall", "excess", "ci_low", "ci_high"),
    *("per_100", "per_100_low", "per_100_high", "per_nk", "per_tumor", "p_value", "p_family"),
    *("n_cross", "leak_factor"),
)


def contacts(
    adata: AnnData,
    *,
    by: str = schema.SAMPLE,
    min_cells: int = 20,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Count NK–tumor pairs of one hashtag beyond those that chance and leaked tags make.

    Pairs with two hashtags formed after the wells were pooled: they give the rate of chance pairs.
    Pairs of one hashtag beyond that rate were attached to each other before.

    Reads ``obs["pair"]``, ``obs["compartment"]``, ``obs["hashtag"]``, ``obs["hashtag_class"]``,
    ``obs["lane"]`` and the columns of the samples, ``obsm["hashtags"]``, ``layers["counts"]``, and
    what ``pp.demultiplex`` and ``pp.compartments`` recorded. Run it before ``pp.keep``, or on the
    result of ``pp.keep(pairs=True)``.

    Parameters
    ----------
    adata
        Cells × genes.
    by
        What a row stands for: ``sample``, ``tumor``, ``nk_donor``, ``lane`` or another column that
        is constant in each sample.
    min_cells
        Samples with fewer single NK or single tumor cells give no answer.
    confidence
        Coverage of the intervals.
    rng
        Seed or generator, for in-silico pairs and draws.

    Returns
    -------
    pd.DataFrame
        One row per level of ``by`` (and ``tumor`` and ``nk_donor`` of samples):

        - ``n_samples``; ``n_droplets`` with one tag, ``n_nk`` and ``n_tumor`` single cells,
          ``n_own`` pairs of the tag and line of the well;
        - ``expected_chance`` and ``expected_leak``: own pairs expected by chance, and of pairs that
          lost a tag; ``recall``: share of a well's pairs that is recognized;
        - ``excess``: attached pairs, with ``ci_low`` and ``ci_high``; ``per_100``,
          ``per_100_low``, ``per_100_high``: the same per 100 droplets; ``per_nk``, ``per_tumor``:
          share of these cells in contact. Estimates below zero are noise around zero;
        - ``p_value``: one-sided, for more own pairs than expected; ``p_family``: adjusted over all
          rows (Holm), for any wrong call among them;
        - ``n_cross``: pairs with two tags in its lanes; ``leak_factor``: leak of tags that is seen
          over what the model of the tags predicts;
        - ``answer``: ``excess``, ``upper bound`` (the leak of tags cannot be seen; no p-value) or
          ``no answer``; ``reason``: why.

    Raises
    ------
    MissingKeyError
        If ``pp.demultiplex`` or ``pp.compartments`` was not run, or ``obs`` has no column ``by``.
    GeneCoverageError
        If fewer than 50 of the genes that recognized the pairs are in the data.
    DesignError
        If ``by`` has several values within a sample.
    ValueError
        If an option is out of range.

    Notes
    -----
    The excess is a lower bound of contacts in culture: those that came apart before pooling are
    lost. It also holds clumps from washing. Recall and leak come from in-silico pairs, sums of the
    RNA and tags of two single cells of the lane, called by the models that called the droplets; the
    leak is scaled by pairs with one tag whose line is that of another well. See
    ``docs/contacts.md``.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Contacts(rate=0.05)
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562", "697"], n_donors=2, n_cells_per_sample=400, contacts=planted, rng=0
    ... )
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> found = nk.tl.contacts(adata, by="tumor")
    >>> bool((found["p_family"] < 0.05).all())
    True
    """
    check_confidence(confidence)
    check_whole(1, min_cells=min_cells)
    seed = seed_of(rng)
    schema.require(adata, "obs", [by], "pp.demultiplex")
    lanes = lanes_of(adata, rng=np.random.default_rng(seed))
    units = pd.concat([_units(adata, lane, by, min_cells) for lane in lanes], ignore_index=True)
    names = sorted({str(name) for name in labels(units, by) if name is not None})
    rows = [
        _row(units[labels(units, by) == name], lanes, by, confidence=confidence, seed=seed)
        for name in names
    ]
    extra = _OF_SAMPLE if by == schema.SAMPLE else ()
    table = pd.DataFrame(rows, columns=[by, *extra, *_COUNTED, *_ESTIMATED, "answer", "reason"])
    known = dict.fromkeys(_ESTIMATED, np.float64) | dict.fromkeys(_COUNTED, np.int64)
    table = table.astype(known)
    table["p_family"] = holm(table["p_value"])
    return table


def _units(adata: AnnData, lane: Lane, by: str, min_cells: int) -> pd.DataFrame:
    """Return the wells of a lane that a result can be about, with what they could not tell."""
    wells = lane.wells.assign(lane=lane.lane, place=np.arange(len(lane.wells)))
    if by not in wells:
        of_sample = _constant(adata, by)
        wells[by] = [of_sample.get(name) for name in labels(wells, schema.SAMPLE)]
    for name in ("n_droplets", "n_nk", "n_tumor", "own"):
        if name not in wells:
            wells[name] = 0
    few = (wells["n_nk"] < min_cells) | (wells["n_tumor"] < min_cells)
    reasons = [
        lane.reason or (f"{nk} single NK and {tumor} single tumor cells; {min_cells} needed" * off)
        for nk, tumor, off in zip(wells["n_nk"], wells["n_tumor"], few, strict=True)
    ]
    wells["why"] = reasons
    condition = labels(wells, schema.CONDITION) if schema.CONDITION in wells else None
    known = np.array([name is not None for name in labels(wells, schema.SAMPLE)], dtype=bool)
    if condition is not None:
        known &= ~np.isin(condition.astype(str), [schema.TUMOR_MONO, schema.NK_MONO])
    return wells[known]


def _constant(adata: AnnData, by: str) -> dict[str, str]:
    """Return the value of a column in each sample."""
    pairs = adata.obs[[schema.SAMPLE, by]].dropna().astype(str).drop_duplicates()
    twice = pairs.loc[pairs[schema.SAMPLE].duplicated(), schema.SAMPLE]
    if len(twice):
        msg = (
            f"obs[{by!r}] has several values within sample {twice.iloc[0]!r}. by must name a "
            "column that is constant in each sample, like 'tumor'."
        )
        raise DesignError(msg)
    return dict(zip(pairs[schema.SAMPLE], pairs[by], strict=True))


def _row(
    units: pd.DataFrame, lanes: list[Lane], by: str, *, confidence: float, seed: int
) -> dict[str, object]:
    """Return one row of the result."""
    row: dict[str, object] = {by: str(units[by].iloc[0])}
    if by == schema.SAMPLE:
        row |= {name: units[name].iloc[0] for name in _OF_SAMPLE if name in units}
    asked = units[units["why"] == ""]
    counted = asked if len(asked) else units
    names = ("n_droplets", "n_nk", "n_tumor", "own")
    row |= dict(zip(_COUNTED[1:], (int(counted[name].sum()) for name in names), strict=True))
    row["n_samples"] = counted[schema.SAMPLE].nunique()
    why = "; ".join(dict.fromkeys(units.loc[units["why"] != "", "why"]))
    if not len(asked):
        return row | {"answer": NONE, "reason": why}
    if why:
        why = f"{len(units) - len(asked)} of {len(units)} wells excluded: {why}"
    used = [
        (lane.evidence, np.isin(np.arange(len(lane.wells)), places))
        for lane in lanes
        if (places := asked.loc[asked["lane"] == lane.lane, "place"].to_numpy()).size
        and lane.evidence is not None
    ]
    return row | _estimates(used, row, why, confidence=confidence, seed=seed)


def _estimates(
    used: list[tuple[LaneEvidence, Bools]],
    row: dict[str, object],
    why: str,
    *,
    confidence: float,
    seed: int,
) -> dict[str, object]:
    evidence, member = [lane for lane, _ in used], [wells for _, wells in used]
    rng = np.random.default_rng(seed)
    found = excess_of(evidence, member, rng=rng, confidence=confidence)
    expected = [lane.expected() for lane in evidence]
    chance = sum(float(x[0][wells].sum()) for x, wells in zip(expected, member, strict=True))
    leak = sum(float(x[1][wells].sum()) for x, wells in zip(expected, member, strict=True))
    recall = np.concatenate([lane.recall[wells] for lane, wells in used])
    visible = all(lane.leak_visible for lane in evidence)
    if not visible:
        unseen = "one line and no unmixed well in the lane: the leak of hashtags cannot be seen"
        why = f"{unseen}; {why}".rstrip("; ")
    n_droplets, n_nk, n_tumor = (float(str(row[name])) for name in _COUNTED[1:4])
    per_100 = 100 / max(n_droplets, 1)
    return {
        "expected_chance": chance,
        "expected_leak": leak,
        "recall": float(recall.mean()),
        "excess": found.excess,
        "ci_low": found.low if visible else np.nan,
        "ci_high": found.high,
        "per_100": found.excess * per_100,
        "per_100_low": found.low * per_100 if visible else np.nan,
        "per_100_high": found.high * per_100,
        "per_nk": found.excess / (n_nk + max(found.excess, 0.0)),
        "per_tumor": found.excess / (n_tumor + max(found.excess, 0.0)),
        "p_value": found.p_value if visible else np.nan,
        "n_cross": sum(lane.cross for lane in evidence),
        "leak_factor": float(np.mean([lane.leak_factor for lane in evidence])),
        "answer": EXCESS if visible else BOUND,
        "reason": why,
    }
