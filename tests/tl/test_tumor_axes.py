"""Axes of tumor cells: truth planted by measured effects, intervals, depth, and missing genes."""

from __future__ import annotations

import warnings
from itertools import combinations
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore import stats
from nkscore.errors import NkscoreWarning
from nkscore.signatures._axes import AXES, axis_parts

SHARED = Path(__file__).parents[3] / "shared/data"
pytestmark = pytest.mark.filterwarnings("ignore:.*incomplete in these data")


def test_ends_solve_the_equation_of_the_score_interval():
    x, expected = np.array([0.0, 4.0, 40.0, 10.0]), np.array([5.0, 5.0, 50.0, 8.0])
    noise = np.array([0.0, 0.01, 0.02, 10.0])
    line, baseline = np.zeros(4, dtype=np.int64), np.ones(4, dtype=bool)
    made = stats.axis_change(x, expected, noise, line, baseline)
    mean = expected * x.sum() / expected.sum()
    np.testing.assert_allclose(made.value, x / mean - 1)
    for end in (made.low[:3], made.high[:3]):
        level = mean[:3] * (end + 1)
        left = (x[:3] - level) ** 2
        right = 1.959963985**2 * (level + noise[:3] * level**2)
        np.testing.assert_allclose(left, right, atol=1e-6)
    assert (made.low <= made.value).all()
    assert (made.value <= made.high).all()
    assert made.low[0] == pytest.approx(-1)
    assert np.isfinite(made.high).all()


@pytest.mark.parametrize("level", [0.5, 1.0, 2.0])
def test_intervals_cover_the_level_of_the_cell(level):
    rng = np.random.default_rng(3)
    n = 20_000
    expected = rng.lognormal(2.5, 0.6, n)
    noise = np.full(n, 0.02)
    truth = np.where(np.arange(n) % 5 == 0, level, 1.0)
    x = rng.poisson(expected * truth * rng.gamma(1 / 0.02, 0.02, n)).astype(float)
    baseline = truth == 1 if level != 1 else np.ones(n, dtype=bool)
    line = np.zeros(n, dtype=np.int64)
    part = stats.axis_change(x, expected, noise, line, baseline)
    inside = (part.low <= truth - 1) & (truth - 1 <= part.high)
    assert 0.94 < inside[truth == level].mean() < 0.97
    # Two parts that move apart, of which one falls along the axis.
    other = stats.axis_change(x[::-1], expected[::-1], noise, line, baseline[::-1])
    both = stats.signed_axis([(part, 1), (other, -1)], line, baseline)
    weight = 1 / np.array([part.value[baseline].var(), other.value[baseline].var()])
    weight /= weight.sum()
    wanted = weight[0] * (truth - 1) - weight[1] * (truth[::-1] - 1)
    assert 0.93 < ((both.low <= wanted) & (wanted <= both.high)).mean() < 0.97


def test_parts_of_an_axis_and_low_myc_hold_no_gene_twice():
    parts = axis_parts()
    assert tuple(parts) == AXES == tuple(nk.signatures.tumor_axes())
    for found in parts.values():
        for one, two in combinations(found, 2):
            assert not set(one.genes) & set(two.genes)
    low_myc = set(nk.signatures.tumor_axes()["low_myc"].genes)
    assert not low_myc & set(nk.signatures.tumor_axes()["growth"].genes)
    # A cell in G1 lacks transcripts of S and G2/M, too.
    g0 = set(nk.signatures.tumor_axes()["g0"].down)
    assert not g0 & set(nk.signatures.get("TIROSH2016_G2M").genes)


def test_slots_and_record(stated, tmp_path):
    axes, low, high = (
        stated.obsm[name] for name in ("tumor_axes", "tumor_axes_low", "tumor_axes_high")
    )
    assert list(axes.columns) == list(low.columns) == list(high.columns) == list(AXES)
    cells = axes["g0"].notna()
    assert cells.sum() == stated.obsm["dormancy"]["g0"].notna().sum()
    assert ((low <= axes) & (axes <= high))[cells].to_numpy().all()
    # The MYC part of the index of dormancy, turned.
    np.testing.assert_allclose(axes["low_myc"], -stated.obsm["dormancy"]["myc"], atol=1e-12)
    made_from = stated.uns["nkscore"]["tl.tumor_states"]["axes"]
    assert set(made_from["axis"]) == set(AXES)
    assert (made_from["n_found"] <= made_from["n_genes"]).all()


