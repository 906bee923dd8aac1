"""Statistics on arrays: pseudobulk sums, linear models with shared variance, mixtures."""

from __future__ import annotations

from nkscore.stats._adjust import (
    benjamini_hochberg,
    holm,
    interval,
    placed_behind,
    standard_errors,
    with_interval,
    with_q_values,
)
from nkscore.stats.droplets._ambient import AmbientShare, ambient_share
from nkscore.stats.droplets._contact_excess import Excess, LaneEvidence, excess_of
from nkscore.stats.droplets._contamination import (
    Remainder,
    adjusted_p,
    log2_ratio_of_arms,
    relative_error,
    remaining_effect,
)
from nkscore.stats.droplets._hashtags import HashtagMixture, hashtag_mixture
from nkscore.stats.droplets._hashtags_fixed import FixedTags, fixed_tags
from nkscore.stats.droplets._htodemux import HtoDemux, htodemux
from nkscore.stats.droplets._pair_profiles import PairFit, PairModel, limits_of, pair_model
from nkscore.stats.droplets._separation import (
    MarkerCounts,
    Markers,
    class_posterior,
    fit_concentration,
    marker_genes,
    without_soup,
)
from nkscore.stats.guides._guides import GuideMixture, guide_mixture
from nkscore.stats.guides._perturbation import (
    fit_with_counting,
    interaction_design,
    means_without_replicates,
    target_design,
    without_replicates,
)
from nkscore.stats.guides._responders import Responders, responder_mixture
from nkscore.stats.linear._composition import CompositionFit, fit_composition
from nkscore.stats.linear._contrast import (
    contrast_of,
    is_estimable,
    joint_test,
    lines_of,
    needs_common_scale,
    pull_of,
    require_estimable,
    test_of_contrast,
    vectors_of_columns,
)
from nkscore.stats.linear._count_model import CountModel, fit_count_model
from nkscore.stats.linear._count_response import EffectTest, fit_count_response, test_of_arms
from nkscore.stats.linear._deseq2 import fit_deseq2
from nkscore.stats.linear._design import Design, design_of_formula, response_design
from nkscore.stats.linear._factors import joint_factors, line_factors
from nkscore.stats.linear._linear import (
    LinearFit,
    Test,
    fit_linear,
    moderated_test,
    squeeze_variances,
    without_zeros,
)
from nkscore.stats.linear._normalization import log_cpm, tmm_factors
from nkscore.stats.linear._response import exact_zero_samples, expressed_genes, fit_response
from nkscore.stats.linear._voom import voom
from nkscore.stats.markers._marker_cells import MarkerCells
from nkscore.stats.markers._marker_mixture import MarkerModel, marker_posterior
from nkscore.stats.markers._marker_presence import (
    fit_informed,
    fit_present_states,
    marker_agreement,
    with_doubt,
)
from nkscore.stats.outcomes._association import (
    Association,
    exact_test,
    rank_correlation,
    rank_sum,
)
from nkscore.stats.outcomes._clone_shares import (
    ENOUGH_CLONES,
    Drift,
    ShareTest,
    change_of_shares,
    fit_drift,
    wells_apart,
)
from nkscore.stats.outcomes._correlations import (
    GroupCorrelations,
    fisher_z,
    group_correlations,
)
from nkscore.stats.outcomes._decomposition import Decomposition, kitagawa, unit_spread
from nkscore.stats.outcomes._location import Shift, complete_blocks, shift_between, shift_within
from nkscore.stats.outcomes._overlap_weights import Balanced, overlap_weights
from nkscore.stats.outcomes._partial_ranks import partial_rank_correlation
from nkscore.stats.outcomes._rank_contrast import RankContrast, abundance_strata, rank_contrast
from nkscore.stats.outcomes._shares import detectable, dispersion, exact_share, excess_p
from nkscore.stats.outcomes._signals import SignalFit, fit_signals, shrunken_over_lines
from nkscore.stats.outcomes._stratified_ranks import exact_signed_rank, stratified_rank_p, tied
from nkscore.stats.outcomes._survival import CoxFit, cox_regression
from nkscore.stats.pooling._meta_analysis import (
    Pooled,
    between_variance,
    error_correlation,
    random_effects,
)
from nkscore.stats.pooling._pooling import FEWEST_GENES, pool_with_shared_variance
from nkscore.stats.pooling._rank_aggregation import robust_ranks, signed_z, stouffer
from nkscore.stats.pooling._shrinkage import Shrunk, adaptive_shrinkage
from nkscore.stats.programs._axes import AxisValues, axis_change, signed_axis
from nkscore.stats.programs._dormancy import (
    DORMANCY_EFFECTS,
    dormancy_index,
    relative_change,
    signed_mean,
)
from nkscore.stats.programs._level_fit import ProgramCounts, TwoLevels
from nkscore.stats.programs._program_counts import (
    GeneLevels,
    gene_levels,
    program_counts,
)
from nkscore.stats.programs._two_levels import two_level_posterior
from nkscore.stats.sums._pseudobulk import group_sums
from nkscore.stats.sums._welch import WelchTest, log_moments, welch_test

