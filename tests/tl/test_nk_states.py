from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.datasets._genes import program_table
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, NkscoreWarning
from nkscore.tl._states._nk_states import decide

STATES = ["resting", "adaptive", "activated", "type_i_ifn", "cytokine"]


def nk_cells(adata):
    return ((adata.obs["compartment"] == "nk") & adata.obs["qc_pass"]).to_numpy()


def called_states(adata):
    return adata.obs["nk_state"].astype(str)[nk_cells(adata)]


def test_planted_states_are_recovered(stated):
    state = called_states(stated)
    truth = stated.obs["truth_nk_state"].astype(str)[nk_cells(stated)]
    called = state != "unassigned"
    # Measured: 81 % called, 91 % of these right.
    assert called.mean() > 0.72
    assert (state == truth)[called].mean() > 0.87
    for name in STATES:
        assert (state == name)[called & (truth == name)].mean() > 0.7
    evidence = stated.uns["nkscore"]["tl.nk_states"]["evidence"]
    assert evidence["present"].all()


def test_confidence_says_how_often_a_call_is_right(stated):
    cells = nk_cells(stated)
    state, truth = called_states(stated), stated.obs["truth_nk_state"].astype(str)[cells]
    confidence = stated.obs["nk_state_confidence"][cells]
    called = state != "unassigned"
    # Cells of at least 0.99: 99 % right; below 0.7: three in four.
    assert (state == truth)[called & (confidence > 0.99)].mean() > 0.97
    low = called & (confidence < 0.7)
    assert 0.5 < (state == truth)[low].mean() < 0.92


def test_a_vocabulary_that_finds_nothing_names_one_that_does(stated):
    adata = stated[nk_cells(stated)][::4].copy()
    text = r"No state of vocabulary 'odd' was found in \d+ NK cells.*'expanded' finds .*resting"
    with pytest.warns(NkscoreWarning, match=text):
        nk.tl.nk_states(adata, vocabulary={"odd": ["ACTB", "GAPDH"]})
    assert (adata.obs["nk_state"] == "unassigned").all()


@pytest.fixture(scope="module")
def foreign(shared):
    """The generator of benchmarks/foreign_states.py: programs planted in sorted NK cells."""
    file = Path(__file__).resolve().parents[2] / "benchmarks" / "foreign_states.py"
    if not (shared / "data" / "zheng_sorted_pbmc").exists():
        pytest.skip("../shared/data is not here")
    return runpy.run_path(str(file))


def test_too_shallow_for_the_vocabulary_or_better_than_plain_scores(foreign):
    cells = foreign["pool"]()
    shallow, deep = (
        foreign["measure"](*foreign["planted"](foreign["Plan"](depth, n_cells=700), 105, cells))
        for depth in (400, 3000)
    )
    assert shallow["warned"]
    assert not deep["warned"]
    assert deep["F1"] > deep["F1 naive"] + 0.1


@pytest.mark.parametrize("seed", range(4))
def test_no_state_is_found_where_none_was_planted(simulate, seed):
    """Donors differ in the markers, and nothing else does."""
    adata = simulate(tumors=["697", "GDM1", "JURKAT"], nk_states=False, rng=seed)
    with pytest.warns(NkscoreWarning, match="No state of vocabulary 'expanded' was found"):
        nk.tl.nk_states(adata)
    assert (called_states(adata) != "unassigned").mean() < 0.01
    evidence = adata.uns["nkscore"]["tl.nk_states"]["evidence"]
    assert not evidence["present"].any()


def test_a_state_that_was_not_planted_is_not_called(simulate):
    shares = {"resting": 0.6, "adaptive": 0.3, "type_i_ifn": 0.1}
    planted = dict.fromkeys(["697", "GDM1", "JURKAT", "alone"], shares)
    adata = simulate(tumors=["697", "GDM1", "JURKAT"], nk_states=planted, rng=6)
    nk.tl.nk_states(adata)
    found = called_states(adata).value_counts(normalize=True)
    assert found.get("activated", 0) + found.get("cytokine", 0) < 0.01
    assert found["resting"] > 0.4
    assert found["type_i_ifn"] > 0.04


@pytest.mark.parametrize(("share", "other"), [(0.5, 0.09), (0.25, 0.18)])
def test_shallow_cells_lose_their_call_rather_than_change_it(
    stated, thinned, lost_and_changed, share, other
):
    shallow = thinned(stated, share)
    nk.tl.nk_states(shallow)
    lost, changed = lost_and_changed(called_states(stated), called_states(shallow))
    # Measured at half the depth: 12 % lost, 6 % changed; at a quarter: 28 % and 13 %.
    assert changed < other
    assert lost > 1.5 * changed


