from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nkscore.errors import DesignError
from nkscore.stats import fit_linear, response_design


def _design(rows, **options):
    """Design of rows (treated, group, replicate)."""
    treated, group, replicate = zip(*rows, strict=True)
    return response_design(
        np.array(treated, dtype=bool),
        np.array(group, dtype=object),
        np.array(replicate, dtype=object),
        **options,
    )


def _effects(rows, y, **options):
    made = _design(rows, **options)
    fit = fit_linear(np.atleast_2d(y), made.matrix, np.ones((1, len(rows))))
    return {name: fit.coefficients[0, column] for name, column in made.effects.items()}


#: Two lines, three donors; donor 3 is far away from the others. Effects: A 2, B 5.
PAIRED = [(t, line, donor) for line in "AB" for donor in ("d1", "d2", "d3") for t in (0, 1)]
PAIRED_Y = np.array(
    [
        {"A": 2.0, "B": 5.0}[line] * t + {"A": 1, "B": -1}[line] + {"d3": 50}.get(donor, 0)
        for t, line, donor in PAIRED
    ]
)


def test_matched_donors_are_compared_with_themselves():
    made = _design(PAIRED)
    assert made.blocked
    assert made.confounded == ()
    # 12 samples − 2 baselines − 2 effects − 2 × 2 donors
    assert made.df_residual == 4
    effects = _effects(PAIRED, PAIRED_Y)
    assert effects == pytest.approx({"A": 2, "B": 5})
    # Donors differ by 50, so that the fit without them has a large residual.
    fit = fit_linear(PAIRED_Y[None], made.matrix, np.ones((1, 12)))
    assert fit.variance[0] == pytest.approx(0, abs=1e-20)


def test_unmatched_replicates_are_no_blocks():
    rows = [(t, "A", f"{t}{i}") for t in (0, 1) for i in range(3)]
    made = _design(rows)
    assert not made.blocked
    assert made.columns == ("baseline:A", "treated:A")
    assert made.df_residual == 4


def test_replicates_that_are_not_known():
    made = _design([(t, "A", None) for t in (0, 0, 1, 1)])
    assert not made.blocked
    assert made.df_residual == 2


def test_controls_without_a_group_are_a_baseline_for_all():
    rows = [(0, None, "d1"), (0, None, "d2"), (0, None, "d3")]
    rows += [(1, line, donor) for line in "AB" for donor in ("d1", "d2", "d3")]
    donor = {"d1": 0, "d2": 10, "d3": -30}
    y = np.array([donor[d] + {None: 1, "A": 3, "B": 0}[g] for _, g, d in rows], dtype=float)
    made = _design(rows)
    assert made.blocked
    assert made.columns[:3] == ("baseline:shared", "treated:A", "treated:B")
    assert made.df_residual == 9 - 5
    assert _effects(rows, y) == pytest.approx({"A": 2, "B": -1})


def test_a_group_named_like_the_baseline():
    rows = [(t, "shared", d) for d in ("d1", "d2") for t in (0, 1)]
    rows += [(t, "B", d) for d in ("d1", "d2") for t in (0, 1)]
    assert set(_design(rows).effects) == {"shared", "B"}


LABELS = ["κ line 1", "K-562/x", "a b", "Ω"]


def test_labels_of_any_kind():
    rows = [(t, g, d) for g in LABELS for d in ("dönor 1", "d:2", "d,3") for t in (0, 1)]
    lanes = ["lane 0", *(f"lane {i % 2}" for i in range(len(rows) - 1))]
    made = _design(rows, covariates={"lane name": lanes})
    assert list(made.effects) == LABELS
    assert [made.columns[j] for j in made.effects.values()] == [f"treated:{g}" for g in LABELS]
    assert "covariate:lane name:lane 1" in made.columns


_MIXED = [
    # two matched donors, one in the controls only, two among the treated only
    (0, "A", "d1"),
    (1, "A", "d1"),
    (0, "A", "d2"),
    (1, "A", "d2"),
    (0, "A", "d3"),
    (1, "A", "d4"),
    (1, "A", "d5"),
    (0, "B", "d1"),
    (1, "B", "d1"),
    (0, "B", "d9"),
    (1, "B", "d8"),
]


