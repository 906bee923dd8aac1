"""Area under the viability curve, by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nkscore import tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

RATIOS = [0, 0.625, 1.25, 2.5, 5]


def _curve(viability, tumor="K562", replicate="1", ratios=RATIOS):
    return pd.DataFrame(
        {"tumor": tumor, "et_ratio": ratios, "viability": viability, "replicate": replicate}
    )


def test_trapezoids_by_hand():
    made = tl.sensitivity_auc(_curve([100, 80, 60, 40, 20]))
    area = 0.625 * 90 + 0.625 * 70 + 1.25 * 50 + 2.5 * 30
    np.testing.assert_allclose(made["auc"], area / 500)
    assert made[["n_replicates", "n_ratios", "max_ratio"]].values.tolist() == [[1, 5, 5.0]]
    assert made["ci_low"].isna().all()


def test_nothing_killed_is_one_and_the_missing_zero_is_untreated():
    made = tl.sensitivity_auc(_curve([1.0] * 4, ratios=RATIOS[1:]), unit="fraction")
    np.testing.assert_allclose(made["auc"], 1.0)


def test_intervals_over_replicates():
    tables = [_curve(np.full(5, v), replicate=str(r)) for r, v in enumerate([50, 60, 70])]
    made = tl.sensitivity_auc(pd.concat(tables)).iloc[0]
    np.testing.assert_allclose([made["auc"], made["se"]], [0.6, 0.1 / np.sqrt(3)])
    margin = scipy_stats.t.ppf(0.975, 2) * 0.1 / np.sqrt(3)
    np.testing.assert_allclose(made["ci_high"] - made["auc"], margin)


def test_range_that_all_lines_share():
    short = _curve([100, 50, 0], tumor="697", ratios=[0, 1, 2])
    both = pd.concat([short, _curve([100] * 5)])
    made = tl.sensitivity_auc(both).set_index("tumor")
    assert made["max_ratio"].unique().tolist() == [2.0]
    np.testing.assert_allclose(made.loc["697", "auc"], 0.5)
    assert list(made.index) == ["697", "K562"]
    wide = tl.sensitivity_auc(both, max_ratio=5).set_index("tumor")
    assert np.isnan(wide.loc["697", "auc"])
    np.testing.assert_allclose(wide.loc["K562", "auc"], 1.0)


def test_order_of_rows_does_not_matter():
    table = pd.concat([_curve([100, 80, 60, 40, 20]), _curve([100, 90, 90, 90, 90], tumor="697")])
    pd.testing.assert_frame_equal(tl.sensitivity_auc(table), tl.sensitivity_auc(table[::-1]))


def test_errors():
    good = _curve([100, 80, 60, 40, 20])
    with pytest.raises(MissingKeyError, match="no column 'et_ratio'"):
        tl.sensitivity_auc(good.drop(columns="et_ratio"))
    with pytest.raises(WrongScaleError, match="looks like a fraction"):
        tl.sensitivity_auc(good.assign(viability=good["viability"] / 100))
    with pytest.raises(WrongScaleError, match=r"Row 1 \(K562\) has viability = -1"):
        tl.sensitivity_auc(good.assign(viability=[100, -1, 1, 1, 1]))
    with pytest.raises(WrongScaleError, match="has viability = nan"):
        tl.sensitivity_auc(good.assign(viability=[100, np.nan, 1, 1, 1]))
    with pytest.raises(DesignError, match="max_ratio is 0"):
        tl.sensitivity_auc(good[good["et_ratio"] == 0])
    with pytest.raises(DesignError, match="at two ratios up to 9"):
        tl.sensitivity_auc(good, max_ratio=9)
    with pytest.raises(ValueError, match="'percent' or 'fraction'"):
        tl.sensitivity_auc(good, unit="%")


def test_hla_score_by_hand():
    genes = ["B2M", "HLA-A", "HLA-B", "HLA-C"]
    table = pd.DataFrame([[2.0, 4.0, 6.0, 8.0], [0.0] * 4], index=["a", "b"], columns=genes)
    made = tl.hla_score(table, offset=0)
    np.testing.assert_allclose(made["hla_i_score"], [5.0, 0.0])
    with pytest.raises(MissingKeyError, match="no column 'HLA-C'"):
        tl.hla_score(table.drop(columns="HLA-C"))


def test_rows_that_cannot_be_told_apart_are_not_lost(caplog):
    table = _curve([100, 80, 60, 40, 20])
    tl.sensitivity_auc(table)
    assert not caplog.records
    made = tl.sensitivity_auc(pd.concat([table, table.assign(viability=50)]))
    assert made["n_replicates"].tolist() == [1]
    assert "5 wells have the line, ratio and replicate of another" in caplog.text
    for column in ("tumor", "replicate"):
        lost = table.assign(**{column: [None, *table[column][1:]]})
        with pytest.raises(MissingKeyError, match=f"Row 0 has no {column}"):
            tl.sensitivity_auc(lost)
    with pytest.raises(WrongScaleError, match="100, which looks like percent"):
        tl.sensitivity_auc(table, unit="fraction")
    with pytest.raises(DesignError, match="has no rows"):
        tl.sensitivity_auc(table.iloc[:0])
    with pytest.raises(ValueError, match="confidence is 95"):
        tl.sensitivity_auc(table, confidence=95)


def test_hla_score_needs_logarithms_of_each_gene_once():
    genes = ["B2M", "HLA-A", "HLA-B", "HLA-C"]
    table = pd.DataFrame([[900.0, 80.0, 70.0, 60.0]], columns=genes)
    with pytest.raises(WrongScaleError, match=r"holds '900.0', which is not a log2 value"):
        tl.hla_score(table)
    with pytest.raises(WrongScaleError, match="holds 'high'"):
        tl.hla_score(table.astype(object).assign(B2M="high"))
    with pytest.raises(DesignError, match="several columns 'B2M'"):
        tl.hla_score(pd.concat([table, table[["B2M"]]], axis=1))
