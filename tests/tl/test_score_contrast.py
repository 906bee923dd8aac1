from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import MissingKeyError, NkscoreWarning, WrongScaleError
from nkscore.signatures import Signature

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared"


def contrast(values, genes=None):
    genes = [f"g{i}" for i in range(len(values))] if genes is None else genes
    return pd.DataFrame({"gene": genes, "log2_fc": np.asarray(values, dtype=float)})


def scored(table, sets=None, **options):
    return nk.tl.score_contrast(table, sets, **({"abundance": None} | options))


def test_by_hand():
    table = contrast([-4, -3, -2, -1, 0, 1, 2, 3])
    # Ranks 6, 7, 8 of 8 are at 3/8, 5/8, 7/8 between -1 and 1; 1 of 56 random sets reaches that.
    # That one comes in six orders, whose sums differ in the last bit.
    up = scored(table, {"x": ["g5", "g6", "g7"]}, min_genes=3, n_permutations=20_000).iloc[0]
    assert up["score"] == 0.625
    assert up["p_up"] == pytest.approx(1 / 56, abs=0.003)
    assert up["p_down"] == 1
    assert up["p_value"] == pytest.approx(2 * up["p_up"])
    assert (up["n_genes"], up["n_genes_in_set"]) == (3, 3)
    signed = {"x": Signature("x", ("g7",), ("g0", "absent"))}
    both = scored(table, signed, min_genes=2).iloc[0]
    assert both["score"] == 0.875
    assert (both["n_genes"], both["n_genes_in_set"]) == (2, 3)


def test_signs_turn_the_score():
    rng = np.random.default_rng(0)
    table = contrast(rng.normal(size=200))
    up, down = [f"g{i}" for i in range(20)], [f"g{i}" for i in range(20, 30)]
    one = scored(table, {"x": Signature("x", tuple(up), tuple(down))})
    turned = scored(table, {"x": Signature("x", tuple(down), tuple(up))})
    negative = scored(table.assign(log2_fc=-table["log2_fc"]), {"x": tuple(up)})
    plain = scored(table, {"x": tuple(up)})
    assert one["score"][0] == pytest.approx(-turned["score"][0])
    assert plain["score"][0] == pytest.approx(-negative["score"][0])


def test_other_rows_sets_and_contrasts_do_not_matter():
    rng = np.random.default_rng(0)
    table = pd.concat([contrast(rng.normal(size=200)).assign(line=line) for line in "ab"])
    table["mean"] = rng.integers(0, 50, 400)
    sets = {"x": [f"g{i}" for i in range(20)], "y": [f"g{i}" for i in range(50, 80)]}
    options = {"by": "line", "abundance": "mean", "n_permutations": 99}
    both = scored(table, sets, **options)
    shuffled = scored(table.sample(frac=1, random_state=1), sets, **options)
    order = ["line", "signature"]
    pd.testing.assert_frame_equal(
        both.sort_values(order, ignore_index=True), shuffled.sort_values(order, ignore_index=True)
    )
    alone = scored(table[table["line"] == "b"], {"y": sets["y"]}, **options)
    pd.testing.assert_frame_equal(alone, both.iloc[[3]].reset_index(drop=True))


def test_random_sets_have_uniform_p_values():
    rng = np.random.default_rng(1)
    table = contrast(rng.normal(size=1000))
    sets = {f"s{i}": list(rng.choice(table["gene"], 30, replace=False)) for i in range(200)}
    found = scored(table, sets, n_permutations=199)
    assert 0.01 <= (found["p_value"] <= 0.05).mean() <= 0.1
    assert found["p_up"].mean() == pytest.approx(0.5, abs=0.08)


