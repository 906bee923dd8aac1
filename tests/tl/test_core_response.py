from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError, WrongScaleError
from nkscore.tl._response._specific_response import _normal_error


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


def _adjusted(planted):
    """G0 is raised by ambient RNA alone, G1 partly, G2 has no adjusted effect in L0."""
    shift = planted["gene"].map({"G0": -1.5, "G1": -0.25}).fillna(0.0)
    p = np.where(planted["q_value"] < 0.05, 1e-8, 0.5)
    table = planted.assign(
        log2_fc_adjusted=planted["log2_fc"] + shift,
        se_adjusted=planted["se"] * 1.5,
        se_ambient=np.where(shift < 0, 0.5 * planted["se"], 0.0),
        p_value_adjusted=np.where(planted["gene"] == "G0", 0.9, p),
        ambient_suspect=planted["gene"] == "G0",
    )
    table.loc[(table["gene"] == "G2") & (table["tumor"] == "L0"), "log2_fc_adjusted"] = np.nan
    return table


def test_effects_without_ambient_rna_are_pooled_if_there_are_any(planted):
    table = _adjusted(planted)
    core = nk.tl.core_response(table)
    named = core.set_index("gene")
    assert core.attrs["effect"] == "log2_fc_adjusted"
    assert core.attrs["left_out"] == [
        {"what": "effects", "name": "L0", "reason": "1 with no adjusted effect"}
    ]
    assert named["core"][["G0", "G1", "G3"]].tolist() == [False, True, True]
    assert named["log2_fc"][["G0", "G1"]].to_numpy() == pytest.approx([0, 1.25], abs=0.2)
    assert named["n_up"][["G0", "G1"]].tolist() == [0, 6]
    assert named["n_ambient"][["G0", "G1"]].tolist() == [6, 0]
    assert named["n_lines"]["G2"] == 5
    # The error that lines share does not average out.
    assert named["se"]["G1"] > 1.15 * named["se"]["G3"]
    counted = nk.tl.core_response(table, method="counting").set_index("gene")
    assert not counted.loc["G0", "core"]
    assert counted.loc["G1", "core"]
    assert not set(nk.tl.specific_response(table).query("specific")["gene"]) & {"G0", "G1"}
    plain = nk.tl.core_response(table.drop(columns="ambient_suspect"), adjusted=False)
    pd.testing.assert_frame_equal(plain, nk.tl.core_response(planted))
    with pytest.raises(MissingKeyError, match=r"adjusted is True.*Run tl.flag_ambient"):
        nk.tl.core_response(planted, adjusted=True)


def test_flags_without_counts_keep_genes_out_of_the_core(planted):
    flagged = planted["gene"].eq("G0") | (planted["gene"].eq("G1") & planted["tumor"].eq("L0"))
    core = nk.tl.core_response(planted.assign(ambient_suspect=flagged)).set_index("gene")
    assert core["core"][["G0", "G1", "G3"]].tolist() == [False, True, True]
    assert core["n_ambient"][["G0", "G1", "G3"]].tolist() == [6, 1, 0]
    assert core.loc["G0", "log2_fc"] > 1


def test_useless_errors_and_missing_genes(planted, caplog):
    broken = planted.copy()
    broken.loc[broken["gene"] == "G0", "se"] = 0.0
    broken.loc[(broken["gene"] == "G1") & (broken["tumor"] != "L0"), "se"] = np.nan
    broken = broken[(broken["gene"] != "G2") | (broken["tumor"] == "L5")]
    core = nk.tl.core_response(broken).set_index("gene")
    assert "11 of" in caplog.text
    reason = "a standard error of 0 or NaN"
    assert core.attrs["left_out"][1] == {
        "what": "effects",
        "name": "L1",
        "reason": f"2 with {reason}",
    }
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
        with pytest.raises(DesignError, match=r"1 line|only one tumor|only one line"):
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
    exact = stats.fisher_exact([[20, 0], [0, 480]], alternative="greater").pvalue
    assert modules["label_p"].to_numpy() == pytest.approx(exact, rel=1e-6, abs=0)
    assert found["B"] == _genes(20, 40)
    other = {"none": [f"G{g}" for g in range(100, 130)]}
    unnamed = nk.tl.response_modules(_table(effect, 0.1), k=2, n_top=40, gene_sets=other)
    assert set(unnamed["label"]) == {"unnamed"}


def test_published_lines(shared):
    folder = shared / "data/dufva2023_target_de"
    tables = [
        pd.read_csv(
            folder / f"{line}_expandedNK_vs_untreated.tsv.gz", sep="\t", dtype={"cell_line": str}
        )
        for line in ("697", "RCHACV")
    ]
    core = nk.tl.core_response(pd.concat(tables), method="counting", min_up=2)
    assert set(core.loc[core["core"], "gene"]) == {
        "HLA-A",
        "HLA-B",
        "HLA-C",
        "B2M",
        "PSMB9",
        "GNLY",
        "CCL5",
    }


