"""Effective library sizes from the genes that differ least between the arms.

Ratios between single samples ignore the genes that one of the two lacks, or count their zeros as
half a count. If one arm is shallower than the other, its ratios are then too high, and depth turns
into response. Here ratios are taken between the sums of the arms, and the factor of a sample is its
share of counts in the steady genes.

Which contrast needs which factors:

- Treated against control within a line: factors within that line and its controls
  (:func:`line_factors`). Lines then have no common scale. An effect within a line does not need
  one, and neither does a difference of such effects between lines.
- Baseline of one line against another: factors over all lines, on genes that all of them express
  (:func:`joint_factors`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nkscore.stats.linear._normalization import tmm_factors

if TYPE_CHECKING:
    from nkscore._types import Bools, Floats, Ints, Labels
    from nkscore.stats.linear._design import Design


#: A steady gene has this many counts per sample, on average over both arms.
_STEADY_COUNTS = 2.0
#: And this many in total: with fewer, the share of an arm is too coarse.
_STEADY_TOTAL = 40.0
#: With fewer genes, total counts are the better library size.
_FEWEST_GENES = 30
#: Share of genes that are kept: those that differ least between the arms.
_KEPT = 0.7
#: Variance (natural logarithm, squared) of a gene between arms that is no response.
_BETWEEN = 0.05
#: Dispersion (variance over squared mean) that limits the weight of highly expressed genes.
_BIOLOGICAL = 0.3
#: Rounds of selecting the genes; each uses the shares in the genes selected before.
_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Factors:
    """``library``: effective library size of each sample; ``remarks``: what could not be done."""

    library: Floats
    remarks: tuple[str, ...]


def steady_genes(counts: Floats) -> Bools:
    """Return the genes with enough counts for an informative ratio (samples × genes).

    The rule uses totals over all samples: asking for counts in one arm, or in some samples, would
    select genes that are high there by chance.
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
        Arm of each sample. The genes that differ least between the sums of the arms are kept. The
        factor of a sample is its share of counts in them; highly expressed genes have less weight.
    """
    own = counts[:, steady_genes(counts)]
    if own.shape[1] < _FEWEST_GENES:
        return None
    own = own[:, _least_different(own, arm)]
    # With weights, so that ribosomal genes do not dominate the sum.
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
        # The variance is the expected one: with observed counts, low counts would look too precise.
        part = (share / share.sum())[:, None]
        chance = total * part * (1 - part)
        off = np.square(sums - total * part) / (chance + _BETWEEN * np.square(chance))
        distance = off.mean(axis=0)
        kept = distance <= np.quantile(distance, _KEPT)
        share = sums[:, kept].sum(axis=1)
    return np.asarray(kept)


def _median_share(sums: Floats, total: Floats) -> float:
    """Return the median share of an arm in a gene, weighted by the information of each gene."""
    return _weighted_median(sums / total, total / (1 + _BETWEEN * total))


def _weighted_median(values: Floats, weights: Floats) -> float:
    order = np.argsort(values, kind="stable")
    passed = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(passed, passed[-1] / 2)])


def line_factors(counts: Floats, library: Floats, design: Design) -> Factors:
    """Return library sizes that are comparable within each line and its controls."""
    effective, remarks = library.astype(float).copy(), []
    arm = arm_labels(design)
    for names, rows in lines_with_controls(design):
        factors = steady_factors(counts[rows], library[rows], arm[rows])
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
    """Return the name of each sample's arm; lines with common controls share the control arm."""
    if design.arm is not None:
        return design.arm
    arm = np.full(design.treated.size, "", dtype=object)
    for names, rows in lines_with_controls(design):
        arm[rows] = f"control {names[0]}"
        for name in names:
            own = design.members[name]
            arm[own[design.treated[own]]] = f"treated {name}"
    return arm


def lines_with_controls(design: Design) -> list[tuple[list[str], Ints]]:
    """Return the lines and their samples, with lines that share their controls combined."""
    together: dict[tuple[int, ...], list[str]] = {}
    for name, rows in design.members.items():
        controls = tuple(rows[~design.treated[rows]].tolist())
        together.setdefault(controls, []).append(name)
    return [
        (names, np.unique(np.concatenate([design.members[name] for name in names])))
        for names in together.values()
    ]