def test_abundant_genes_are_compared_with_abundant_ones():
    rng = np.random.default_rng(2)
    abundance = np.exp(rng.normal(size=1000))
    table = contrast(rng.normal(size=1000) - np.log(abundance)).assign(mean=abundance)
    often = list(table.sort_values("mean")["gene"][-100:])
    sets = {"abundant": often[::3]}
    plain = scored(table, sets)
    matched = scored(table, sets, abundance="mean")
    assert plain["p_down"][0] < 0.005
    assert matched["p_down"][0] > 0.05


def test_contrasts_are_kept_apart():
    one = contrast(np.arange(-5.0, 5))
    table = pd.concat([one.assign(line="b"), one.assign(line="a", log2_fc=-one["log2_fc"])])
    found = scored(table, {"x": ["g7", "g8", "g9"], "few": ["g1"]}, by="line", min_genes=3)
    assert list(found["line"]) == ["b", "b", "a", "a"]
    assert found["score"][0] == pytest.approx(-found["score"][2])
    # Too few genes give no number rather than a bad one.
    few = found[found["signature"] == "few"]
    assert few[["score", "p_up", "p_down", "p_value"]].isna().all(axis=None)
    assert (few["n_genes"] == 1).all()


def test_of_repeated_genes_the_most_abundant_stays():
    values, genes = np.r_[-9, 9, np.nan, np.linspace(-1, 1, 100)], ["a", "a", "e"]
    table = contrast(values, genes + [f"g{i}" for i in range(100)]).assign(mean=1.0)
    table.loc[1, "mean"] = 2
    sets = {"x": ["a", "e"]}
    first = scored(table, sets, min_genes=1).iloc[0]
    most = scored(table, sets, min_genes=1, abundance="mean").iloc[0]
    assert first["score"] < -0.9
    assert most["score"] > 0.05
    # Without its value e is not counted.
    assert first["n_genes"] == most["n_genes"] == 1


def test_few_genes_with_abundance():
    table = contrast([-1, 2, 3, -2]).assign(mean=[1, 2, 3, 4])
    found = scored(table, {"x": ["g0"]}, min_genes=1, abundance="mean").iloc[0]
    # Each is alone with its abundance.
    assert (found["score"], found["p_value"]) == (0, 1)


def test_errors():
    table = contrast([-1, 0, 1])
    with pytest.raises(MissingKeyError, match=r"no column 'line'.*it has: gene, log2_fc"):
        scored(table, {"x": ["g0"]}, by="line")
    with pytest.raises(WrongScaleError, match="ranges from 0 to 2; signed values"):
        scored(contrast([0, 1, 2]), {"x": ["g0"]})
    with pytest.raises(WrongScaleError, match="numbers are needed"):
        scored(table.assign(log2_fc="high"), {"x": ["g0"]})


def test_published_persisters(shared):
    path = shared / "data/dhimolea2021_persister_de/dhimolea2021_deseq_11contrasts.csv.gz"
    parts = nk.signatures.dormancy_components()
    found = scored(
        pd.read_csv(path),
        {name: parts[name] for name in ("dormant_like", "myc")},
        gene="Symbol",
        value="log2FoldChange",
        by="contrast",
        n_permutations=199,
    ).set_index("signature")
    dormant, myc = found.loc["dormant_like"], found.loc["myc"].dropna(subset=["score"])
    assert len(dormant) == 11
    # All but cells sampled after wash-out of the drug (HCI0011).
    against = dormant["contrast"].str.startswith("HCI0011")
    assert (dormant["p_up"][~against] < 0.01).all()
    assert len(myc) == 10
    assert (myc["p_down"] < 0.05).sum() == 9


def test_rows_without_a_contrast_or_an_abundance():
    table = contrast([-4, -3, -2, -1, 0, 1, 2, 3]).assign(line="a", mean=5.0)
    sets = {"x": ["g5", "g6", "g7"]}
    unnamed = table.assign(line=table["line"].where(table["gene"] != "g7"))
    with pytest.raises(WrongScaleError, match=r"1 rows have no value of 'line'"):
        scored(unnamed, sets, by="line", min_genes=3)
    missing = table.assign(mean=table["mean"].where(table["gene"] != "g0"))
    pd.testing.assert_frame_equal(
        scored(missing, sets, abundance="mean", min_genes=3),
        scored(table[1:], sets, abundance="mean", min_genes=3),
    )
    for options in ({"min_genes": 0}, {"n_permutations": 0}):
        with pytest.raises(ValueError, match="is 0; a whole number"):
            scored(table, sets, **options)


