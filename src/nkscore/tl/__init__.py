"""Tools: scores, states, and what the interaction changed."""

from __future__ import annotations

from nkscore.signatures import TumorProgram
from nkscore.tl._cohorts._cohort_differences import cohort_differences
from nkscore.tl._cohorts._cohort_meta import cohort_meta_analysis
from nkscore.tl._cohorts._cohort_survival import cohort_survival
from nkscore.tl._cohorts._project_cohort import project_cohort
from nkscore.tl._cohorts._survival_curves import survival_curves
from nkscore.tl._composition._clone_fate import clone_fate
from nkscore.tl._composition._composition import state_fractions, state_shift
from nkscore.tl._composition._nk_activation import nk_activation
from nkscore.tl._composition._persistence import persistence, persisting_states
from nkscore.tl._contacts._contact_response import contact_response
from nkscore.tl._contacts._contacts import contacts
from nkscore.tl._contacts._pair_states import pair_states
from nkscore.tl._contacts._preferences import contact_preferences
from nkscore.tl._genes._guide_abundance import guide_abundance
from nkscore.tl._genes._join_screens import join_screens
from nkscore.tl._genes._perturbation_response import perturbation_response
from nkscore.tl._genes._perturbation_scores import perturbation_scores
from nkscore.tl._genes._perturbation_similarity import perturbation_similarity
from nkscore.tl._genes._responders import responders
from nkscore.tl._genes._screens import screen_hits
from nkscore.tl._lines._associate import associate
from nkscore.tl._lines._associate_by import associate_by
from nkscore.tl._lines._cytokine_response import cytokine_response
from nkscore.tl._lines._missing_self import hla_ligands, missing_self
from nkscore.tl._lines._multi_feature import multi_feature_model
from nkscore.tl._lines._sensitivity import hla_score, sensitivity_auc
from nkscore.tl._plan._plan_experiment import ExperimentPlan, plan_experiment
from nkscore.tl._response._ambient_flag import flag_ambient
from nkscore.tl._response._clone_expression import clone_expression
from nkscore.tl._response._communication import communication
from nkscore.tl._response._contrast import contrast
from nkscore.tl._response._core_response import core_response
from nkscore.tl._response._decompose_shift import decompose_shift
from nkscore.tl._response._doublet_sensitivity import doublet_sensitivity
from nkscore.tl._response._enrichment import enrichment
from nkscore.tl._response._marker_table import marker_table
from nkscore.tl._response._pseudobulk import pseudobulk
from nkscore.tl._response._response import interaction_response
from nkscore.tl._response._response_model import ResponseModel, response_model
from nkscore.tl._response._response_modules import response_modules
from nkscore.tl._response._response_score import response_score
from nkscore.tl._response._signal_activity import signal_activity
from nkscore.tl._response._specific_response import specific_response
from nkscore.tl._scores._cell_cycle import cell_cycle
from nkscore.tl._scores._score import score
from nkscore.tl._scores._score_contrast import score_contrast
from nkscore.tl._scores._score_null import score_null
from nkscore.tl._states._calibration import calibration
from nkscore.tl._states._depth_stability import depth_stability
from nkscore.tl._states._embed import embed
from nkscore.tl._states._explain import explain_state
from nkscore.tl._states._map_reference import map_reference
from nkscore.tl._states._nk_states import nk_states
from nkscore.tl._states._tumor_states import tumor_states
from nkscore.tl._states._visibility import visibility

__all__ = [
    "ExperimentPlan",
    "ResponseModel",
    "TumorProgram",
    "associate",
    "associate_by",
    "calibration",
    "cell_cycle",
    "clone_expression",
    "clone_fate",
    "cohort_differences",
    "cohort_meta_analysis",
    "cohort_survival",
    "communication",
    "contact_preferences",
    "contact_response",
    "contacts",
    "contrast",
    "core_response",
    "cytokine_response",
    "decompose_shift",
    "depth_stability",
    "doublet_sensitivity",
    "embed",
    "enrichment",
    "explain_state",
    "flag_ambient",
    "guide_abundance",
    "hla_ligands",
    "hla_score",
    "interaction_response",
    "join_screens",
    "map_reference",
    "marker_table",
    "missing_self",
    "multi_feature_model",
    "nk_activation",
    "nk_states",
    "pair_states",
    "persistence",
    "persisting_states",
    "perturbation_response",
    "perturbation_scores",
    "perturbation_similarity",
    "plan_experiment",
    "project_cohort",
    "pseudobulk",
    "responders",
    "response_model",
    "response_modules",
    "response_score",
    "score",
    "score_contrast",
    "score_null",
    "screen_hits",
    "sensitivity_auc",
    "signal_activity",
    "specific_response",
    "state_fractions",
    "state_shift",
    "survival_curves",
    "tumor_states",
    "visibility",
]