def test_other_genes_speak_for_a_state(stated):
    markers_only = stated.copy()
    nk.tl.nk_states(markers_only, other_genes=False)
    book = stated.uns["nkscore"]["tl.nk_states"]
    table = book["other_genes"]
    assert 0.5 < book["other_genes_weight"] <= 1
    program = program_table().query("value > 0.5").groupby("program")["gene"].agg(set)
    risen = table[table["fold"] > 1.5]
    planted = [
        gene in program[f"nk_{state}"]
        for state, gene in zip(risen["state"], risen["gene"], strict=True)
    ]
    # Measured: 25 genes, 90 % of them planted with a larger effect than half a doubling.
    assert len(risen) > 15
    assert np.mean(planted) > 0.75
    assert not set(table["gene"]) & set(book["markers"]["gene"])
    truth = stated.obs["truth_nk_state"].astype(str)[nk_cells(stated)]
    right = {
        name: (called_states(adata) == truth).mean()
        for name, adata in (("with", stated), ("without", markers_only))
    }
    # Measured: 90 % and 78 % of all cells are called right.
    assert right["with"] > right["without"] + 0.06
    before = markers_only.uns["nkscore"]["tl.nk_states"]
    assert before["other_genes"].empty
    assert before["other_genes_weight"] == 0


def test_shallow_data_leave_doubt_rather_than_no_state(stated, thinned):
    """What cannot be judged is not called, and no cell is surely without it."""
    shallow = thinned(stated, 0.04)
    with pytest.warns(NkscoreWarning, match="No state of vocabulary 'expanded' was found"):
        nk.tl.nk_states(shallow)
    evidence = shallow.uns["nkscore"]["tl.nk_states"]["evidence"].set_index("state")
    absent = evidence.index[~evidence["present"]]
    assert len(absent) >= 2
    assert (evidence.loc[absent, "share"] == 0).all()
    assert not called_states(shallow).isin(absent).any()
    posterior = shallow.obsm["nk_state_posterior"][nk_cells(shallow)]
    assert (posterior[absent].mean() > 0.005).all()
    confidence = shallow.obs["nk_state_confidence"][nk_cells(shallow)]
    assert confidence.mean() < 0.75
    deep = stated.obsm["nk_state_posterior"][nk_cells(stated)]
    assert (1 - deep.sum(axis=1)).mean() < 0.2


def test_states_that_are_not_there_are_not_called():
    posterior = np.array([[0.95, 0.03, 0.02], [0.03, 0.95, 0.02], [0.1, 0.1, 0.8]])
    options = {"min_confidence": 0.55, "max_error": 0.17}
    call, confidence, margin = decide(posterior, np.array([True, False]), **options)
    assert call.tolist() == [0, 2, 2]
    np.testing.assert_allclose(confidence, [0.95, 0.95, 0.8])
    np.testing.assert_allclose(margin, [0.92, 0.92, 0.7])
    assert decide(posterior, np.array([True, True]), **options)[0].tolist() == [0, 1, 2]


def test_calls_end_where_too_many_would_be_wrong():
    sure = np.array([0.99, 0.95, 0.90, 0.80, 0.70])
    posterior = np.column_stack([sure, 1 - sure])
    # Mean confidence 0.868, so mean errors up to 0.17 × 0.868² = 0.128: five cells have 0.132.
    call = decide(posterior, np.array([True]), min_confidence=0.55, max_error=0.17)[0]
    assert call.tolist() == [0, 0, 0, 0, 1]
    call = decide(posterior, np.array([True]), min_confidence=0.85, max_error=0.17)[0]
    assert call.tolist() == [0, 0, 0, 1, 1]


def test_own_vocabulary(stated):
    adata = stated.copy()
    with pytest.warns(NkscoreWarning, match="incomplete") as caught:
        nk.tl.nk_states(
            adata,
            vocabulary={
                "interferon": ["ISG15", "MX1", "OAS1", "IRF7", "NOTAGENE"],
                "fresh": ["GZMK", "KLRC1", "KLRB1", "NCAM1"],
            },
        )
    assert {item.filename for item in caught} == {__file__}
    assert list(adata.obs["nk_state"].cat.categories) == ["interferon", "fresh", "unassigned"]
    truth = adata.obs["truth_nk_state"].astype(str)
    interferon = truth[(adata.obs["nk_state"] == "interferon").to_numpy()]
    # The other cytokine states raise some of these genes too.
    assert (interferon == "type_i_ifn").mean() > 0.7


def test_signed_and_weighted_markers(stated):
    adata = stated.copy()
    nk.tl.nk_states(
        adata,
        vocabulary={
            "a": {"ISG15": 1, "MX1": 1, "OAS1": 0.5, "KLRC1": -0.5},
            "b": ["CD69", "IFNG", "TNF"],
        },
    )
    markers = adata.uns["nkscore"]["tl.nk_states"]["markers"].set_index("gene")
    assert markers.loc[["OAS1", "KLRC1", "TNF"], "weight"].tolist() == [0.5, -0.5, 1.0]
    assert markers.loc["MX1", "state"] == "a"