# ---- tables and options that cannot be right


@pytest.mark.parametrize(
    "function", [nk.tl.core_response, nk.tl.specific_response, nk.tl.response_modules]
)
def test_tables_without_rows_or_numbers(planted, function):
    with pytest.raises(DesignError, match=r"The table has no rows"):
        function(planted[:0])
    with pytest.raises(WrongScaleError, match="'log2_fc' of the table holds a value that is not a"):
        function(planted.assign(log2_fc="high"))


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (nk.tl.core_response, {"confidence": 95}),
        (nk.tl.core_response, {"q_threshold": 5}),
        (nk.tl.core_response, {"min_lines": 0}),
        (nk.tl.core_response, {"min_up": 0}),
        (nk.tl.core_response, {"correlation": None}),
        (nk.tl.specific_response, {"lfsr_threshold": 5}),
        (nk.tl.specific_response, {"null_weight": 0}),
        (nk.tl.response_modules, {"k": 0}),
        (nk.tl.response_modules, {"n_top": 1}),
        (nk.tl.response_modules, {"label_q": 5}),
    ],
)
def test_numbers_out_of_range(planted, function, options):
    (name, value) = next(iter(options.items()))
    with pytest.raises(ValueError, match=f"{name} is {value}"):
        function(planted, **options)


def test_infinite_fold_changes_count_as_not_tested(planted):
    endless = planted.copy()
    where = (endless["gene"] == "G30") & (endless["tumor"] == "L5")
    endless.loc[where, "log2_fc"] = np.inf
    absent = nk.tl.response_modules(planted[~where.to_numpy()])
    pd.testing.assert_frame_equal(nk.tl.response_modules(endless), absent)


def test_lineages_of_which_no_gene_has_two_lines():
    table = pd.DataFrame(
        {
            "tumor": list("abc"),
            "lineage": list("xxy"),
            "gene": ["G1", "G2", "G1"],
            "log2_fc": [1.0, 2.0, 3.0],
            "se": 1.0,
        }
    )
    with pytest.raises(DesignError, match=r"No gene was tested.*by='tumor'"):
        nk.tl.specific_response(table, by="lineage")


# ---- specific response by hand


def test_departure_from_the_others_by_hand():
    """Others of 1, 2 and 4 with errors of 0.2: their variance 7/3 is the whole weight."""
    made = nk.tl.specific_response(_table([[1.0, 2.0, 4.0, 10.0]])).set_index("tumor").loc["L3"]
    pooled, sampling, own = 7 / 9, 0.04 / 3, 0.04
    assert made["log2_fc_others"] == pytest.approx(7 / 3)
    assert made["difference"] == pytest.approx(10 - 7 / 3)
    assert made["se"] == pytest.approx(np.sqrt(own + pooled), rel=1e-6)
    # Only what the others differ by, beyond their errors, is estimated: from three lines.
    assert made["df"] == pytest.approx((own + pooled) ** 2 / ((pooled - sampling) ** 2 / 2))


def test_errors_of_few_degrees_of_freedom_count_as_larger():
    t, df = np.array([0.5, 2.0, 6.0, 20.0]), np.array([3.0, 3.0, 8.0, np.inf])
    error = _normal_error(t, np.ones(4), df)
    np.testing.assert_allclose(stats.norm.sf(t / error), stats.t.sf(t, df))


def test_s_value_is_the_mean_lfsr_so_far(planted):
    table = nk.tl.specific_response(planted)
    expected = table.groupby("tumor")["lfsr"].transform(lambda x: x.expanding().mean())
    np.testing.assert_allclose(table["s_value"], expected)


@pytest.mark.parametrize("spread", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("lineages", ["xxyy", "xxyyzz"])
def test_lines_that_differ_make_no_specific_lineage(lineages, spread):
    """Two lines say little about how much lines of a lineage differ."""
    rng = np.random.default_rng(21)
    shape = (3000, len(lineages))
    effect = rng.normal(0, spread, shape) + rng.normal(0, 0.2, shape)
    names = {f"L{j}": lineage for j, lineage in enumerate(lineages)}
    made = nk.tl.specific_response(_table(effect, lineage=names), by="lineage")
    p = 2 * stats.t.sf(np.abs(made["difference"] / made["se"]), made["df"])
    assert (p < 0.05).mean() < 0.07
    assert (p < 0.001).mean() < 0.004
    assert made["specific"].mean() < 0.001
