"""Library sizes of the samples that are compared with each other, from genes that all of them show.

Ratios of single samples leave out the genes that one of the two lacks, or take their zeros for half
a count: where one arm is shallower than the other, its ratios come out too high, and depth turns
into response. Here the samples of an arm are added up before ratios are taken, and the factor of a
sample is its share of counts in the genes that hardly differ between arms. Factors are those of
each line and its controls. They leave lines without a common scale, which an effect within a line
does not need, since its baseline has a term of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore.stats.linear._normalization import tmm_factors

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Labels
    from nkscore.stats.linear._design import Design


#: Counts per sample, on average over both arms, of a gene that is looked at.
_STEADY_COUNTS = 2.0
#: And in all: the share of an arm in fewer counts is too coarse.
_STEADY_TOTAL = 40.0
#: With fewer genes, their ratios say less than the total does.
_FEWEST_GENES = 30
#: Share of genes that are kept: those that differ least between the arms.
_KEPT = 0.7
#: Variance (natural logarithm, squared) of a gene between arms that is no response.
_BETWEEN = 0.05
#: Dispersion (variance over squared mean) by which genes of many counts are weighted down.
_BIOLOGICAL = 0.3
#: How often the genes are chosen anew, by the shares in those chosen before.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Factors:
    """``library``: effective library size of each sample; ``remarks``: what could not be done."""

    library: Floats
    remarks: tuple[str, ...]


def steady_genes(counts: Floats) -> Bools:
    """Return which genes have enough counts for their ratio to tell something (samples × genes).

    Totals over all samples are looked at: to ask for counts in one arm, or in some samples, would
    choose genes that are high there by chance.
    """
    enough = max(_STEADY_COUNTS * counts.shape[0], _STEADY_TOTAL)
    return np.asarray(counts.sum(axis=0) >= enough)


def steady_factors(counts: Floats, library: Floats, arm: Labels) -> Floats | None:
    """Return one factor per sample with geometric mean 1, or None with too few steady genes.

    Parameters
    ----------
    counts
        Samples × genes.
    library
        Total count of each sample, over all its genes.
    arm
        Arm of each sample. Of the genes with counts in most samples, those that differ least
        between the sums of the arms are kept; a sample's factor is its share of counts in them,
        highly expressed genes weighted down.
    """
    own = counts[:, steady_genes(counts)]
    if own.shape[1] < _FEWEST_GENES:
        return None
    own = own[:, _least_different(own, arm)]
    # Summed with weights, so that ribosomal genes are not most of the sum.
    kept = own @ (1 / (1 + _BIOLOGICAL * own.mean(axis=0)))
    if (kept <= 0).any():
        return None
    log_share = np.log(kept / library)
    return np.asarray(np.exp(log_share - log_share.mean()))


def _least_different(counts: Floats, arm: Labels) -> Bools:
    names = list(dict.fromkeys(arm))
    kept = np.ones(counts.shape[1], dtype=bool)
    if len(names) < 2:
        return kept
    sums = np.array([counts[arm == name].sum(axis=0) for name in names])
    total = sums.sum(axis=0)
    share = np.array([_median_share(one, total) for one in sums])
    for _ in range(_ROUNDS):
        # By how much an arm is off its share of a gene: its own counts would make lows look sure.
        part = (share / share.sum())[:, None]
        chance = total * part * (1 - part)
        off = np.square(sums - total * part) / (chance + _BETWEEN * np.square(chance))
        distance = off.mean(axis=0)
        kept = distance <= np.quantile(distance, _KEPT)
        share = sums[:, kept].sum(axis=1)
    return np.asarray(kept)


def _median_share(sums: Floats, total: Floats) -> float:
    """Return the median share of an arm in a gene, genes weighted by what they tell."""
    return _weighted_median(sums / total, total / (1 + _BETWEEN * total))


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(passed, passed[-1] / 2)])


def line_factors(counts: Floats, library: Floats, design: Design) -> Factors:
    """Return library sizes that are comparable within each line and its controls."""
    effective, remarks = library.astype(float).copy(), []
    for names, rows in lines_with_controls(design):
        factors = steady_factors(counts[rows], library[rows], arm_labels(design)[rows])
        if factors is None:
            number = int(steady_genes(counts[rows]).sum())
            remarks.append(
                f"{', '.join(names)}: {number} genes have {_STEADY_COUNTS:g} counts per sample; "
                f"{_FEWEST_GENES} are needed to compare their depth. Total counts are used."
            )
        else:
            effective[rows] = library[rows] * factors
    return Factors(effective, tuple(remarks))


def joint_factors(counts: Floats, library: Floats, design: Design) -> Factors:
    """Return library sizes that are comparable over all lines, for contrasts of baselines."""
    factors = steady_factors(counts, library, arm_labels(design))
    if factors is None:
        remark = (
            f"Fewer than {_FEWEST_GENES} genes have {_STEADY_COUNTS:g} counts per sample over all "
            "lines; their depth is compared by TMM."
        )
        return Factors(library * tmm_factors(counts, library), (remark,))
    return Factors(library * factors, ())


def arm_labels(design: Design) -> Labels:
    """Return a name for the arm of each sample; lines that share their controls share their arm."""
    arm = np.full(design.treated.size, "", dtype=object)
    for names, rows in lines_with_controls(design):
        arm[rows] = f"control {names[0]}"
        for name in names:
            own = design.members[name]
            arm[own[design.treated[own]]] = f"treated {name}"
    return arm


def lines_with_controls(design: Design) -> list[tuple[list[str], Ints]]:
    """Return the lines and their samples, those that share their controls together."""
    together: dict[tuple[int, ...], list[str]] = {}
    for name, rows in design.members.items():
        controls = tuple(rows[~design.treated[rows]].tolist())
        together.setdefault(controls, []).append(name)
    return [
        (names, np.unique(np.concatenate([design.members[name] for name in names])))
        for names in together.values()
    ]