@pytest.mark.parametrize(
    ("columns", "used"),
    [
        (["mean_log2_cpm", "pct_treated", "pct_control"], "mean_log2_cpm"),
        (["baseMean"], "baseMean"),
        (["AveExpr"], "AveExpr"),
        (["logCPM"], "logCPM"),
        (["pct.1", "pct.2"], "mean of pct.1 and pct.2"),
        (["pct_treated", "pct_control"], "mean of pct_treated and pct_control"),
    ],
)
def test_abundance_is_found(columns, used):
    rng = np.random.default_rng(0)
    level = rng.uniform(size=400)
    table = contrast(level - 0.5 + rng.normal(scale=0.1, size=400)).assign(
        **dict.fromkeys(columns, 0.9 * level)
    )
    sets = {"x": [f"g{i}" for i in np.argsort(-level)[:40]]}
    found = nk.tl.score_contrast(table, sets, n_permutations=199)
    assert found.attrs["abundance"] == used
    given = scored(table.assign(level=level), sets, abundance="level", n_permutations=199)
    pd.testing.assert_frame_equal(found, given, check_flags=False)
    # All genes of the set are up because they are abundant.
    assert abs(found["score"][0]) < 0.35
    assert scored(table, sets)["score"][0] > 0.8


def test_tables_without_abundance_say_so():
    table = contrast(np.arange(8.0) - 4).assign(pct=1.0, AveExpr="high")
    with pytest.warns(NkscoreWarning, match="no column of the mean expression") as caught:
        found = nk.tl.score_contrast(table, {"x": ["g5", "g6", "g7"]}, min_genes=3)
    assert caught[0].filename == __file__
    assert found.attrs["abundance"] == "none"


def test_published_myc_targets_are_not_up_for_being_abundant():
    file = SHARED / "data" / "dufva2023_target_de" / "697_expandedNK_vs_untreated.tsv.gz"
    if not file.exists():
        pytest.skip("the data of ../shared are not here")
    table = pd.read_csv(file, sep="\t")
    sets = nk.signatures.load(SHARED / "reference" / "hallmark_v2025_human.gmt")
    chosen = {
        name: sets[f"HALLMARK_{name}"] for name in ("MYC_TARGETS_V2", "INTERFERON_GAMMA_RESPONSE")
    }
    options = {"value": "avg_log2FC", "n_permutations": 199}
    matched = nk.tl.score_contrast(table, chosen, **options).set_index("signature")
    plain = scored(table, chosen, **options).set_index("signature")
    assert matched.attrs["abundance"] == "mean of pct.1 and pct.2"
    assert matched.loc["MYC_TARGETS_V2", "p_value"] > 0.2
    assert plain.loc["MYC_TARGETS_V2", "score"] > 0.08 > abs(matched.loc["MYC_TARGETS_V2", "score"])
    assert matched.loc["INTERFERON_GAMMA_RESPONSE", "p_up"] < 0.01
    # Most genes of V1 have counts in nearly all cells: their share says nothing of their abundance.
    first = {"V1": sets["HALLMARK_MYC_TARGETS_V1"], "V2": sets["HALLMARK_MYC_TARGETS_V2"]}
    with pytest.warns(NkscoreWarning, match=r"many genes of 'V1' are such genes \(n_unmatched\)"):
        found = nk.tl.score_contrast(table, first, **options).set_index("signature")
    unmatched = found["n_unmatched"] / found["n_genes"]
    assert unmatched["V1"] > 0.5
    assert 0 < unmatched["V2"] < 0.25