def test_what_excludes_a_state_takes_its_cells(stated):
    get = nk.signatures.get
    state = nk.signatures.State(
        get("DUFVA2023_NK_ACTIVATED"), excludes={"ifn": get("DUFVA2023_NK_TYPE_I_IFN")}
    )
    adata = stated.copy()
    nk.tl.nk_states(adata, vocabulary={"activated": state})
    assert list(adata.obs["nk_state"].cat.categories) == ["activated", "unassigned"]
    truth = adata.obs["truth_nk_state"].astype(str)[nk_cells(adata)]
    interferon = called_states(adata)[truth == "type_i_ifn"]
    assert (interferon == "unassigned").mean() > 0.85


def test_clusters_are_named(stated):
    adata = stated.copy()
    nk.tl.nk_states(adata, level="cluster")
    confidence = adata.obs["nk_state_confidence"][nk_cells(adata)]
    assert 2 <= confidence.nunique() < 40
    per_cell = stated.obs["nk_state_confidence"][nk_cells(adata)]
    assert confidence.nunique() < per_cell.nunique() / 10


def test_smoothing_needs_a_graph_and_mixes_neighbors(stated):
    adata = stated.copy()
    with pytest.raises(MissingKeyError, match=r"connectivities.*Run tl\.embed"):
        nk.tl.nk_states(adata, smooth=0.5)
    first = np.flatnonzero(nk_cells(adata))[:2]
    graph = np.zeros((2, adata.n_obs))
    graph[0, first[1]] = graph[1, first[0]] = 1
    full = sparse.lil_matrix((adata.n_obs, adata.n_obs))
    full[first] = graph
    adata.obsp["connectivities"] = full.tocsr()
    nk.tl.nk_states(adata, smooth=0.25)
    before, after = stated.obsm["nk_state_posterior"], adata.obsm["nk_state_posterior"]
    expected = 0.75 * before.iloc[first[0]] + 0.25 * before.iloc[first[1]]
    np.testing.assert_allclose(after.iloc[first[0]], expected, atol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"vocabulary": "expandd"}, MissingKeyError, "no vocabulary 'expandd'.*expanded"),
        ({"vocabulary": {"a": "NO_SUCH_SET"}}, MissingKeyError, "NO_SUCH_SET"),
        ({"vocabulary": {"a": ["NOGENE1", "NOGENE2"]}}, GeneCoverageError, "too few"),
        ({"vocabulary": {"a": ["ISG15"]}}, GeneCoverageError, "fewer than 2 markers"),
        ({"level": "clusters"}, ValueError, "level is 'clusters'"),
        ({"max_error": 2}, ValueError, "max_error is 2"),
        ({"donor": "person"}, MissingKeyError, "person"),
    ],
)
def test_clear_errors(experiment, options, error, text):
    with pytest.raises(error, match=text):
        nk.tl.nk_states(experiment, **options)


def test_why_a_cell_was_called(stated):
    cells = nk_cells(stated) & (stated.obs["nk_state"] == "cytokine").to_numpy()
    why = nk.tl.explain_state(stated, cells, states="cytokine")
    assert set(why["state"]) == {"cytokine"}
    planted = program_table().query("program == 'nk_cytokine' and value > 1")["gene"]
    assert set(why.head(4)["gene"]) <= set(planted)
    assert {"IFNG", "CCL3", "CCL4", "TNF", "CSF2", "CD69"} & set(why.head(4)["gene"])
    row = why[why["gene"] == "CCL3"].iloc[0]
    counts = stated[cells, "CCL3"].layers["counts"].toarray()
    assert row["count"] == pytest.approx(counts.mean())
    assert row["count"] > row["expected"]
    assert row["n_cells"] == cells.sum()
    with pytest.raises(MissingKeyError, match="nobody"):
        nk.tl.explain_state(stated, "nobody")
    with pytest.raises(DesignError, match="another compartment"):
        nk.tl.explain_state(stated, ~nk_cells(stated))


def test_written_slots(stated):
    obs = stated.obs
    assert list(obs["nk_state"].cat.categories) == [*STATES, "unassigned"]
    cells = nk_cells(stated)
    assert obs["nk_state"][cells].notna().all()
    assert obs["nk_state"][~cells].isna().all()
    assert obs["nk_state_confidence"][~cells].isna().all()
    posterior = stated.obsm["nk_state_posterior"]
    assert list(posterior.columns) == STATES
    assert posterior[~cells].isna().all(axis=None)
    total = posterior[cells].sum(axis=1)
    assert total.between(0, 1 + 1e-9).all()
    called = cells & (obs["nk_state"] != "unassigned").to_numpy()
    np.testing.assert_allclose(
        posterior[called].max(axis=1), obs["nk_state_confidence"][called], atol=1e-12
    )
    assert (obs["nk_state_confidence"][called] >= 0.5).all()
    nk.schema.validate(stated, stage="nk_states")


