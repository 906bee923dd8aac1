from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError


def _table(effect, error=0.2, lines=None, lineage=None):
    effect = np.asarray(effect, dtype=float)
    lines = lines or [f"L{j}" for j in range(effect.shape[1])]
    parts = [
        pd.DataFrame(
            {
                "tumor": line,
                "gene": [f"G{g}" for g in range(len(effect))],
                "log2_fc": effect[:, j],
                "se": error,
                "q_value": np.where(np.abs(effect[:, j]) > 4 * error, 0.001, 0.9),
            }
        )
        for j, line in enumerate(lines)
    ]
    table = pd.concat(parts, ignore_index=True)
    return table if lineage is None else table.assign(lineage=table["tumor"].map(lineage))


@pytest.fixture(scope="module")
def planted():
    """Genes 0-29 raised by 1.5 in all six lines, 30-39 by 3 in L2 only, 40-49 in L0 and L1."""
    effect = np.zeros((2000, 6))
    effect[:30] = 1.5
    effect[30:40, 2] = 3.0
    effect[40:50, :2] = 3.0
    noise = np.random.default_rng(0).normal(0, 0.2, effect.shape)
    lineage = {"L0": "MM", "L1": "MM", "L2": "AML", "L3": "AML", "L4": "CML", "L5": "CML"}
    return _table(effect + noise, lineage=lineage)


def _genes(*numbers):
    return {f"G{g}" for g in range(*numbers)}


def test_core_genes_are_those_of_all_lines(planted):
    core = nk.tl.core_response(planted)
    called = set(core.loc[core["core"], "gene"])
    assert called >= _genes(30)
    # At a false discovery rate of 5 %, one or two of the other 1,970 are to be expected.
    assert len(called) <= 34
    assert core["n_up"].iloc[0] == 6
    assert core["error_correlation"].iloc[0] < 0.1


def test_the_counting_rule(planted):
    counted = nk.tl.core_response(planted, method="counting")
    assert set(counted.loc[counted["core"], "gene"]) == _genes(30)
    assert counted["min_up"].iloc[0] == 3
    two = nk.tl.core_response(planted, method="counting", min_up=2)
    assert set(two.loc[two["core"], "gene"]) == _genes(30) | _genes(40, 50)


def test_genes_pass_by_the_q_value_within_the_line(planted):
    both = planted.assign(q_value_line=planted["q_value"], q_value=0.9)
    for method in ("counting", "random_effects"):
        made = nk.tl.core_response(both, method=method)
        assert made["n_up"].max() == 6
        pd.testing.assert_frame_equal(made, nk.tl.core_response(planted, method=method))
    pd.testing.assert_frame_equal(nk.tl.response_modules(both), nk.tl.response_modules(planted))


def test_more_than_12_of_26():
    effect = np.zeros((3, 26))
    effect[0, :12], effect[1, :13], effect[2] = 2, 2, 0.2
    table = nk.tl.core_response(_table(effect, 0.01), method="counting").set_index("gene")
    assert table["core"].to_dict() == {"G0": False, "G1": True, "G2": False}
    assert table["n_up"].to_dict() == {"G0": 12, "G1": 13, "G2": 0}


def test_nothing_where_nothing_is_planted():
    null = _table(np.random.default_rng(3).normal(0, 0.2, (2000, 6)))
    assert not nk.tl.core_response(null)["core"].any()
    assert not nk.tl.specific_response(null)["specific"].any()


def test_specific_genes_of_a_line(planted):
    table = nk.tl.specific_response(planted)
    called = table[table["specific"]].groupby("tumor")["gene"].agg(set)
    assert called["L2"] >= _genes(30, 40)
    assert not called["L2"] & _genes(30)
    assert table.loc[table["specific"], "gene"].isin(_genes(30, 50)).mean() > 0.9


def test_specific_genes_of_a_lineage(planted):
    table = nk.tl.specific_response(planted, by="lineage")
    called = table[table["specific"]]
    assert len(set(called.loc[called["lineage"] == "MM", "gene"]) & _genes(40, 50)) >= 9
    assert called["gene"].isin(_genes(30, 50)).mean() > 0.9


