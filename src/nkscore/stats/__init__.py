"""Statistics on arrays: pseudobulk sums, linear models with shared variance, mixtures."""

from __future__ import annotations

from nkscore.stats._ambient import AmbientShare, ambient_share
from nkscore.stats._design import Design, response_design
from nkscore.stats._hashtags import HashtagMixture, hashtag_mixture
from nkscore.stats._htodemux import HtoDemux, htodemux
from nkscore.stats._linear import LinearFit, Test, fit_linear, moderated_test, squeeze_variances
from nkscore.stats._mixture import MarkerMixture, fit_marker_mixture, two_level_posterior
from nkscore.stats._normalization import log_cpm, tmm_factors
from nkscore.stats._pseudobulk import detected_fraction, group_sums
from nkscore.stats._separation import Markers, class_posterior, fit_concentration, marker_genes
from nkscore.stats._voom import voom

__all__ = [
    "AmbientShare",
    "Design",
    "HashtagMixture",
    "HtoDemux",
    "LinearFit",
    "MarkerMixture",
    "Markers",
    "Test",
    "ambient_share",
    "class_posterior",
    "detected_fraction",
    "fit_concentration",
    "fit_linear",
    "fit_marker_mixture",
    "group_sums",
    "hashtag_mixture",
    "htodemux",
    "log_cpm",
    "marker_genes",
    "moderated_test",
    "response_design",
    "squeeze_variances",
    "tmm_factors",
    "two_level_posterior",
    "voom",
]  # fmt: skip
