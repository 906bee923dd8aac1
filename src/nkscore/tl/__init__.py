"""Tools: scores, states, and what the interaction changed."""

from __future__ import annotations

from nkscore.tl._ambient_flag import flag_ambient
from nkscore.tl._cell_cycle import cell_cycle
from nkscore.tl._composition import state_fractions, state_shift
from nkscore.tl._embed import embed
from nkscore.tl._nk_states import nk_states
from nkscore.tl._response import interaction_response
from nkscore.tl._score import score
from nkscore.tl._score_null import score_null
from nkscore.tl._tumor_states import TumorProgram, tumor_states

__all__ = [
    "TumorProgram",
    "cell_cycle",
    "embed",
    "flag_ambient",
    "interaction_response",
    "nk_states",
    "score",
    "score_null",
    "state_fractions",
    "state_shift",
    "tumor_states",
]