__all__ = [
    "DORMANCY_EFFECTS",
    "ENOUGH_CLONES",
    "FEWEST_GENES",
    "AmbientShare",
    "Association",
    "AxisValues",
    "Balanced",
    "CompositionFit",
    "CountModel",
    "CoxFit",
    "Decomposition",
    "Design",
    "Drift",
    "EffectTest",
    "Excess",
    "FixedTags",
    "GeneLevels",
    "GroupCorrelations",
    "GuideMixture",
    "HashtagMixture",
    "HtoDemux",
    "LaneEvidence",
    "LinearFit",
    "MarkerCells",
    "MarkerCounts",
    "MarkerModel",
    "Markers",
    "PairFit",
    "PairModel",
    "Pooled",
    "ProgramCounts",
    "RankContrast",
    "Remainder",
    "Responders",
    "ShareTest",
    "Shift",
    "Shrunk",
    "SignalFit",
    "Test",
    "TwoLevels",
    "WelchTest",
    "abundance_strata",
    "adaptive_shrinkage",
    "adjusted_p",
    "ambient_share",
    "axis_change",
    "benjamini_hochberg",
    "between_variance",
    "change_of_shares",
    "class_posterior",
    "complete_blocks",
    "contrast_of",
    "cox_regression",
    "design_of_formula",
    "detectable",
    "dispersion",
    "dormancy_index",
    "error_correlation",
    "exact_share",
    "exact_signed_rank",
    "exact_test",
    "exact_zero_samples",
    "excess_of",
    "excess_p",
    "expressed_genes",
    "fisher_z",
    "fit_composition",
    "fit_concentration",
    "fit_count_model",
    "fit_count_response",
    "fit_deseq2",
    "fit_drift",
    "fit_informed",
    "fit_linear",
    "fit_present_states",
    "fit_response",
    "fit_signals",
    "fit_with_counting",
    "fixed_tags",
    "gene_levels",
    "group_correlations",
    "group_sums",
    "guide_mixture",
    "hashtag_mixture",
    "holm",
    "htodemux",
    "interaction_design",
    "interval",
    "is_estimable",
    "joint_factors",
    "joint_test",
    "kitagawa",
    "limits_of",
    "line_factors",
    "lines_of",
    "log2_ratio_of_arms",
    "log_cpm",
    "log_moments",
    "marker_agreement",
    "marker_genes",
    "marker_posterior",
    "means_without_replicates",
    "moderated_test",
    "needs_common_scale",
    "overlap_weights",
    "pair_model",
    "partial_rank_correlation",
    "placed_behind",
    "pool_with_shared_variance",
    "program_counts",
    "pull_of",
    "random_effects",
    "rank_contrast",
    "rank_correlation",
    "rank_sum",
    "relative_change",
    "relative_error",
    "remaining_effect",
    "require_estimable",
    "responder_mixture",
    "response_design",
    "robust_ranks",
    "shift_between",
    "shift_within",
    "shrunken_over_lines",
    "signed_axis",
    "signed_mean",
    "signed_z",
    "squeeze_variances",
    "standard_errors",
    "stouffer",
    "stratified_rank_p",
    "target_design",
    "test_of_arms",
    "test_of_contrast",
    "tied",
    "tmm_factors",
    "two_level_posterior",
    "unit_spread",
    "vectors_of_columns",
    "voom",
    "welch_test",
    "wells_apart",
    "with_doubt",
    "with_interval",
    "with_q_values",
    "without_replicates",
    "without_soup",
    "without_zeros",
]