@pytest.mark.parametrize("rows", [PAIRED, _MIXED, [(t, "A", None) for t in (0, 1, 0, 1, 1)]])
def test_order_of_samples_changes_no_effect(rows):
    rng = np.random.default_rng(0)
    y, age = rng.normal(size=len(rows)), rng.normal(size=len(rows))
    expected = _effects(rows, y, covariates={"age": list(age)})
    for _ in range(20):
        order = rng.permutation(len(rows))
        found = _effects([rows[i] for i in order], y[order], covariates={"age": list(age[order])})
        assert found == pytest.approx(expected, rel=1e-9)


def test_replicates_of_one_arm_still_count():
    made = _design(_MIXED)
    assert made.blocked
    assert sum(name.startswith("replicate") for name in made.columns) == 1
    y = np.zeros(len(_MIXED))
    y[6] = 1.0
    assert _effects(_MIXED, y)["A"] != 0


def test_donors_that_coincide_with_the_treatment():
    # One donor per arm: no replicate is in both, so nothing is matched, and none is left over.
    with pytest.raises(DesignError, match=r"2 samples and 2 coefficients leave no residual.*Add"):
        _design([(0, "A", "d1"), (1, "A", "d2")])


def test_batches_that_coincide_with_the_treatment():
    rows = [(t, "A", None) for t in (0, 0, 1, 1)]
    with pytest.raises(DesignError, match=r"cannot be distinguished.*covariate:lane:2.*coincide"):
        _design(rows, covariates={"lane": ["1", "1", "2", "2"]})


def test_only_the_confounded_group_is_lost():
    rows = [(t, g, None) for g in "AB" for t in (0, 0, 1, 1)]
    lanes = ["1", "1", "2", "2", "1", "2", "1", "2"]
    # The lane is known from line B, so that line A, whose arms are in one lane each, can be told.
    assert _design(rows, covariates={"lane": lanes}).confounded == ()
    lanes = ["1", "1", "2", "2", "3", "3", "3", "3"]
    made = _design(rows, covariates={"lane": lanes})
    assert made.confounded == ("A",)
    assert list(made.effects) == ["B"]
    # 8 samples; rank: baselines 2, effects 2 (the lanes add nothing that these do not span)
    assert made.df_residual == 4


@pytest.mark.parametrize("arm", [0, 1])
def test_one_arm_only(arm):
    with pytest.raises(DesignError, match="cannot be distinguished from the other terms"):
        _design([(arm, "A", "d1"), (arm, "A", "d2"), (arm, "A", "d3")])


def test_constant_covariate():
    with pytest.raises(DesignError, match=r"'age' has the same value \(3\) in all"):
        _design(PAIRED, covariates={"age": [3] * 12})


@pytest.mark.parametrize("missing", [None, float("nan"), np.nan, float("inf")])
@pytest.mark.parametrize("rest", [[1.0, 2.0], ["a", "b"]])
def test_covariate_with_gaps(missing, rest):
    with pytest.raises(DesignError, match="'age' is missing or infinite in some samples"):
        _design(PAIRED, covariates={"age": [missing, *(rest * 6)][:12]})


def test_covariate_that_is_missing_everywhere():
    for gap in (np.nan, pd.NA, None):
        with pytest.raises(DesignError, match="is missing"):
            _design(PAIRED, covariates={"age": [gap] * 12})


@pytest.mark.parametrize("unit", [1e-12, 1.0, 1e12])
def test_units_of_a_covariate_decide_nothing(unit):
    age = np.array([3.0, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8])
    y = np.random.default_rng(0).normal(size=12)
    made = _design(PAIRED, covariates={"age": list(age * unit)})
    assert made.df_residual == 3
    found = _effects(PAIRED, y, covariates={"age": list(age * unit)})
    assert found == pytest.approx(_effects(PAIRED, y, covariates={"age": list(age)}), rel=1e-8)


def test_numbers_are_slopes_and_labels_are_levels():
    numeric = _design(PAIRED, covariates={"x": [1, 2, 3] * 4})
    assert "covariate:x" in numeric.columns
    text = _design(PAIRED, covariates={"x": ["1", "2", "3"] * 4})
    assert {"covariate:x:2", "covariate:x:3"} <= set(text.columns)
    truth = _design(PAIRED, covariates={"x": [True, False, False] * 4})
    assert "covariate:x:False" in truth.columns