def test_the_log_counts_the_states(small_coculture, caplog):
    adata = small_coculture.copy()
    nk.datasets.use_truth(adata)
    with caplog.at_level("INFO", logger="nkscore"):
        nk.tl.nk_states(adata)
        nk.tl.tumor_states(adata)
    counted = [line for line in caplog.messages if " states: " in line]
    assert [line.split(":")[0] for line in counted] == ["NK states", "Tumor states"]
    number = (adata.obs["nk_state"] == "resting").sum()
    assert f"{number} resting" in counted[0]


def test_higher_least_confidence_only_takes_calls_away(stated):
    strict = stated.copy()
    nk.tl.nk_states(strict, min_confidence=0.9)
    before, after = called_states(stated), called_states(strict)
    kept = after != "unassigned"
    assert 0.3 < kept.mean() < (before != "unassigned").mean()
    assert (after == before)[kept].all()


def test_other_compartments_do_not_matter(stated, experiment):
    alone = experiment[(experiment.obs["compartment"] == "nk").to_numpy()].copy()
    nk.tl.nk_states(alone)
    pd.testing.assert_series_equal(
        alone.obs["nk_state"], stated.obs.loc[alone.obs_names, "nk_state"]
    )


def test_too_few_nk_cells(experiment):
    adata = experiment.copy()
    adata.obs["compartment"] = "tumor"
    adata.obs.iloc[:19, adata.obs.columns.get_loc("compartment")] = "nk"
    adata.obs["qc_pass"] = True
    with pytest.raises(DesignError, match=r"19 NK cells passed QC; at least 20"):
        nk.tl.nk_states(adata)
    nk.tl.nk_states(adata, min_cells=19)
    assert adata.obs["nk_state"].notna().sum() == 19


def test_compartments_are_needed(experiment):
    adata = experiment.copy()
    del adata.obs["compartment"]
    with pytest.raises(MissingKeyError, match=r"compartment.*pp\.compartments"):
        nk.tl.nk_states(adata)


def test_markers_must_be_in_the_data(experiment):
    with pytest.raises(GeneCoverageError, match="have too few of their genes"):
        nk.tl.nk_states(experiment[:, :300].copy())


@pytest.mark.filterwarnings("ignore::nkscore.errors.NkscoreWarning")
def test_real_interferon_response(kang):
    adata = kang.copy()
    is_nk = (adata.obs["cell_type"] == "NK").to_numpy()
    adata.obs["compartment"] = np.where(is_nk, "nk", "other")
    nk.tl.nk_states(adata)
    found = (adata.obs["nk_state"] == "type_i_ifn").to_numpy()
    stimulated = (adata.obs["condition"] == "stim").to_numpy()
    # Measured: 74 of 77 stimulated and 5 of 70 control NK cells.
    assert found[is_nk & stimulated].mean() >= 0.9
    assert found[is_nk & ~stimulated].mean() < 0.1


@pytest.fixture(scope="session")
def netskar(shared):
    """Ranks of genes (0 to 1) among the fold changes of six groups of tumor-infiltrating NK."""
    table = pd.read_csv(shared / "data/nk_state_tables/netskar2024_nhood_markers_all.csv.gz")
    folds = table.set_index("GeneID")[[f"logFC_{group}" for group in range(1, 7)]]
    return folds.rank(pct=True)


@pytest.mark.parametrize(
    ("vocabulary", "state", "groups"),
    [
        # 1 stressed bright, 2 bright, 3 cytotoxic dim, 4 adaptive, 6 activated dim.
        ("stress", "stressed", {1}),
        ("stress", "dysfunctional", {6}),
        ("blood", "cd56bright", {2}),
        ("blood", "adaptive", {4}),
        ("blood", "cd56dim", {3, 6}),
        ("expanded", "adaptive", {4}),
        ("expanded", "activated", {6}),
        ("nk123", "nk1", {3}),
        ("nk123", "nk2", {2}),
        ("nk123", "nk3", {4}),
        ("memory_like", "cd56dim", {3}),
        ("memory_like", "cd56bright", {2}),
    ],
)
def test_sets_rank_their_own_group_first(netskar, vocabulary, state, groups):
    genes = nk.signatures.vocabulary(vocabulary)[state].marks.up
    known = [gene for gene in genes if gene in netskar.index]
    ranks = netskar.loc[known].mean().to_numpy()
    assert int(ranks.argmax()) + 1 in groups
    assert ranks.max() > 0.7
