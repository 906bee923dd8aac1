"""Posterior of the states of both cells of each pair, calibrated on in-silico pairs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from nkscore import schema
from nkscore._samples._matrices import counts_of
from nkscore._samples._samples import labels
from nkscore.errors import DesignError
from nkscore.stats.pooling._shrinkage import fit_shares
from nkscore.tl._contacts._evidence import lanes_of
from nkscore.tl._contacts._expectation import OWN
from nkscore.tl._contacts._pair_droplets import in_silico_pairs, observed_pairs, single_cells
from nkscore.tl._contacts._pair_profiles import nk_profiles, tumor_probabilities, tumor_profiles

if TYPE_CHECKING:
    from anndata import AnnData

    from nkscore._counts._base import Counts
    from nkscore._samples._pairs import LanePairs
    from nkscore._types import Bools, Floats, Labels
    from nkscore.tl._contacts._evidence import Lane
    from nkscore.tl._contacts._pair_droplets import Pairs
    from nkscore.tl._contacts._pair_profiles import NkProfiles, SingleCells, TumorProfiles

#: Powers of the likelihood that are tried, and fewest in-silico pairs to choose one.
_POWERS: Final = (0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_FEWEST: Final = 50
#: Single cells that the mean composition adds to that of a well; pairs that it adds to an arm.
_WELL_PRIOR, _ARM_PRIOR = 20.0, 10.0
_LEAST: Final = 1e-6
_NEEDED: Final = (
    ("obs", schema.NK_STATE, "tl.nk_states"),
    ("obsm", schema.NK_STATE_POSTERIOR, "tl.nk_states"),
    ("obs", schema.TUMOR_STATE, "tl.tumor_states"),
    ("obsm", schema.TUMOR_PROGRAMS, "tl.tumor_states"),
)


@dataclass(frozen=True, slots=True)
class SideFit:
    """One cell of each pair: ``likelihood`` (pairs × states, at the calibrated power).

    ``expected``: composition of the single cells of its well; ``posterior``; ``power``;
    ``states``, of NK cells with a last one, none.
    """

    states: list[str]
    likelihood: Floats
    expected: Floats
    posterior: Floats
    power: float
    n_in_silico: int


@dataclass(frozen=True, slots=True)
class PairFits:
    """All pairs whose wells are known, with the fit of both of their cells."""

    pairs: Pairs
    lanes: list[Lane]
    nk: SideFit
    tumor: SideFit


def fit_pairs(adata: AnnData, rng: np.random.Generator) -> PairFits:
    """Fit the states of the cells of all pairs."""
    for place, name, step in _NEEDED:
        schema.require(adata, place, [name], step)
    lanes = lanes_of(adata, rng=rng)
    answered = [lane.pairs for lane in lanes if lane.pairs is not None]
    if not answered:
        msg = f"No lane has pairs whose cells are known: {'; '.join(x.reason for x in lanes)}."
        raise DesignError(msg)
    cells = single_cells(adata, counts_of(adata))
    models = schema.recorded(adata, "pp.demultiplex", "pp.demultiplex")["models"]
    pairs = observed_pairs(adata, answered, models, cells)
    if not len(pairs.cells):
        msg = "No pair has two known wells. Call hashtags with method='mixture', or add lanes."
        raise DesignError(msg)
    return PairFits(pairs, lanes, *_both_sides(adata, answered, cells, pairs, rng))


def _both_sides(
    adata: AnnData,
    lanes: list[LanePairs],
    cells: SingleCells,
    pairs: Pairs,
    rng: np.random.Generator,
) -> tuple[SideFit, SideFit]:
    states, of_tumor = tumor_probabilities(adata)
    of_nk = _nk_probabilities(adata)
    # Profiles of one half of the tumor cells are tried on pairs of the other half.
    first = np.arange(adata.n_obs) % 2 == 0
    known = (cells.line < 0) | (~first & np.isfinite(of_tumor[:, 0]))
    known &= (cells.donor < 0) | np.isfinite(of_nk[:, 0])
    made = in_silico_pairs(adata, lanes, cells, known, rng)
    profiles = nk_profiles(adata, cells)
    nk = _Side(
        [*profiles.states, schema.UNASSIGNED], cells.counts, pairs, profiles, pairs.nk_sample
    )
    truth = of_nk[made.cells[:, 0]]
    compositions = _compositions(adata, cells.donor >= 0, of_nk)
    fit_nk = nk.fit(made, (profiles, made.nk_sample, truth), compositions)
    half = replace(cells, line=np.where(first, cells.line, -1))
    trial, final = (
        tumor_profiles(of, states, of_tumor, avoid=profiles.genes) for of in (half, cells)
    )
    truth = of_tumor[made.cells[:, 1]]
    compositions = _compositions(adata, cells.line >= 0, of_tumor)
    tumor = _Side(states, cells.counts, pairs, final, pairs.tumor_sample)
    fit_tumor = tumor.fit(made, (trial, made.tumor_sample, truth), compositions)
    return fit_nk, fit_tumor


@dataclass(frozen=True, slots=True)
class _Side:
    """The NK cells or the tumor cells of the pairs, and the profiles of their states."""

    states: list[str]
    counts: Counts
    pairs: Pairs
    profiles: NkProfiles | TumorProfiles
    sample: Labels

    def fit(
        self,
        made: Pairs,
        trial: tuple[NkProfiles | TumorProfiles, Labels, Floats],
        compositions: dict[str, Floats],
    ) -> SideFit:
        """Fit all pairs; ``trial``: profiles, samples and known states of in-silico pairs."""
        profiles, sample, truth = trial
        prior = _of_samples(sample, compositions)
        n = len(made.cells)
        power = 1.0
        if n >= _FEWEST:
            found = profiles.log_likelihood(made.counts(self.counts, profiles.genes), made.depths)
            power = max(_POWERS, key=lambda p: _log_score(found, prior, truth, p))
        log_likelihood = power * self.profiles.log_likelihood(
            self.pairs.counts(self.counts, self.profiles.genes), self.pairs.depths
        )
        likelihood = np.exp(log_likelihood - log_likelihood.max(axis=1, keepdims=True)) + _LEAST**2
        expected = _of_samples(self.sample, compositions)
        shift = _shift_of_arms(likelihood, expected, self.pairs.arm)
        joint = likelihood * expected * shift
        posterior = joint / joint.sum(axis=1, keepdims=True)
        return SideFit(self.states, likelihood, expected, posterior, power, n)


def _nk_probabilities(adata: AnnData) -> Floats:
    """Return the posterior of each NK state, and of none."""
    posterior = adata.obsm[schema.NK_STATE_POSTERIOR].to_numpy(dtype=np.float64)
    return np.column_stack([posterior, np.clip(1 - posterior.sum(axis=1), 0.0, 1.0)])


def _log_score(log_likelihood: Floats, prior: Floats, truth: Floats, power: float) -> float:
    """Return the mean log score of the posterior, for states that are known with probability."""
    joint = power * log_likelihood + np.log(prior)
    joint = joint - joint.max(axis=1, keepdims=True)
    log_p = joint - np.log(np.exp(joint).sum(axis=1, keepdims=True))
    return float((truth * np.maximum(log_p, -30.0)).sum(axis=1).mean())


def _compositions(adata: AnnData, here: Bools, probability: Floats) -> dict[str, Floats]:
    """Return the mean probability of each state in the single cells of each sample.

    The name "" stands for all samples.
    """
    known = here & np.isfinite(probability).all(axis=1)
    overall = probability[known].mean(axis=0) + _LEAST
    overall /= overall.sum()
    sample = labels(adata.obs, schema.SAMPLE)
    found = {"": overall}
    for name in {x for x in sample[known] if x is not None}:
        p = probability[known & (sample == name)]
        mixed = p.sum(axis=0) + _WELL_PRIOR * overall
        found[str(name)] = mixed / mixed.sum()
    return found


def _of_samples(sample: Labels, compositions: dict[str, Floats]) -> Floats:
    return np.array([compositions.get(str(name), compositions[""]) for name in sample])


def _shift_of_arms(likelihood: Floats, expected: Floats, arm: Labels) -> Floats:
    """Return how much more frequent each state is in an arm than in the wells of its pairs."""
    shift = np.ones_like(expected)
    for name in (OWN, ""):
        rows = arm == name if name else arm != OWN
        if rows.any():
            mean = expected[rows].mean(axis=0)
            shift[rows] = arm_share(likelihood[rows], mean, _ARM_PRIOR) / mean
    return shift


def arm_share(likelihood: Floats, expected: Floats, prior: float) -> Floats:
    """Return the share of each state in some pairs, by EM, with ``prior`` pairs as expected."""
    return fit_shares(likelihood, 1 + prior * expected)