def test_lacking_genes_leave_one_axis_out_and_say_so(stated):
    found = set(nk.signatures.tumor_axes()["interferon"].genes)
    kept = ~(stated.var_names.isin(found) & (np.arange(stated.n_vars) % 5 > 0))
    few = stated[stated.obs["tumor"].isin(["697", "GDM1"]).to_numpy(), kept].copy()
    with pytest.warns(NkscoreWarning, match="has no values of interferon: less than 50%"):
        nk.tl.tumor_states(few, programs=["low_myc_dormant_like", "cycling"])
    axes = few.obsm["tumor_axes"]
    assert axes["interferon"].isna().all()
    assert axes["low_myc"].notna().sum() > 50


def kang(arms):
    cells = ad.read_h5ad(SHARED / "kang2018_ifnb/kang_ifnb_4k_counts_donors.h5ad")
    kept = (cells.obs["cell_type"] == "CD14 Mono") & cells.obs["condition"].isin(arms)
    return cells[kept.to_numpy()]


def planted(adata, change, marked, rng):
    """Apply log2 changes to real counts: fewer by thinning, more by added Poisson counts."""
    counts = adata.layers["counts"].toarray().astype(np.int64)
    fold = np.exp2(change.reindex(adata.var_names).fillna(0).clip(-3, 3).to_numpy())
    rate, depth = counts.sum(axis=0) / counts.sum(), counts[marked].sum(axis=1)
    less = fold < 1
    counts[np.ix_(marked, less)] = rng.binomial(counts[np.ix_(marked, less)], fold[less])
    more = rng.poisson(depth[:, None] * rate[~less] * (fold[~less] - 1))
    counts[np.ix_(marked, ~less)] += more
    made = adata.copy()
    made.layers["counts"] = sparse.csr_matrix(counts.astype(np.int32))
    return made


def lung_lines():
    lines = ad.read_h5ad(SHARED / "nk_plus_tumour_lines/nk_plus_tumour_lines_counts.h5ad")
    lines = lines[lines.obs["line"].isin(["H2228", "HCC827"]).to_numpy()].copy()
    lines.obs["tumor"], lines.obs["compartment"] = lines.obs["line"].astype(str), "tumor"
    lines.layers["counts"] = sparse.csr_matrix(lines.X).astype(np.int32)
    return lines


def interferon_effect():
    """Return log2 changes of monocytes given interferon beta."""
    arms = {name: np.asarray(kang([name]).X.sum(axis=0)).ravel() for name in ("stim", "ctrl")}
    level = {name: 1e6 * (sums + 5) / sums.sum() for name, sums in arms.items()}
    steady = ((arms["stim"] >= 20) & (arms["ctrl"] >= 20)) | (arms["stim"] > 200)
    return pd.Series(np.log2(level["stim"] / level["ctrl"]), kang(["ctrl"]).var_names)[steady]


def persister_effect():
    """Return log2 changes of an organoid given docetaxel."""
    table = pd.read_csv(SHARED / "dhimolea2021_persister_de/dhimolea2021_deseq_11contrasts.csv.gz")
    found = table[table["contrast"].str.startswith("HCI003_Org-docetaxel")]
    found = found.dropna(subset=["Symbol", "log2FoldChange"]).drop_duplicates("Symbol")
    return found.set_index("Symbol")["log2FoldChange"]


def half_of(adata, marked, rng):
    counts = adata.layers["counts"].toarray()
    counts[marked] = rng.binomial(counts[marked], 0.5)
    made = adata.copy()
    made.layers["counts"] = sparse.csr_matrix(counts)
    return made


def moved(data, marked):
    """Return how far the marked cells are from the others on each axis, in their SD."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NkscoreWarning)
        nk.tl.tumor_states(data, programs="low_myc_dormant_like")
    axes = data.obsm["tumor_axes"]
    rest = axes.drop(axes.index[marked])
    return (axes.iloc[marked].mean() - rest.mean()) / rest.std()


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data is not there")
def test_measured_effects_move_their_own_axis():
    """Fold changes measured in other cells, not the scored lists, are planted in real cells."""
    rng, lines = np.random.default_rng(11), lung_lines()
    marked = np.flatnonzero(rng.random(lines.n_obs) < 0.2)
    answer = moved(planted(lines, interferon_effect(), marked, rng), marked)
    # Interferon slows the growth of monocytes, too, but by far less.
    assert answer["interferon"] > 3
    assert answer.drop("interferon").abs().max() < answer["interferon"] / 3
    persists = moved(planted(lines, persister_effect(), marked, rng), marked)
    assert persists["low_myc"] > 0.4
    assert persists["growth"] < -0.4
    assert persists.drop("interferon").abs().max() > abs(persists["interferon"])
    # Depth alone moves no axis.
    assert moved(half_of(lines, marked, rng), marked).abs().max() < 0.35