def test_order_of_rows_does_not_matter(planted):
    shuffled = planted.sample(frac=1, random_state=1)
    for function in (nk.tl.core_response, nk.tl.specific_response, nk.tl.response_modules):
        pd.testing.assert_frame_equal(function(planted), function(shuffled), rtol=1e-9)


def test_round_trip(planted, tmp_path):
    for result in (nk.tl.core_response(planted), nk.tl.specific_response(planted)):
        result.to_parquet(tmp_path / "table.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "table.parquet"), result)
        result.to_csv(tmp_path / "table.tsv", sep="\t", index=False)
        back = pd.read_csv(tmp_path / "table.tsv", sep="\t", float_precision="round_trip")
        pd.testing.assert_frame_equal(back, result, check_dtype=False)


def test_useless_errors_and_missing_genes(planted, caplog):
    broken = planted.copy()
    broken.loc[broken["gene"] == "G0", "se"] = 0.0
    broken.loc[(broken["gene"] == "G1") & (broken["tumor"] != "L0"), "se"] = np.nan
    broken = broken[(broken["gene"] != "G2") | (broken["tumor"] == "L5")]
    core = nk.tl.core_response(broken).set_index("gene")
    assert "11 of" in caplog.text
    assert core.loc[["G0", "G1", "G2"], "n_lines"].tolist() == [0, 1, 1]
    assert core.loc[["G0", "G1", "G2"], "p_value"].isna().all()
    assert not core.loc[["G0", "G1", "G2"], "core"].any()
    assert core.loc["G3", "core"]


def test_names_of_published_tables(planted):
    names = {"tumor": "cell_line", "log2_fc": "avg_log2FC", "q_value": "p_val_adj"}
    renamed = nk.tl.core_response(planted.rename(columns=names), method="counting")
    pd.testing.assert_frame_equal(renamed, nk.tl.core_response(planted, method="counting"))


def test_errors_say_what_to_do(planted):
    one = planted[planted["tumor"] == "L0"]
    for function in (nk.tl.core_response, nk.tl.specific_response, nk.tl.response_modules):
        with pytest.raises(DesignError, match=r"1 line|one tumor only|one line only"):
            function(one)
    with pytest.raises(MissingKeyError, match=r"'se'.*method='counting' works"):
        nk.tl.core_response(planted.drop(columns="se"))
    with pytest.raises(DesignError, match="more than one row"):
        nk.tl.core_response(pd.concat([planted, planted[:1]]))
    with pytest.raises(MissingKeyError, match="lineage"):
        nk.tl.specific_response(planted.drop(columns="lineage"), by="lineage")
    with pytest.raises(DesignError, match="Each of the 6 lineages has one line"):
        nk.tl.specific_response(planted.assign(lineage=planted["tumor"]), by="lineage")
    for wrong in ({"method": "x"}, {"between": "x"}, {"correlation": 2}):
        with pytest.raises(ValueError, match="is"):
            nk.tl.core_response(planted, **wrong)


def test_modules_are_named_by_their_sets():
    rng = np.random.default_rng(5)
    sets = {"A": [f"G{g}" for g in range(20)], "B": [f"G{g}" for g in range(20, 40)]}
    effect = rng.normal(0, 0.1, (500, 6))
    effect[:20, :3] += 3
    effect[20:40, 3:] += 3
    modules = nk.tl.response_modules(_table(effect, 0.1), k=2, n_top=40, gene_sets=sets)
    found = modules.groupby("label")["gene"].agg(set)
    assert found["A"] == _genes(20)
    assert found["B"] == _genes(20, 40)
    other = {"none": [f"G{g}" for g in range(100, 130)]}
    unnamed = nk.tl.response_modules(_table(effect, 0.1), k=2, n_top=40, gene_sets=other)
    assert set(unnamed["label"]) == {"unnamed"}


def test_published_lines(shared):
    folder = shared / "data/dufva2023_target_de"
    tables = [
        pd.read_csv(folder / f"{line}_expandedNK_vs_untreated.tsv.gz", sep="\t",
                    dtype={"cell_line": str})
        for line in ("697", "RCHACV")
    ]  # fmt: skip
    core = nk.tl.core_response(pd.concat(tables), method="counting", min_up=2)
    assert set(core.loc[core["core"], "gene"]) == {
        "HLA-A", "HLA-B", "HLA-C", "B2M", "PSMB9", "GNLY", "CCL5"
    }  # fmt: skip
