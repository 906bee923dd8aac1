from __future__ import annotations

import itertools

import numpy as np
import pytest

from nkscore import _colors as _palettes
from nkscore import pl, schema, signatures

# Machado et al. 2009, severity 1.0, on linear RGB (doi:10.1109/TVCG.2009.113).
_VISION = {
    "normal": np.eye(3),
    "protan": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deutan": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
}


#: Labels by default, and the groups of programs that users call beside them.
_PROGRAMS = ["baseline", "unassigned", "low_myc_dormant_like", "cycling", "ifn_gamma_response"]
_CORE = ["myc_high", "cycling_s", "cycling_g2m", "quiescent_g0", "senescence_like"]
_RESPONSE = ["type_i_ifn", "nfkb", "mhc_i_high", "mhc_i_low"]
_STRESS = ["stress", "unfolded_protein_response", "apoptosis"]


def _lab(colors, vision):
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ np.array(_VISION[vision]).T, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    f = np.cbrt(seen @ np.array(to_xyz).T / [0.9505, 1, 1.089])
    return np.column_stack(
        [116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])]
    )


@pytest.mark.parametrize("vision", list(_VISION))
@pytest.mark.parametrize(
    ("column", "levels"),
    [
        ("nk_state", ["resting", "adaptive", "activated", "type_i_ifn", "cytokine", "unassigned"]),
        ("nk_state", ["resting", "cytokine", "early_activated", "activated", "type_i_ifn"]),
        (
            "nk_state",
            [
                "cd56dim",
                "cd56bright",
                "adaptive",
                "early_activated",
                "activated",
                "type_i_ifn",
                "cytokine",
                "unassigned",
            ],
        ),
        ("nk_state", ["nk1", "nk2", "nk3", "unassigned"]),
        ("nk_state", ["cd56dim", "cd56bright", "adaptive", "memory_like", "unassigned"]),
        ("nk_state", ["stressed", "dysfunctional", "unassigned"]),
        ("tumor_state", [*_PROGRAMS, *_CORE]),
        ("tumor_state", [*_PROGRAMS, *_RESPONSE]),
        ("tumor_state", [*_PROGRAMS, *_STRESS]),
        ("lineage", ["AML", "CML", "T-ALL", "BCL", "MM", "B-ALL"]),
        ("lineage", ["AML", "CML", "T-ALL", "BCL", "MM", "B-ALL", "MCL", "CLL", "TCL"]),
        ("condition", list(schema.CONDITIONS)),
        ("compartment", list(schema.COMPARTMENTS)),
        ("hashtag_class", list(schema.HASHTAG_CLASSES)),
        ("tumor", ["697", "GDM1", "JURKAT", "K562", "RI1"]),
    ],
)
def test_levels_can_be_told_apart(column, levels, vision):
    lab = _lab(pl.palette(column, levels).values(), vision)
    distances = [np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2)]
    assert min(distances) > 14


def test_lineages_and_states_do_not_share_colors():
    """Bars of states stand above dots of lineages."""
    lineages = _lab(pl.palette("lineage").values(), "normal")
    nk = ["resting", "adaptive", "activated", "type_i_ifn", "cytokine"]
    tumor = ["baseline", "low_myc_dormant_like", "cycling", "ifn_gamma_response"]
    states = [*pl.palette("nk_state", nk).values(), *pl.palette("tumor_state", tumor).values()]
    apart = np.linalg.norm(lineages[:, None] - _lab(states, "normal")[None], axis=2)
    assert apart.min() > 20


def test_every_level_of_the_vocabulary_has_a_color():
    assert set(schema.COMPARTMENTS) - {"unassigned"} <= set(pl.palette("compartment"))
    assert set(schema.CONDITIONS) <= set(pl.palette("condition"))
    assert set(schema.HASHTAG_CLASSES) == set(pl.palette("hashtag_class"))


def test_every_program_and_state_that_comes_with_nkscore_has_a_color():
    groups = signatures._programs.program_groups()
    named = {name for group in ("core", "response", "stress") for name in groups[group]}
    assert named <= set(pl.palette("tumor_state"))
    states = signatures._vocabularies.vocabularies()["state"]
    assert set(states) <= set(pl.palette("nk_state"))
    assert all(_palettes.printed(name) != name for name in (*named, *states))


def test_extra_levels_get_the_same_colors_in_any_order_and_leave_the_fixed_ones():
    one = pl.palette("nk_state", ["resting", "zeta", "alpha"])
    other = pl.palette("nk_state", ["alpha", "zeta", "resting"])
    assert one == other
    assert one["resting"] == pl.palette("nk_state")["resting"]
    assert len(set(one.values())) == 3


def test_a_spare_color_never_repeats_a_fixed_one():
    fixed = pl.palette("lineage")
    colors = pl.palette("lineage", [*fixed, *(f"new{i}" for i in range(8))])
    assert not set(list(colors.values())[len(fixed) :]) & set(fixed.values())


@pytest.mark.parametrize("level", [None, np.nan, "unassigned", ""])
def test_missing_levels_are_light_gray(level):
    assert pl.palette("tumor", [level, "K562"])[str(level)] == _palettes.MISSING


def test_26_lines_have_26_colors():
    assert len(set(pl.palette("tumor", [f"line{i}" for i in range(26)]).values())) == 26


def test_natural_order():
    names = ["NK10", "NK2", "nk1"]
    assert sorted(names, key=_palettes.natural_key) == ["nk1", "NK2", "NK10"]


def test_default_order_puts_unknown_levels_last():
    assert _palettes.default_order("lineage", ["XYZ", "B-ALL", "AML"]) == ["AML", "B-ALL", "XYZ"]


def test_long_names_are_cut_unless_they_become_the_same():
    assert _palettes.shortened(["K562", "a" * 20 + "b" * 20], 11) == ["K562", "aaaaa…bbbbb"]
    same = ["aaaaaa1bbbbbbb", "aaaaaa2bbbbbbb"]
    assert _palettes.shortened(same, 11) == same
