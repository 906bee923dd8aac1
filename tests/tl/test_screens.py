"""Pooled screens: signs, hits, and several screens together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats as scipy_stats

from nkscore import datasets, io, stats, tl
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError

SHARED = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "mageck_outputs"


def _table(**columns):
    base = {
        "gene": ["NCR3LG1", "HLA-E", "ACTB", "NonTargeting_1"],
        "log2_fc": [2.0, -1.5, 0.1, 3.0],
        "p_value": [1e-6, 1e-5, 0.5, 1e-9],
        "q_value": [4e-6, 2e-5, 0.5, 4e-9],
    }
    return pd.DataFrame(base | columns)


def _null(rng, n=3000):
    z = rng.normal(size=n)
    p = 2 * scipy_stats.norm.sf(np.abs(z))
    names = [f"G{i}" for i in range(n)]
    return pd.DataFrame({"gene": names, "log2_fc": z, "p_value": p, "q_value": 1.0})


def test_signs_of_loss_and_gain():
    hits = tl.screen_hits(
        {"ko": _table(), "act": _table()}, perturbation={"ko": "loss", "act": "gain"}
    ).set_index(["screen", "gene"])
    assert hits.loc[("ko", "NCR3LG1"), ["effect", "role"]].tolist() == ["protects", "activating"]
    assert hits.loc[("ko", "HLA-E"), ["effect", "role"]].tolist() == ["sensitizes", "inhibitory"]
    assert hits.loc[("act", "NCR3LG1"), ["effect", "role"]].tolist() == ["protects", "inhibitory"]
    assert hits.loc[("act", "HLA-E"), "role"] == "activating"


def test_hits_categories_and_controls():
    hits = tl.screen_hits(_table()).set_index("gene")
    assert hits["hit"].to_dict() == {
        "NCR3LG1": True,
        "HLA-E": True,
        "ACTB": False,
        "NonTargeting_1": False,
    }
    assert hits["is_control"].sum() == 1
    assert hits.loc["HLA-E", "category"] == "antigen presentation"
    assert tl.screen_hits(_table(), min_log2_fc=1.8)["hit"].sum() == 1
    assert tl.screen_hits(_table(), max_q=None, max_p=5e-6)["hit"].sum() == 1
    z = (2.0 - np.mean([2, -1.5, 0.1, 3])) / np.std([2, -1.5, 0.1, 3], ddof=1)
    np.testing.assert_allclose(hits.loc["NCR3LG1", "log2_fc_z"], z)


def test_one_sided_p_values_are_those_of_the_side():
    sides = {
        "p_depleted": [0.9, 0.01, 0.5, 1],
        "q_depleted": [1.0, 0.02, 1, 1],
        "p_enriched": [0.001, 0.99, 0.4, 0],
        "q_enriched": [0.004, 1, 1, 0],
    }
    hits = tl.screen_hits(_table(**sides), sided="one").set_index("gene")
    assert hits.loc[["NCR3LG1", "HLA-E"], "p_value"].tolist() == [0.001, 0.01]
    with pytest.raises(MissingKeyError, match="of MAGeCK RRA"):
        tl.screen_hits(_table(), sided="one")


@pytest.mark.parametrize("method", ["stouffer", "rank"])
def test_planted_genes_are_found_and_nothing_else(method):
    rng = np.random.default_rng(0)
    screens = {}
    for name in ("a", "b", "c", "d"):
        table = _null(rng)
        sign = 1 if name != "d" else -1
        table.loc[:4, "log2_fc"] = 4.5 * sign
        table.loc[:4, "p_value"] = 2 * scipy_stats.norm.sf(4.5)
        screens[name] = table
    kinds = {"a": "loss", "b": "loss", "c": "loss", "d": "gain"}
    joined = tl.join_screens(tl.screen_hits(screens, perturbation=kinds), method=method)
    found = joined[joined["q_value"] < 0.05]
    assert set(found["gene"]) >= {f"G{i}" for i in range(5)}
    assert len(found) <= 6
    assert set(found["role"].iloc[:5]) == {"activating"}


@pytest.mark.parametrize("method", ["stouffer", "rank"])
def test_nothing_is_found_where_nothing_is_planted(method):
    rng = np.random.default_rng(1)
    hits = tl.screen_hits({name: _null(rng) for name in "abc"})
    joined = tl.join_screens(hits, method=method)
    assert (joined["q_value"] < 0.05).sum() == 0
    assert (joined["p_value"] < 0.05).mean() < 0.06


def test_stouffer_by_hand():
    joined = tl.join_screens(tl.screen_hits({"a": _table(), "b": _table()})).set_index("gene")
    z = scipy_stats.norm.isf(1e-5 / 2) * 2 / np.sqrt(2)
    np.testing.assert_allclose(joined.loc["HLA-E", "combined"], -z)
    np.testing.assert_allclose(joined.loc["HLA-E", "p_value"], 2 * scipy_stats.norm.sf(z))
    assert joined.loc["HLA-E", ["role", "n_inhibitory", "n_screens"]].tolist() == [
        "inhibitory",
        2,
        2,
    ]
    assert "NonTargeting_1" not in joined.index
    assert "NCR3" in joined.loc["NCR3LG1", "nk_receptors"]
    assert joined.loc["NCR3LG1", "published_effect"] == "protects"


def test_p_value_zero_is_not_infinite_evidence():
    zero = _table(p_value=[0.0, 1e-5, 0.5, 1.0])
    joined = tl.join_screens(tl.screen_hits({"a": zero, "b": zero})).set_index("gene")
    z = scipy_stats.norm.isf(0.5e-5 / 2) * np.sqrt(2)
    np.testing.assert_allclose(joined.loc["NCR3LG1", "combined"], z)


def test_random_effects_need_errors_and_use_them():
    with pytest.raises(MissingKeyError, match="need the column 'se'"):
        tl.join_screens(tl.screen_hits({"a": _table(), "b": _table()}), method="random_effects")
    table = _table(se=[0.5, 0.5, 0.5, 0.5])
    both = {"a": table, "b": table, "c": table.assign(log2_fc=table["log2_fc"] + 0.3)}
    made = tl.join_screens(tl.screen_hits(both), method="random_effects").set_index("gene")
    np.testing.assert_allclose(made.loc["NCR3LG1", "combined"], 2.1)
    # Differences below the errors: no variance between screens, t with two degrees of freedom.
    p = 2 * scipy_stats.t.sf(2.1 / (0.5 / np.sqrt(3)), 2)
    np.testing.assert_allclose(made.loc["NCR3LG1", "p_value"], p)


def test_response_beside_the_screens():
    response = pd.DataFrame(
        {
            "gene": ["HLA-E", "HLA-E", "NCR3LG1"],
            "tumor": ["a", "b", "a"],
            "log2_fc": [1.0, 3.0, -0.2],
            "q_value": [0.01, 0.2, 0.9],
        }
    )
    hits = tl.screen_hits({"a": _table(), "b": _table()})
    joined = tl.join_screens(hits, response=response).set_index("gene")
    columns = ["response_log2_fc", "n_lines_tested", "n_lines_up", "n_lines_down"]
    assert joined.loc["HLA-E", columns].tolist() == [2.0, 2, 1, 0]
    assert joined.loc["ACTB", "n_lines_tested"] == 0


def _axes(**columns):
    base = {
        "tumor": ["a", "a", "b", "b", "a"],
        "nk_state": "all",
        "nk_gene": ["KLRC1", "KLRC2", "KLRC1", "KLRC2", "CD226"],
        "tumor_gene": ["HLA-E", "HLA-E", "HLA-E", "HLA-E", "ACTB"],
        "score": [10.0, 8.0, 14.0, 9.0, 5.0],
        "log2_fc": [2.0, 0.1, 1.0, -1.0, 3.0],
        "q_value": [0.01, 0.5, 0.2, 0.01, 0.001],
        "ambient_suspect": [False, False, False, False, True],
    }
    return pd.DataFrame(base | columns)


def test_axis_beside_the_screens():
    hits = tl.screen_hits({"a": _table(), "b": _table()})
    columns = ["axis_receptor", "axis_score", "axis_log2_fc"]
    counts = ["n_lines_axis", "n_lines_axis_up", "n_lines_axis_down"]
    joined = tl.join_screens(hits, communication=_axes()).set_index("gene")
    assert joined.loc["HLA-E", columns + counts].tolist() == ["KLRC1", 12.0, 1.5, 2, 1, 1]
    # Not expressed, or expressed by NK cells and found around tumor cells: no active axis.
    for gene in ("NCR3LG1", "ACTB"):
        assert joined.loc[gene, "axis_receptor"] == ""
        assert np.isnan(joined.loc[gene, "axis_score"])
        assert joined.loc[gene, counts].tolist() == [0, 0, 0]
    other = tl.join_screens(hits, communication=_axes().iloc[::-1]).set_index("gene")
    pd.testing.assert_frame_equal(joined, other)
    # A line counts once however many NK states it was split into.
    states = pd.concat([_axes(nk_state="x"), _axes(nk_state="y", q_value=1.0)])
    split = tl.join_screens(hits, communication=states).set_index("gene")
    assert split.loc["HLA-E", counts].tolist() == [2, 1, 1]
    with pytest.raises(
        MissingKeyError, match=r"no column 'log2_fc', 'ambient_suspect'.*engine='model'"
    ):
        tl.join_screens(hits, communication=_axes().drop(columns=["ambient_suspect", "log2_fc"]))


def test_axis_of_simulated_cells():
    adata = datasets.simulate_coculture(n_cells_per_sample=40, rng=0)
    datasets.use_truth(adata)
    axes = tl.communication(adata)
    gene = axes.loc[~axes["ambient_suspect"], "tumor_gene"].iloc[0]
    table = _table(gene=[gene, "NOTAGENE", "ACTB", "NonTargeting_1"])
    joined = tl.join_screens(tl.screen_hits({"a": table, "b": table}), communication=axes)
    row = joined.set_index("gene").loc[gene]
    own = axes[(axes["tumor_gene"] == gene) & (axes["nk_gene"] == row["axis_receptor"])]
    np.testing.assert_allclose(row["axis_score"], own["score"].mean())
    assert row["n_lines_axis"] == own["tumor"].nunique()
    assert joined.set_index("gene").loc["NOTAGENE", "n_lines_axis"] == 0


def test_ranks_by_hand():
    ranks = np.array([[0.1, 0.2, 0.9], [0.1, np.nan, np.nan], [np.nan] * 3])
    # Of three: 1 - 0.9³, 3·0.2² - 2·0.2³, 0.9³; the least times three.
    np.testing.assert_allclose(stats.robust_ranks(ranks), [3 * 0.104, 0.1, np.nan])


@pytest.mark.parametrize("sign", [1, -1])
def test_screens_of_different_size_are_ranked_from_their_own_top(sign):
    """The best of ten and of four genes: 0.25² twice (two screens), and twice (two directions)."""
    tables = {}
    for name, n in (("ten", 10), ("four", 4)):
        effect = sign * np.linspace(3, -3, n)
        p = np.linspace(0.01, 0.9, n // 2)
        p = np.concatenate([p, p[::-1]])
        genes = [f"G{i}" for i in range(n)]
        tables[name] = pd.DataFrame({"gene": genes, "log2_fc": effect, "p_value": p, "q_value": p})
    made = tl.join_screens(tl.screen_hits(tables), method="rank").set_index("gene")
    np.testing.assert_allclose(made.loc["G0", "p_value"], 0.25)
    assert made.loc["G0", "role"] == ("activating" if sign > 0 else "inhibitory")


def test_a_missing_fold_change_has_no_side():
    hits = tl.screen_hits({"K562": _table(log2_fc=[np.nan, -1.5, 0.0, 3.0])}).set_index("gene")
    assert hits.loc["NCR3LG1", ["effect", "role", "hit"]].tolist() == ["", "", False]
    assert hits.loc["ACTB", ["effect", "role", "hit"]].tolist() == ["", "", False]
    assert hits.loc["HLA-E", "role"] == "inhibitory"


def test_screens_by_name_and_number():
    hits = tl.screen_hits({1: _table(), 2: _table()}, perturbation={1: "loss", 2: "gain"})
    assert hits.groupby("screen")["perturbation"].first().tolist() == ["loss", "gain"]
    made = tl.join_screens(hits, screens="1", min_screens=1)
    assert (made["n_screens"] == 1).all()
    with pytest.raises(MissingKeyError, match="There is no screen K562; there are 1, 2"):
        tl.join_screens(hits, screens="K562")
    with pytest.raises(DesignError, match=r"several rows for screen '1', gene .*; one is needed"):
        tl.join_screens(pd.concat([hits, hits]))


def test_tables_that_are_no_screens():
    with pytest.raises(ValueError, match="max_q is 5; a number from 0 to 1"):
        tl.screen_hits({"a": _table()}, max_q=5)
    with pytest.raises(WrongScaleError, match=r"q_value = 7.0 for 'NCR3LG1'"):
        tl.screen_hits({"a": _table(q_value=[7.0, 0.1, 0.1, 0.1])})
    with pytest.raises(WrongScaleError, match="p_value = low for 'NCR3LG1'"):
        tl.screen_hits({"a": _table(p_value=["low"] * 4)})
    with pytest.raises(DesignError, match="1 rows without a gene"):
        tl.screen_hits({"a": _table(gene=["A", None, "B", "C"])})


def test_errors():
    with pytest.raises(MissingKeyError, match="no column 'q_value'"):
        tl.screen_hits(_table().drop(columns="q_value"))
    with pytest.raises(DesignError, match="holds 'ACTB' twice"):
        tl.screen_hits(pd.concat([_table(), _table().iloc[2:3]]))
    with pytest.raises(DesignError, match="'screen' is empty"):
        tl.screen_hits(_table().iloc[:0])
    with pytest.raises(DesignError, match="Screen 'a' has the perturbation None"):
        tl.screen_hits({"a": _table()}, perturbation={"b": "loss"})
    hits = tl.screen_hits(_table())
    with pytest.raises(DesignError, match="1 screens are given"):
        tl.join_screens(hits)
    with pytest.raises(MissingKeyError, match="no screen zz; there are screen"):
        tl.join_screens(hits, screens=["zz"])
    mouse = _table(gene=["Ncr3lg1", "H2-D1", "Actb", "NonTargeting_1"])
    with pytest.raises(
        DesignError, match=r"No gene is in 2 of the screens.*b: Ncr3lg1.*orthologs="
    ):
        tl.join_screens(tl.screen_hits({"a": _table(), "b": mouse}))
    with pytest.raises(WrongScaleError, match=r"'a' has p_value = 1.5 for 'ACTB'.*0 to 1"):
        tl.screen_hits({"a": _table(p_value=[0.1, 0.2, 1.5, 0.3])})
    with pytest.raises(ValueError, match="one of stouffer, rank, random_effects"):
        tl.join_screens(hits, method="mean")


@pytest.mark.skipif(not SHARED.exists(), reason="../shared/data/mageck_outputs is not here")
@pytest.mark.filterwarnings("ignore::nkscore.errors.NkscoreWarning")
def test_real_t_cell_screen():
    """T cells kill through MHC class I: its loss protects, the other way than from NK cells."""
    table = io.read_mageck(SHARED / "rra.gene_summary.txt", orthologs="same_symbol")
    hits = tl.screen_hits(table).set_index("gene")
    for gene in ("B2M", "JAK1", "STAT1", "IFNGR1", "H2-D1"):
        assert hits.loc[gene, ["hit", "effect"]].tolist() == [True, "protects"]
    assert hits.loc["CD274", ["hit", "effect"]].tolist() == [True, "sensitizes"]
    mle = io.read_mageck(SHARED / "mle.gene_summary.txt", orthologs="same_symbol")
    both = {"rra": table, "mle": mle[mle["comparison"] == "Pmel1"]}
    joined = tl.join_screens(tl.screen_hits(both), method="rank")
    assert {"JAK1", "STAT1", "CD274"} <= set(joined["gene"].head(6))
