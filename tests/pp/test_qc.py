from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import GeneCoverageError, MissingKeyError, NkscoreWarning, WrongScaleError

GENES = ["MT-CO1", "RPS3", *(f"G{i}" for i in range(400))]


def cell(*, total, n_genes=300, mt=0, ribo=0):
    """One row over GENES with exactly these totals; mt and ribo in counts."""
    row = np.zeros(len(GENES))
    row[:2] = mt, ribo
    n_plain = n_genes - int(mt > 0) - int(ribo > 0)
    row[2 : 2 + n_plain] = 1
    row[2] += total - row.sum()
    return row


# Limits of the paper: (low, high), inclusive. Each cell lies on all limits it can lie on at once.
COCULTURE_EDGE = {"total": 700, "n_genes": 300, "mt": 105, "ribo": 35}  # 15 % and 5 % of 700
CROPSEQ_EDGE = {"total": 3000, "n_genes": 300, "mt": 300, "ribo": 150}  # 10 % and 5 % of 3000


@pytest.mark.parametrize("dtype", [np.int32, np.float32, np.float64])
@pytest.mark.parametrize(
    ("preset", "edge"), [("coculture", COCULTURE_EDGE), ("cropseq", CROPSEQ_EDGE)]
)
def test_a_cell_exactly_on_the_limits_passes(cells, preset, edge, dtype):
    adata = cells(
        [cell(**edge), cell(**edge | {"mt": 0, "ribo": edge["total"] // 2})], GENES, dtype=dtype
    )
    nk.pp.qc(adata, preset=preset)
    assert adata.obs["qc_pass"].tolist() == [True, True]
    assert adata.obs["qc_reason"].tolist() == ["pass", "pass"]


@pytest.mark.parametrize(
    ("preset", "change", "reason"),
    [
        ("coculture", {"total": 699, "mt": 0, "ribo": 35}, "low counts"),
        ("coculture", {"n_genes": 299}, "low genes"),
        ("coculture", {"mt": 106}, "high mitochondrial"),
        ("coculture", {"ribo": 34}, "low ribosomal"),
        ("coculture", {"mt": 0, "ribo": 351}, "high ribosomal"),
        ("coculture", {"total": 500_001, "mt": 0, "ribo": 30_000}, "high counts"),
        ("cropseq", {"total": 2999, "mt": 0}, "low counts"),
        ("cropseq", {"mt": 301}, "high mitochondrial"),
    ],
)
def test_one_count_beyond_a_limit_fails_for_that_reason(cells, preset, change, reason):
    edge = COCULTURE_EDGE if preset == "coculture" else CROPSEQ_EDGE
    adata = cells([cell(**edge | change)], GENES)
    nk.pp.qc(adata, preset=preset)
    assert adata.obs["qc_reason"].tolist() == [reason]
    assert adata.obs["qc_pass"].tolist() == [False]


def test_the_two_presets_differ_in_counts_and_mitochondria(cells):
    adata = cells([cell(total=2000, mt=100, ribo=300), cell(total=4000, mt=480, ribo=300)], GENES)
    nk.pp.qc(adata, preset="coculture")
    assert adata.obs["qc_pass"].tolist() == [True, True]
    nk.pp.qc(adata, preset="cropseq")
    assert adata.obs["qc_reason"].tolist() == ["low counts", "high mitochondrial"]


def test_reasons_are_joined_in_the_order_of_the_limits(cells):
    adata = cells([cell(total=100, n_genes=40, mt=50, ribo=1)], GENES)
    nk.pp.qc(adata, preset="coculture")
    assert adata.obs["qc_reason"].tolist() == [
        "low counts; low genes; high mitochondrial; low ribosomal"
    ]


def test_metrics_by_hand(cells):
    adata = cells([[3, 5, 12, 0], [0, 0, 0, 0]], ["MT-ND1", "RPL5", "ACTB", "CD19"])
    nk.pp.qc(adata)
    expected = pd.DataFrame(
        {
            "total_counts": [20.0, 0.0],
            "n_genes_by_counts": [3.0, 0.0],
            "pct_counts_mt": [15.0, 0.0],
            "pct_counts_ribo": [25.0, 0.0],
        },
        index=adata.obs_names,
    )
    pd.testing.assert_frame_equal(adata.obs[list(expected)], expected)


@pytest.mark.parametrize("gene", ["RPS3", "RPL5", "RPLP0", "RPSA", "RPS4Y1", "RPS27L"])
def test_ribosomal_genes_count(cells, gene):
    adata = cells([[1, 3, 0]], [gene, "ACTB", "MT-CO1"])
    nk.pp.qc(adata)
    assert adata.obs["pct_counts_ribo"].item() == 25.0


@pytest.mark.parametrize("gene", ["RPA1", "RPE", "RPH3A", "MRPS2", "RPP30", "RPS6KA1", "RPS6KB1"])
def test_genes_that_only_sound_ribosomal_do_not_count(cells, gene):
    adata = cells([[1, 3, 0]], [gene, "ACTB", "MT-CO1"])
    nk.pp.qc(adata)
    assert adata.obs["pct_counts_ribo"].item() == 0.0


@pytest.mark.parametrize(("gene", "share"), [("MT-ND1", 25.0), ("MT1X", 0.0), ("MTOR", 0.0)])
def test_mitochondrial_genes_start_with_mt_and_a_dash(cells, gene, share):
    adata = cells([[1, 3, 0]], [gene, "ACTB", "MT-CO1"])
    nk.pp.qc(adata)
    assert adata.obs["pct_counts_mt"].item() == share


@pytest.mark.parametrize("gene", ["MT.CO1", "MT_CO1", "MTOR"])
def test_no_mitochondrial_gene_is_told(cells, gene):
    with pytest.warns(NkscoreWarning, match="No mitochondrial gene") as caught:
        nk.pp.qc(cells([[1, 3]], [gene, "ACTB"]))
    # Newer anndata warns of its own files as well.
    assert [w.filename for w in caught if w.category is NkscoreWarning] == [__file__]


TOTALS = (1000, 2000, 4000, 8000, 16000)


def test_adaptive_limits_by_hand(cells):
    adata = cells([cell(total=t) for t in TOTALS], GENES)
    nk.pp.qc(adata, n_mads=1)
    limits = adata.uns["nkscore"]["pp.qc"]["limits"]["lane1"]
    # Median of log(1 + total): log 4001. Distances: 0, log(4001/2001) = .69290,
    # log(8001/4001) = .69302, ...; their median is the third, .69302, times 1.4826 = 1.02747.
    # Limits: 4001 · exp(∓1.02747) − 1.
    assert limits["total_counts"] == pytest.approx([1431.0, 11177.8], abs=0.1)
    assert limits["pct_counts_mt"] == [0.0, 5.0]
    assert adata.obs["qc_reason"].tolist() == ["low counts", "pass", "pass", "pass", "high counts"]


def test_wider_adaptive_limits_let_all_pass(cells):
    adata = cells([cell(total=t) for t in TOTALS], GENES)
    nk.pp.qc(adata, n_mads=2)
    assert adata.obs["qc_pass"].all()


@pytest.mark.parametrize(
    ("percent", "limit"),
    # Median 2 %, distances 0 1 1 1 8: 2 + 5 · 1.4826 · 1 = 9.413; then the bounds 5 and 25.
    [((1, 2, 3, 1, 10), 9.413), ((0, 0, 0, 0, 4), 5.0), ((5, 15, 25, 35, 45), 25.0)],
)
def test_adaptive_mitochondrial_limit_lies_between_5_and_25(cells, percent, limit):
    adata = cells([cell(total=1000, mt=10 * p) for p in percent], GENES)
    nk.pp.qc(adata)
    limits = adata.uns["nkscore"]["pp.qc"]["limits"]["lane1"]
    assert limits["pct_counts_mt"] == pytest.approx([0.0, limit])


def test_adaptive_never_asks_for_fewer_than_200_genes(cells):
    adata = cells([cell(total=1000, n_genes=n) for n in (199, 200, 201, 199, 200)], GENES)
    nk.pp.qc(adata)
    assert adata.obs["qc_reason"].tolist() == ["low genes", "pass", "pass", "low genes", "pass"]


@pytest.mark.parametrize("total", [300, 301, 347, 999, 12_345])
def test_equal_cells_have_no_spread_and_all_pass(cells, total):
    adata = cells([cell(total=total)] * 6, GENES)
    nk.pp.qc(adata)
    assert adata.obs["qc_pass"].all()
    limits = adata.uns["nkscore"]["pp.qc"]["limits"]["lane1"]
    assert limits["total_counts"] == [total, total]


def test_lanes_have_limits_of_their_own(cells):
    deep = [cell(total=t) for t in (9000, 10_000, 11_000)]
    shallow = [cell(total=t) for t in (900, 1000, 1100)]
    lanes = ["deep"] * 3 + ["shallow"] * 3
    adata = cells(deep + shallow, GENES, lanes=lanes)
    nk.pp.qc(adata)
    assert adata.obs["qc_pass"].all()
    together = cells([*deep, shallow[0]], GENES)
    nk.pp.qc(together)
    assert together.obs["qc_reason"].tolist() == ["pass"] * 3 + ["low counts"]
    alone = cells(deep, GENES, lanes="deep")
    nk.pp.qc(alone)
    both = adata.uns["nkscore"]["pp.qc"]["limits"]
    assert set(both) == {"deep", "shallow"}
    assert both["deep"] == alone.uns["nkscore"]["pp.qc"]["limits"]["deep"]


def test_another_column_can_define_the_groups(cells):
    adata = cells([cell(total=t) for t in (9000, 10_000, 11_000, 900, 1000, 1100)], GENES)
    adata.obs["run"] = ["a"] * 3 + ["b"] * 3
    nk.pp.qc(adata, by="run")
    assert adata.obs["qc_pass"].all()


def test_cells_without_counts_fail_and_have_no_missing_values(cells):
    adata = cells([*(cell(total=t) for t in TOTALS), np.zeros(len(GENES))], GENES)
    nk.pp.qc(adata)
    assert adata.obs["qc_reason"].iloc[-1] == "low counts; low genes"
    assert not adata.obs.isna().any(axis=None)


def test_own_limits_replace_those_of_the_preset_and_leave_the_others(cells):
    adata = cells([cell(total=650, ribo=60), cell(total=650, ribo=60, mt=130)], GENES)
    nk.pp.qc(adata, preset="coculture", limits={"total_counts": (650, 650)})
    assert adata.obs["qc_reason"].tolist() == ["pass", "high mitochondrial"]
    used = adata.uns["nkscore"]["pp.qc"]["limits"]["lane1"]
    assert used["total_counts"] == [650, 650]
    assert used["pct_counts_mt"] == [0, 15]


def test_own_limits_come_on_top_of_adaptive_ones(cells):
    adata = cells([cell(total=t) for t in TOTALS], GENES)
    nk.pp.qc(adata, limits={"pct_counts_ribo": (5, 50)})
    assert set(adata.obs["qc_reason"]) == {"low ribosomal"}


def test_unknown_preset_names_the_known_ones(cells):
    with pytest.raises(ValueError, match=r"preset 'strict'.*adaptive, coculture, cropseq"):
        nk.pp.qc(cells([cell(total=700)], GENES), preset="strict")


def test_unknown_limit_names_the_known_ones(cells):
    with pytest.raises(ValueError, match=r"limit 'pct_mt'.*pct_counts_mt"):
        nk.pp.qc(cells([cell(total=700)], GENES), limits={"pct_mt": (0, 10)})


def test_missing_lane_column(cells):
    adata = cells([cell(total=700)], GENES)
    del adata.obs["lane"]
    with pytest.raises(MissingKeyError, match=r"no 'lane'.*io\.read_coculture"):
        nk.pp.qc(adata)


def test_log_values_are_refused(cells):
    adata = cells([cell(total=700)], GENES)
    adata.layers["counts"] = adata.layers["counts"].astype(float).log1p()
    with pytest.raises(WrongScaleError, match="log-normalized"):
        nk.pp.qc(adata)


def test_repeated_gene_names_are_refused(cells):
    adata = cells([[1, 2]], ["ACTB", "CD19"])
    adata.var_names = ["ACTB", "ACTB"]
    with pytest.raises(GeneCoverageError, match=r"more than once.*ACTB"):
        nk.pp.qc(adata)


@pytest.mark.parametrize("form", [sparse.csc_matrix, np.asarray])
def test_the_form_of_the_matrix_does_not_matter(cells, form):
    adata = cells([cell(total=t, mt=20, ribo=90) for t in TOTALS], GENES)
    other = adata.copy()
    other.layers["counts"] = form(adata.layers["counts"].toarray())
    nk.pp.qc(adata)
    nk.pp.qc(other)
    pd.testing.assert_frame_equal(adata.obs, other.obs)


def test_counts_stay_as_they_are_and_x_stays_empty(demultiplexed, loaded):
    before, after = loaded.layers["counts"], demultiplexed.layers["counts"]
    assert (before != after).nnz == 0
    assert after.dtype == before.dtype
    assert demultiplexed.X is None


def test_simulated_poor_cells_fail_and_good_ones_pass(demultiplexed):
    obs = demultiplexed.obs
    # Measured on this seed: 97 % of the dying cells fail, and 0.15 % of the others.
    assert (~obs["qc_pass"])[obs["truth_low_quality"]].mean() > 0.85
    assert obs["qc_pass"][~obs["truth_low_quality"]].mean() > 0.99


@pytest.mark.parametrize("limit", [15, (15, 0), (0, 1, 2), (0, float("nan")), None])
def test_limits_are_pairs(cells, limit):
    with pytest.raises(ValueError, match=r"limits\['pct_counts_mt'\] is .*a pair \(low, high\)"):
        nk.pp.qc(cells([cell(total=700)], GENES), limits={"pct_counts_mt": limit})


def test_a_side_without_a_limit(cells):
    adata = cells([cell(total=700), cell(total=400)], GENES)
    nk.pp.qc(
        adata,
        preset="coculture",
        limits={"total_counts": (500, float("inf")), "pct_counts_ribo": (0, 100)},
    )
    assert adata.obs["qc_reason"].tolist() == ["pass", "low counts"]


@pytest.mark.parametrize("n_mads", [0, -1, float("nan")])
def test_deviations_are_positive(cells, n_mads):
    with pytest.raises(ValueError, match=r"n_mads is .*; a positive, finite number"):
        nk.pp.qc(cells([cell(total=700)], GENES), n_mads=n_mads)


def test_adaptive_limits_have_two_sides(cells):
    """Cells of far more counts than the others are doublets more often than not."""
    usual = [cell(total=1000 + 20 * i) for i in range(20)]
    adata = cells([*usual, cell(total=100_000)], GENES)
    nk.pp.qc(adata)
    assert adata.obs["qc_reason"].tolist()[-1] == "high counts"
    assert adata.obs["qc_pass"].sum() == 20
