"""Which states are in contact more often than their share of the single cells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
from scipy import special

from nkscore import schema
from nkscore._checks import check_confidence, check_whole, seed_of
from nkscore._samples._left_out import LEFT_OUT, left_out
from nkscore.errors import DesignError
from nkscore.stats import random_effects, with_q_values
from nkscore.tl._contacts._evidence import expected_of_samples
from nkscore.tl._contacts._expectation import OWN
from nkscore.tl._contacts._pair_fit import arm_share, fit_pairs

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._types import Floats, Labels
    from nkscore.tl._contacts._pair_fit import PairFits, SideFit

_STEP = "tl.contact_preferences"
#: Pairs with two tags that show the bias of the fractions.
_FEWEST_CROSS: Final = 30
#: Pairs of the expected composition that are added to those of a sample, and to the chance pairs.
_PRIOR, _CROSS_PRIOR = 2.0, 10.0
#: States that are rarer among the chance pairs give no answer.
_LEAST_SHARE: Final = 0.01
_LEAST_INFORMATION: Final = 0.1
_MOST_CHANCE: Final = 0.95


def contact_preferences(
    adata: AnnData,
    *,
    compartment: str = schema.NK,
    min_pairs: int = 10,
    confidence: float = 0.95,
    rng: int | np.random.Generator | None = 0,
) -> pd.DataFrame:
    """Test which states of the cells are in contact more or less often than others.

    The fraction of each state among the attached pairs of a sample is compared with its fraction
    among the single cells of the same well. Pairs with two tags, which formed by chance, show how
    far fractions in pairs are off by themselves. Samples are the replicates.

    Reads what :func:`pair_states` reads.

    Parameters
    ----------
    adata
        Cells × genes.
    compartment
        ``"nk"`` or ``"tumor"``: the cell of the pair whose states are compared.
    min_pairs
        Samples with fewer own pairs take no part.
    confidence
        Coverage of the intervals.
    rng
        Seed or generator, for in-silico pairs.

    Returns
    -------
    pd.DataFrame
        One row per state: ``state``, ``share_in_contact`` (mean over samples, of the attached
        pairs), ``share_of_singles``, ``log2_odds_ratio`` with ``se``, ``ci_low``, ``ci_high``,
        ``p_value``, ``q_value`` (NaN for states in less than 1 % of the pairs with two tags),
        ``n_samples``, ``n_pairs``, ``n_cross``. ``attrs["left_out"]`` lists the samples that take
        no part.

    Raises
    ------
    MissingKeyError
        If an earlier step was not run.
    DesignError
        If fewer than two samples have ``min_pairs`` own pairs, or there are fewer than 30 pairs
        with two tags.
    ValueError
        If an option is out of range.

    Notes
    -----
    Fractions by EM over the likelihoods of the pairs, not counts of calls. Chance pairs among the
    own ones are taken out by their expected share. Log odds ratios are pooled by random effects
    (Paule–Mandel, Hartung–Knapp); the error of the comparison with chance pairs is common to all
    samples. A state that contact induces and a state that prefers contact look alike.

    Examples
    --------
    >>> import nkscore as nk
    >>> planted = nk.datasets.Contacts(rate=0.15, states={"activated": 5.0})
    >>> adata = nk.datasets.simulate_coculture(
    ...     tumors=["K562", "697"], n_donors=2, n_cells_per_sample=400, doublets=0.1,
    ...     contacts=planted, rng=0,
    ... )
    >>> nk.pp.qc(adata)
    >>> nk.pp.demultiplex(adata)
    >>> nk.pp.compartments(adata)
    >>> nk.tl.nk_states(adata)
    >>> nk.tl.tumor_states(adata)
    >>> table = nk.tl.contact_preferences(adata)
    >>> table.sort_values("log2_odds_ratio")["state"].iloc[-1]
    'activated'
    """
    if compartment not in (schema.NK, schema.TUMOR_CELLS):
        msg = f"compartment is {compartment!r}; 'nk' or 'tumor' is needed."
        raise ValueError(msg)
    check_confidence(confidence)
    check_whole(2, min_pairs=min_pairs)
    fits = fit_pairs(adata, np.random.default_rng(seed_of(rng)))
    side = fits.nk if compartment == schema.NK else fits.tumor
    sample = fits.pairs.tumor_sample
    own = fits.pairs.arm == OWN
    names, n_own = np.unique(sample[own].astype(str), return_counts=True)
    used = names[n_own >= min_pairs]
    n_cross = int((~own).sum())
    _check(used, n_cross, min_pairs)
    few = n_own < min_pairs
    reasons = [f"{n} own pairs; {min_pairs} are needed" for n in n_own[few]]
    lost = left_out("sample", names[few], reasons)
    table = _table(fits, side, used, confidence=confidence)
    table["n_pairs"] = int(n_own[n_own >= min_pairs].sum())
    table["n_cross"] = n_cross
    table.attrs[LEFT_OUT] = [dict(row) for row in lost]
    return table


def _check(used: Labels, n_cross: int, min_pairs: int) -> None:
    if used.size < 2:
        msg = (
            f"{used.size} samples have {min_pairs} own pairs; two are needed, because samples are "
            "the replicates. Add wells or cells; min_pairs can be lowered to 2."
        )
        raise DesignError(msg)
    if n_cross < _FEWEST_CROSS:
        msg = (
            f"{n_cross} pairs with two tags of known wells; {_FEWEST_CROSS} are needed to see how "
            "far fractions in pairs are off by themselves. Add lanes."
        )
        raise DesignError(msg)


def _table(fits: PairFits, side: SideFit, used: Labels, *, confidence: float) -> pd.DataFrame:
    states = [*side.states]
    own, sample = fits.pairs.arm == OWN, fits.pairs.tumor_sample
    bias, bias_error = _bias(side, ~own)
    pairs = expected_of_samples(fits.lanes)
    chance = (pairs["expected"] / pairs["observed"].clip(lower=1.0)).to_dict()
    odds, error, seen = np.empty((3, len(states), used.size))
    singles = np.empty((len(states), used.size))
    for i, name in enumerate(used):
        rows = own & (sample == name)
        n = int(rows.sum())
        expected = side.expected[rows].mean(axis=0)
        found = arm_share(side.likelihood[rows], expected, _PRIOR)
        variance = _variance(side, rows, found)
        # The same bias acts on the fraction that chance alone would show.
        reference = special.expit(_logit(expected) + bias)
        part = min(chance.get(str(name), 0.0), _MOST_CHANCE)
        attached = np.clip((found - part * reference) / (1 - part), 0.5 / n, 1 - 0.5 / n)
        odds[:, i] = _logit(attached) - _logit(reference)
        slope = found * (1 - found) / (attached * (1 - attached)) / (1 - part)
        error[:, i] = np.sqrt(variance) * slope
        singles[:, i], seen[:, i] = expected, special.expit(_logit(expected) + odds[:, i])
    common = np.broadcast_to(bias_error[:, None], odds.shape)
    whole = np.sqrt(error**2 + common**2)
    pooled = random_effects(odds, whole, common=common, confidence=confidence)
    scale = np.log(2.0)
    table = pd.DataFrame(
        {
            "state": states,
            "share_in_contact": seen.mean(axis=1),
            "share_of_singles": singles.mean(axis=1),
            "log2_odds_ratio": pooled.effect / scale,
            "se": pooled.standard_error / scale,
            "ci_low": pooled.ci_low / scale,
            "ci_high": pooled.ci_high / scale,
            "p_value": pooled.p_value,
            "n_samples": used.size,
        }
    )
    table = table[table["state"] != schema.UNASSIGNED]
    return with_q_values(table.reset_index(drop=True))


def _bias(side: SideFit, cross: np.ndarray) -> tuple[Floats, Floats]:
    """Return how far the log odds of fractions in chance pairs are from their wells, with error."""
    expected = side.expected[cross].mean(axis=0)
    found = arm_share(side.likelihood[cross], expected, _CROSS_PRIOR)
    bias = _logit(found) - _logit(expected)
    bias[found < _LEAST_SHARE] = np.nan
    return bias, np.sqrt(_variance(side, cross, found))


def _variance(side: SideFit, rows: np.ndarray, found: Floats) -> Floats:
    """Return the variance of the log odds of fractions fitted by EM (Louis 1982)."""
    joint = side.likelihood[rows] * found
    p = joint / joint.sum(axis=1, keepdims=True)
    whole = found * (1 - found)
    known = 1 - (p * (1 - p)).mean(axis=0) / np.maximum(whole, 1e-12)
    n = int(rows.sum())
    return np.asarray(1 / ((n * whole + 0.5) * np.clip(known, _LEAST_INFORMATION, 1.0)))


def _logit(p: Floats) -> Floats:
    return np.asarray(special.logit(np.clip(p, 1e-6, 1 - 1e-6)))
