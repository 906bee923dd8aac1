"""Which clones survive contact with NK cells, and where the winners come from."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from nkscore import schema
from nkscore._checks import check_columns, check_confidence, check_shares, check_single_rows
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore._samples._samples import arms, control_of, note_samples
from nkscore.errors import DesignError
from nkscore.stats import with_q_values
from nkscore.tl._composition._clone_counts import LineOfClones, clone_samples, lines_of_clones
from nkscore.tl._composition._clone_resistance import Resistance, resistance_of

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Bools, Floats, Labels, Level

_LOG = logging.getLogger("nkscore")
FATES: Final = ("eliminated", "shrunken", "steady", "grown", "unclear")
UNCLEAR: Final = FATES[-1]
_COLUMNS: Final = [
    "tumor",
    "clone",
    "fate",
    "log2_fc",
    "ci_low",
    "ci_high",
    "p_value",
    "q_value",
    "share_treated",
    "share_control",
    "n_cells_treated",
    "n_cells_control",
    "n_samples_treated",
    "n_samples_control",
    "detectable_loss",
    "p_value_wells",
    "reason",
    "resistance",
    "resistance_reason",
]


def clone_fate(
    adata: AnnData,
    key: str = schema.CLONE,
    *,
    treated: Level = schema.COCULTURE,
    control: Level | None = None,
    by: str | None = schema.TUMOR,
    condition: str = schema.CONDITION,
    compartment: str | None = schema.TUMOR_CELLS,
    min_cells: int = 20,
    steady: float = 2.0,
    split: pd.DataFrame | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
) -> pd.DataFrame:
    """Test for each clone whether its share of the cells changed by more than drift and sampling.

    Reads ``obs["clone"]`` (or ``key``), ``obs["sample"]``, ``obs["compartment"]``,
    ``obs["qc_pass"]`` and the columns named by the options.

    Parameters
    ----------
    adata
        Cells × genes.
    key
        Column of ``obs`` with what a cell inherits and keeps: barcodes (:func:`nkscore.io.\
read_clones`), genotypes, guides. Cells without a value are excluded.
    treated, control
        Levels of ``obs[condition]``; ``control`` is by default the monoculture of the compartment.
    by
        Column whose levels are analyzed separately (lines), or ``None`` for all together. A clone
        name that occurs in several lines is a clone of each.
    condition
        Column of the arms.
    compartment
        ``"tumor"``, another level of ``obs["compartment"]``, or ``None`` for all cells.
    min_cells
        Wells with fewer cells of known clone are excluded.
    steady
        A clone is steady if its interval excludes this fold change, up and down. Winners, for
        ``resistance``, grow by at least as much.
    split
        Table of ``tl.decompose_shift(adata, score, key, stable=True)``, whose change of each clone
        is added as ``selection`` and ``induction``.
    alpha
        Largest q-value of a change, and largest adjusted p-value of a well that stands out.
    confidence
        Coverage of the intervals, 0 to 1.

    Returns
    -------
    One row per line × clone, the largest in monoculture first: ``tumor`` (the level of ``by``),
    ``clone``, ``fate`` (``eliminated``: shrunken, and no cell is left; ``shrunken``; ``steady``;
    ``grown``; ``unclear``), ``log2_fc`` of its share, ``ci_low``, ``ci_high`` (endless if an arm
    has no cell), ``p_value``, ``q_value`` (Benjamini-Hochberg over all rows), ``share_treated``,
    ``share_control``, ``n_cells_treated``, ``n_cells_control``, ``n_samples_treated``,
    ``n_samples_control`` (wells), ``detectable_loss`` (smallest loss, as fold, that would be found
    at ``alpha`` in 80 % of experiments; infinite if only near-complete loss; missing if not even
    that), ``p_value_wells`` (that one treated well has more of the clone than drift between wells
    allows), ``reason`` (why unclear); and of the line ``resistance`` (``before``: the same clones
    win in every treated well; ``acquired``: clones win in single wells, beyond drift, and none does
    in the control wells; ``both``; ``unclear``) with ``resistance_reason``.

    ``attrs["drift"]`` has one row per line and arm: ``founders`` (number of cells whose random
    choice would explain the drift) and ``growth_cv`` (coefficient of variation of growth between
    wells). ``attrs["left_out"]`` lists what has no row.

    Raises
    ------
    DesignError
        If an arm is empty, no line has two clones, or no well has enough cells of known clone.
    MissingKeyError
        If a column is absent.
    ValueError
        If a number is out of range.

    Notes
    -----
    Wells are the replicates. Drift between the wells of an arm is estimated over all clones, as the
    sum of a Dirichlet-multinomial and a negative binomial variance. With one well in an arm it is
    unknown, and every clone ``unclear``: one odd well looks like a change of all clones.
    A share is relative: if a large clone dies, all others grow. See ``docs/clones.md``.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Clones(n=8, log2_fc=-3.0, changed=0.25)
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562"], n_cells_per_sample=200, n_genes=4000, clones=planted, rng=0
    ... )
    >>> nk.datasets.use_truth(adata)
    >>> table = nk.tl.clone_fate(adata, "truth_clone")
    >>> set(table.loc[table["q_value"] < 0.05, "fate"]) <= {"eliminated", "shrunken", "grown"}
    True
    """
    check_confidence(confidence)
    check_shares(alpha=alpha)
    if not steady > 1:
        msg = f"steady is {steady}; a fold change above 1 is needed, for example 2."
        raise ValueError(msg)
    control = control_of(compartment, condition=condition, control=control)
    samples, clones = clone_samples(
        adata, key, by=by, condition=condition, compartment=compartment, min_cells=min_cells
    )
    column = by or "all"
    samples = arms(samples, treated=treated, control=control, by=column, column=condition)
    lines = lines_of_clones(samples, clones, by=column)
    usable = [line for line in lines if line.clones.size > 1]
    _require_clones(usable, key)
    parts = [_fates(line, alpha=alpha, confidence=confidence) for line in usable]
    table = with_q_values(pd.concat(parts, ignore_index=True))
    table = _with_fates(table, steady=steady, alpha=alpha)
    table = _with_resistance(table, usable, steady=steady, alpha=alpha)
    table = _with_split(table[_COLUMNS], split)
    table.attrs["drift"] = [row for line in usable for row in line.drift_rows()]
    lost = [line.name for line in lines if line.clones.size < 2]
    single = left_out("line", lost, ["one clone, whose share is always 1"] * len(lost))
    table.attrs[LEFT_OUT] = [*samples.left_out, *single]
    samples = replace(samples, left_out=(*samples.left_out, *single))
    return note_samples(table, samples, step="tl.clone_fate", by=by)


def _require_clones(usable: list[LineOfClones], key: str) -> None:
    if not usable:
        msg = (
            f"No line has two clones in obs[{key!r}]; the share of a single clone is always 1. "
            "Name the column of barcodes, genotypes or guides with key, or pool lines with by=None."
        )
        raise DesignError(msg)
    names = pd.Series([clone for line in usable for clone in line.clones])
    shared = names[names.duplicated()].unique()
    if shared.size:
        _LOG.warning(
            "%d clones are in several lines and count separately in each (a shared library, or "
            "cells assigned to the wrong line): %s",
            shared.size,
            ", ".join(map(str, shared[:5])),
        )


def _fates(line: LineOfClones, *, alpha: float, confidence: float) -> pd.DataFrame:
    """Return the rows of a line, without what depends on the other lines."""
    treated, control = line.counts
    n = [part.sum(axis=0).astype(int) for part in line.counts]
    shares = [part / total.sum() for part, total in zip(n, line.totals, strict=True)]
    made = pd.DataFrame(
        {
            "tumor": line.name,
            "clone": line.clones,
            "share_treated": shares[0],
            "share_control": shares[1],
            "n_cells_treated": n[0],
            "n_cells_control": n[1],
            "n_samples_treated": treated.shape[0],
            "n_samples_control": control.shape[0],
        }
    )
    found = line.test(alpha, confidence)
    if found is None:
        empty = ["log2_fc", "ci_low", "ci_high", "p_value", "detectable_loss", "p_value_wells"]
        made[empty] = np.nan
        made["log2_fc"] = line.plain_change()
        why = f"one {line.single()} well: how much wells differ by drift is not known"
        return _sorted(made.assign(reason=why))
    # A clone that could not be called even with all its cells in one arm is not a test.
    few = found.least_p >= alpha
    made["log2_fc"], made["ci_low"], made["ci_high"] = found.log2_fc, found.ci_low, found.ci_high
    made["p_value"] = np.where(few, np.nan, found.p_value)
    made["detectable_loss"] = found.detectable_loss
    made["p_value_wells"] = line.apart()[0].min(axis=0)
    cells = made["n_cells_treated"] + made["n_cells_control"]
    words = [
        f"{number} cells, too few for any call" if hit else ""
        for number, hit in zip(cells, few, strict=True)
    ]
    return _sorted(made.assign(reason=words))


def _sorted(made: pd.DataFrame) -> pd.DataFrame:
    return made.sort_values(
        ["share_control", "share_treated", "clone"], ascending=[False, False, True]
    )


def _with_fates(table: pd.DataFrame, *, steady: float, alpha: float) -> pd.DataFrame:
    """Name the fate of each clone, and why it is unclear."""
    called = (table["q_value"] < alpha).to_numpy()
    up = (table["log2_fc"] > 0).to_numpy()
    gone = (table["n_cells_treated"] == 0).to_numpy()
    known = table["p_value"].notna().to_numpy()
    within = (table["ci_low"] > -np.log2(steady)) & (table["ci_high"] < np.log2(steady))
    level = [called & ~up & gone, called & ~up, called, known & within.to_numpy()]
    fate = np.select(level, ["eliminated", "shrunken", "grown", "steady"], default=UNCLEAR)
    open_ends = (fate == UNCLEAR) & known
    words = _open_words(table, open_ends, steady, alpha)
    reason = np.where(open_ends, words, table["reason"].to_numpy(dtype=object))
    return table.assign(fate=pd.Categorical(fate, categories=list(FATES)), reason=reason)


def _open_words(table: pd.DataFrame, rows: Bools, steady: float, alpha: float) -> Labels:
    """Say of clones without a call what is not excluded."""
    words = np.full(len(table), "", dtype=object)
    low, high = table["ci_low"].to_numpy(), table["ci_high"].to_numpy()
    apart = (table["p_value_wells"] < alpha).to_numpy()
    for i in np.flatnonzero(rows):
        sides = [
            name
            for name, hit in (
                (f"a {steady:g}-fold loss", low[i] <= -np.log2(steady)),
                (f"a {steady:g}-fold gain", high[i] >= np.log2(steady)),
            )
            if hit
        ]
        words[i] = f"{' and '.join(sides)} not excluded"
        if apart[i]:
            words[i] += "; treated wells differ"
    return words


def _with_resistance(
    table: pd.DataFrame, lines: list[LineOfClones], *, steady: float, alpha: float
) -> pd.DataFrame:
    found: dict[str, Resistance] = {}
    for line in lines:
        rows = table[table["tumor"] == line.name].set_index("clone")
        # Where a large clone dies, all others grow a little; that is no resistance.
        won = (rows["fate"] == "grown") & (rows["log2_fc"] >= np.log2(steady))
        grown = won.reindex(line.clones).to_numpy(dtype=bool)
        found[line.name] = resistance_of(line, grown, alpha)
    return table.assign(
        resistance=[found[name].call for name in table["tumor"]],
        resistance_reason=[found[name].reason for name in table["tumor"]],
    )


def _with_split(table: pd.DataFrame, split: pd.DataFrame | None) -> pd.DataFrame:
    """Add what each clone contributes to a change of a score."""
    if split is None:
        return table
    advice = "Pass the table of tl.decompose_shift(..., stable=True)."
    check_columns(split, ["tumor", "component", "stratum", "change"], advice, what="split")
    keys = ["tumor", "stratum"]
    for name in ("selection", "induction"):
        part = split[(split["component"] == name) & (split["stratum"] != "all")]
        check_single_rows(part, keys, "Pass one table.", what="split")
        if part.empty:
            msg = f"split has no component {name!r} of single clones. {advice}"
            raise DesignError(msg)
        change: dict[tuple[str, str], float] = {
            (str(row["tumor"]), str(row["stratum"])): float(row["change"])
            for row in part.to_dict("records")
        }
        values: Floats = np.array(
            [
                change.get((line, clone), np.nan)
                for line, clone in zip(table["tumor"], table["clone"], strict=True)
            ]
        )
        table = table.assign(**{name: values})
    return table
