"""The one source of colors and printed names of levels."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: Cells drawn beneath the others.
BACKGROUND: Final = "#BFBFBF"
#: Missing values and cells without a level.
MISSING: Final = "#E2E2E2"
INK: Final = "#262626"
FAINT: Final = "#8A8A8A"
UP: Final = "#C8442B"
DOWN: Final = "#2B6CB0"
ACCENT: Final = "#E69F00"

_NK_STATE: Final = {
    "resting": "#33485F",
    "adaptive": "#7FB8DA",
    "activated": "#C63D1E",
    "type_i_ifn": "#8E4A9E",
    "cytokine": "#F2A93B",
    "early_activated": "#C2558A",
    "proliferating": "#1B8A5A",
    "cd56dim": "#A89F94",
    "cd56bright": "#C9B98A",
    "nk1": "#A89F94",
    "nk2": "#C9B98A",
    "nk3": "#7FB8DA",
    "memory_like": "#117A55",
    "stressed": "#8F9A3C",
    "dysfunctional": "#5B2A3C",
}
_TUMOR_STATE: Final = {
    "baseline": "#33485F",
    "low_myc_dormant_like": "#7FB8DA",
    "myc_high": "#333380",
    "cycling": "#1B8A5A",
    "cycling_s": "#9AD96A",
    "cycling_g2m": "#62D694",
    "quiescent_g0": "#1A1A1A",
    "senescence_like": "#6E9F42",
    "ifn_gamma_response": "#C63D1E",
    "type_i_ifn": "#8E4A9E",
    "nfkb": "#F2A93B",
    "mhc_i_high": "#8C63DB",
    "mhc_i_low": "#BFE3B4",
    "stress": "#C9B98A",
    "unfolded_protein_response": "#C9C04E",
    "apoptosis": "#5E8FE0",
}
#: Apart from the states of NK and tumor cells, which stand next to lineages in many figures.
_LINEAGE: Final = {
    "AML": "#3030A6",
    "AML/CML": "#3030A6",
    "CML": "#909DDE",
    "T-ALL": "#7E6F24",
    "BCL": "#99D5D5",
    "MM": "#B1C741",
    "B-ALL": "#A95F6C",
    "MCL": "#38204F",
    "DLBCL": "#99D5D5",
    "CLL": "#C1D599",
    "TCL": "#561919",
}
_PALETTES: Final[Mapping[str, Mapping[str, str]]] = {
    "nk_state": _NK_STATE,
    "tumor_state": _TUMOR_STATE,
    "state": {**_NK_STATE, **_TUMOR_STATE, "all": FAINT},
    "lineage": _LINEAGE,
    "compartment": {
        "nk": "#0B5FA5",
        "tumor": "#D1542A",
        "other": "#6CBF9C",
        "mixed": "#4A2A5E",
    },
    "condition": {
        "tumor_mono": "#4A5560",
        "nk_mono": "#6BB5E3",
        "coculture": "#C63D1E",
        "conditioned_medium": "#E8B33A",
    },
    "hashtag_class": {"singlet": "#0B5FA5", "doublet": "#D1542A", "negative": "#A6A6A6"},
    "qc_pass": {"True": "#5B7C99", "False": "#D1542A"},
}
# Levels without a fixed color take these in turn; neighbors differ in hue and lightness.
_SPARE: Final = (
    "#0B5FA5",
    "#E69F00",
    "#117A55",
    "#C63D1E",
    "#6BB5E3",
    "#D890C0",
    "#5B2A3C",
    "#A8C69F",
    "#8E4A9E",
    "#33485F",
    "#C9B98A",
    "#E58FB0",
    "#8F9A3C",
    "#D8785A",
    "#4FB3B0",
    "#5A3E8C",
    "#F0CF65",
    "#2F6B3A",
    "#9E2A4B",
    "#9DB4E0",
    "#6E6259",
    "#D9A0DC",
    "#1F8FA8",
    "#B8802B",
    "#A3D977",
    "#7A2F6B",
)
#: Cells to which a column does not apply, like tumor cells in ``nk_state``.
OUTSIDE: Final = "outside"
_MISSING_NAMES: Final = frozenset({"unassigned", "nan", "NaN", "None", "<NA>", "", OUTSIDE})

_NAMES: Final = {
    "tumor_mono": "Tumor alone",
    "nk_mono": "NK alone",
    "coculture": "Co-culture",
    "conditioned_medium": "Conditioned medium",
    "nk": "NK",
    "tumor": "Tumor",
    "other": "Other",
    "mixed": "Mixed (NK–tumor)",
    "unassigned": "Unassigned",
    OUTSIDE: "Other cells",
    "all": "All",
    "resting": "Resting",
    "adaptive": "Adaptive",
    "activated": "Activated",
    "type_i_ifn": "Type I IFN",
    "cytokine": "Cytokine",
    "early_activated": "Early activated",
    "proliferating": "Proliferating",
    "cd56dim": "CD56dim",
    "cd56bright": "CD56bright",
    "nk1": "NK1",
    "nk2": "NK2",
    "nk3": "NK3",
    "memory_like": "Memory-like",
    "stressed": "Stressed",
    "dysfunctional": "Dysfunctional",
    "baseline": "Baseline",
    "low_myc_dormant_like": "Low-MYC dormant-like",
    "myc_high": "MYC high",
    "cycling": "Cycling",
    "cycling_s": "Cycling, S phase",
    "cycling_g2m": "Cycling, G2/M phase",
    "quiescent_g0": "Quiescent (G0)",
    "senescence_like": "Senescence-like",
    "ifn_gamma_response": "IFN-γ response",
    "nfkb": "NF-κB",
    "mhc_i_high": "MHC I high",
    "mhc_i_low": "MHC I low",
    "stress": "Stress",
    "unfolded_protein_response": "Unfolded protein response",
    "apoptosis": "Apoptosis",
    "singlet": "Singlet",
    "doublet": "Doublet",
    "negative": "Negative",
}


def palette(column: str, levels: Iterable[object] = ()) -> dict[str, str]:
    """Return the color of each level of a column, the same in every figure.

    Parameters
    ----------
    column
        ``nk_state``, ``tumor_state``, ``lineage``, ``compartment``, ``condition`` or
        ``hashtag_class``; any other name has no fixed colors.
    levels
        Levels to color; none for the fixed colors of ``column``. Levels that have no fixed
        color take spare colors in natural order (``NK2`` before ``NK10``), so that the same
        levels always get the same colors. Missing values and ``unassigned`` are light gray.

    Returns
    -------
    dict
        Level to hexadecimal color, in the order given.

    Examples
    --------
    >>> import nkscore as nk
    >>> nk.pl.palette("compartment", ["nk", "tumor", "unassigned"])
    {'nk': '#0B5FA5', 'tumor': '#D1542A', 'unassigned': '#E2E2E2'}
    """
    fixed = _PALETTES.get(column, {})
    names = list(dict.fromkeys(str(level) for level in levels))
    if not names:
        return dict(fixed)
    spare = _spare_colors({fixed[name] for name in names if name in fixed})
    extra = sorted((n for n in names if n not in fixed and not is_missing(n)), key=natural_key)
    given = {name: spare[i % len(spare)] for i, name in enumerate(extra)}
    return {n: MISSING if is_missing(n) else fixed.get(n) or given[n] for n in names}


def _spare_colors(taken: set[str]) -> list[str]:
    return [color for color in _SPARE if color not in taken]


def default_order(column: str, levels: Iterable[str]) -> list[str]:
    """Return levels in the order of the palette of ``column``, unknown ones last."""
    ranks = {name: rank for rank, name in enumerate(_PALETTES.get(column, {}))}
    return sorted(levels, key=lambda name: (ranks.get(name, len(ranks)), natural_key(name)))


def is_missing(level: object) -> bool:
    """Whether a level means that there is no level."""
    return str(level) in _MISSING_NAMES


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Sort key under which ``NK2`` comes before ``NK10``."""
    parts = re.split(r"(\d+)", name)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p.casefold()) for p in parts if p]


def printed(level: object) -> str:
    """Return the level as it is printed in figures."""
    return _NAMES.get(str(level), str(level))


def shortened(names: Iterable[str], longest: int = 24) -> list[str]:
    """Cut long names in the middle, unless two of them would then look the same."""
    full = list(names)
    half = (longest - 1) // 2
    cut = [name if len(name) <= longest else f"{name[:half]}…{name[-half:]}" for name in full]
    return cut if len(set(cut)) == len(set(full)) else full


def is_dark(color: str) -> bool:
    """Whether white text is easier to read on ``color`` than black."""
    red, green, blue = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 0.55
