from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

import nkscore as nk
from nkscore import signatures
from nkscore.errors import DesignError, GeneCoverageError, MissingKeyError, NkscoreWarning

pytestmark = pytest.mark.filterwarnings("ignore:.*incomplete in these data")
LABELS = ["low_myc_dormant_like", "cycling", "ifn_gamma_response", "baseline", "unassigned"]


def tumor_cells(adata):
    obs = adata.obs
    return ((obs["compartment"] == "tumor") & obs["qc_pass"] & obs["tumor"].notna()).to_numpy()


def called_states(adata):
    return adata.obs["tumor_state"].astype(str)[tumor_cells(adata)]


def test_low_myc_cells_are_found(stated):
    low = called_states(stated) == "low_myc_dormant_like"
    truth = stated.obs["truth_tumor_state"][tumor_cells(stated)] == "low_myc"
    assert low[truth].mean() > 0.6
    assert truth[low].mean() > 0.93
    assert low[~truth].mean() < 0.01


def test_none_are_found_where_none_were_planted(simulate):
    adata = simulate(low_myc=0.0)
    nk.tl.tumor_states(adata)
    assert (called_states(adata) == "low_myc_dormant_like").mean() < 0.01


def test_interferon_response_is_found_in_coculture_alone(stated):
    cells = tumor_cells(stated)
    probability = stated.obsm["tumor_programs"]["ifn_gamma_response"][cells]
    mean = probability.groupby(stated.obs["condition"][cells], observed=True).mean()
    assert mean["coculture"] > 0.5
    assert mean["tumor_mono"] == 0
    # Lines that activate NK cells strongly respond strongly.
    of_line = probability.groupby(stated.obs["tumor"][cells], observed=True).mean()
    assert of_line["JURKAT"] > of_line["697"] + 0.2


def test_no_response_is_found_where_none_was_planted(simulate):
    adata = simulate(null="all")
    nk.tl.tumor_states(adata)
    assert (called_states(adata) == "ifn_gamma_response").mean() < 0.01
    assert np.nanmean(adata.obsm["tumor_programs"]["ifn_gamma_response"]) < 0.05
    # The dormant-like cells and the cycle are still there.
    assert (called_states(adata) == "low_myc_dormant_like").mean() > 0.05


def test_cycling_follows_the_phase(stated):
    cells = tumor_cells(stated)
    cycling = stated.obsm["tumor_programs"]["cycling"][cells] > 0.5
    divides = stated.obs["truth_phase"][cells] != "G1"
    assert cycling[divides].mean() > 0.97
    assert cycling[~divides].mean() < 0.04


def test_without_a_cycle_no_cell_cycles(simulate):
    adata = simulate(tumors=["697", "GDM1"], cell_cycle=False)
    nk.tl.tumor_states(adata)
    assert (called_states(adata) == "cycling").mean() < 0.02


@pytest.mark.parametrize(("share", "flips"), [(0.5, 0.02), (0.25, 0.07)])
def test_shallow_cells_lose_their_call_rather_than_change_it(
    stated, thinned, lost_and_changed, share, flips
):
    shallow = thinned(stated, share)
    nk.tl.tumor_states(shallow)
    after = called_states(shallow)
    lost, changed = lost_and_changed(called_states(stated), after)
    assert changed < flips
    assert lost > 2 * changed
    # A shallow cell is not a dormant one.
    low = after == "low_myc_dormant_like"
    truth = stated.obs["truth_tumor_state"][tumor_cells(stated)] == "low_myc"
    assert truth[low].mean() > 0.9


def test_own_programs(stated):
    adata = stated.copy()
    mine = nk.tl.TumorProgram(
        genes=("TIROSH2016_G1S", "TIROSH2016_G2M"), fold=3.0, bounds=(1.5, 50.0)
    )
    nk.tl.tumor_states(adata, programs={"divides": mine})
    assert list(adata.obs["tumor_state"].cat.categories) == ["divides", "baseline", "unassigned"]
    np.testing.assert_allclose(
        adata.obsm["tumor_programs"]["divides"], stated.obsm["tumor_programs"]["cycling"]
    )
    state = called_states(adata)
    divides = adata.obs["truth_phase"][tumor_cells(adata)] != "G1"
    assert (state == "divides")[divides].mean() > 0.95


def test_order_of_programs_decides_the_label(stated):
    adata = stated.copy()
    programs = nk.tl._states._tumor_states.PROGRAMS
    nk.tl.tumor_states(adata, programs={k: programs[k] for k in ("ifn_gamma_response", "cycling")})
    both = (adata.obsm["tumor_programs"] > 0.8).all(axis=1)
    assert both.sum() > 50
    assert (adata.obs["tumor_state"][both] == "ifn_gamma_response").all()
    nk.tl.tumor_states(adata, order=["cycling", "ifn_gamma_response"])
    assert (adata.obs["tumor_state"][both] == "cycling").all()
    assert list(adata.obs["tumor_state"].cat.categories)[:2] == ["cycling", "ifn_gamma_response"]


def test_label_follows_from_the_probabilities(stated):
    cells = tumor_cells(stated)
    table, state = stated.obsm["tumor_programs"][cells], called_states(stated)
    on, off = table[LABELS[:3]] >= 0.8, table[LABELS[:3]] <= 0.2
    assert (state[off.all(axis=1)] == "baseline").all()
    low, cycles = on["low_myc_dormant_like"], on["cycling"]
    # Some have too much of the cycle for the label, too little to be called cycling.
    allowed = ["low_myc_dormant_like", "unassigned"]
    assert state[low & off["cycling"]].isin(allowed).all()
    # A cell that cycles is not dormant, however low its MYC targets.
    assert (low & cycles).sum() > 5
    assert (state[cycles] != "low_myc_dormant_like").all()
    first_open = ~low & ~off["low_myc_dormant_like"] & off["cycling"]
    assert first_open.sum() > 10
    assert (state[first_open] == "unassigned").mean() > 0.9
    second = off["low_myc_dormant_like"] & cycles
    assert (state[second] == "cycling").all()


def test_written_slots(stated):
    obs, cells = stated.obs, tumor_cells(stated)
    assert list(obs["tumor_state"].cat.categories) == LABELS
    programs = list(stated.obsm["tumor_programs"].columns)
    assert {*LABELS[:3], "myc_high", "senescence_like", "nfkb", "mhc_i_low", "stress"} < set(
        programs
    )
    assert list(stated.obsm["tumor_program_scores"].columns) == programs
    assert list(stated.obsm["dormancy"].columns) == [
        "myc",
        "biosynthesis",
        "diapause",
        "g0",
        "senescence",
        "apoptosis",
        "index",
    ]
    assert stated.obsm["tumor_programs"][~cells].isna().all(axis=None)
    values = stated.obsm["tumor_programs"][cells].to_numpy()
    assert values.min() >= 0
    assert values.max() <= 1
    assert obs["tumor_state"][obs["compartment"] != "tumor"].isna().all()
    not_judged = (obs["compartment"] == "tumor").to_numpy() & ~cells
    assert not_judged.sum() > 100
    assert (obs["tumor_state"][not_judged] == "unassigned").all()
    record = stated.uns["nkscore"]["tl.tumor_states"]
    assert set(record["fold"]) == set(programs)
    assert set(record["genes"]["program"]) == set(programs)
    assert set(record["genes"]["gene"]) == set(record["rates"].index)
    assert len(record["levels"]) == len(programs) * 6
    assert list(record["rates"].columns) == sorted(set(obs["tumor"].dropna().astype(str)))
    colors = nk.pl.palette("tumor_state", obs["tumor_state"].cat.categories)
    assert list(stated.uns["tumor_state_colors"]) == list(colors.values())
    nk.schema.validate(stated, stage="tumor_states")


def test_lines_with_few_cells_are_unassigned(experiment, caplog):
    adata = experiment.copy()
    rare = np.flatnonzero((adata.obs["tumor"] == "K562").to_numpy() & tumor_cells(adata))
    adata = adata[np.setdiff1d(np.arange(adata.n_obs), rare[19:])].copy()
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        nk.tl.tumor_states(adata)
    assert "Fewer than 20 tumor cells, unassigned: K562" in caplog.text
    cells = tumor_cells(adata) & (adata.obs["tumor"] == "K562").to_numpy()
    assert cells.sum() == 19
    assert (adata.obs["tumor_state"][cells] == "unassigned").all()
    assert adata.obsm["tumor_programs"][cells].isna().all(axis=None)
    nk.tl.tumor_states(adata, min_cells=19)
    assert adata.obsm["tumor_programs"][cells].notna().all(axis=None)


def test_no_line_has_enough_cells(experiment):
    with pytest.raises(DesignError, match=r"No tumor has 5000 tumor cells that passed QC"):
        nk.tl.tumor_states(experiment.copy(), min_cells=5000)


def test_missing_columns(experiment):
    adata = experiment.copy()
    del adata.obs["tumor"]
    with pytest.raises(MissingKeyError, match=r"no 'tumor'.*pp\.demultiplex"):
        nk.tl.tumor_states(adata)
    del adata.obs["compartment"]
    with pytest.raises(MissingKeyError, match=r"no 'compartment'.*pp\.compartments"):
        nk.tl.tumor_states(adata)


@pytest.mark.filterwarnings(r"ignore:obsm\['dormancy'\] is not written")
def test_genes_must_be_in_the_data(experiment):
    with pytest.raises(GeneCoverageError, match="have too few of their genes"):
        nk.tl.tumor_states(experiment[:, -300:].copy())


def low_myc(adata):
    cells = tumor_cells(adata)
    truth = (adata.obs["truth_tumor_state"][cells] == "low_myc").to_numpy()
    return truth, adata.obsm["tumor_programs"]["low_myc_dormant_like"][cells].to_numpy()


def area(truth, score):
    ranks = pd.Series(score).rank().to_numpy()
    return (ranks[truth].mean() - (truth.sum() + 1) / 2) / (~truth).sum()


def test_ranking_and_calibration_of_low_myc(stated):
    truth, p = low_myc(stated)
    assert area(truth, p) > 0.97
    bins = np.minimum((10 * p).astype(int), 9)
    gaps = [
        abs(truth[bins == b].mean() - p[bins == b].mean()) * (bins == b).mean() for b in set(bins)
    ]
    assert sum(gaps) < 0.05


def test_index_is_zero_as_usual_and_rises_in_dormant_cells(stated):
    truth, _ = low_myc(stated)
    parts = stated.obsm["dormancy"][tumor_cells(stated)]
    alone = (stated.obs["condition"][tumor_cells(stated)] == "tumor_mono").to_numpy()
    assert abs(parts["index"][alone].mean()) < 0.03
    assert parts["index"][truth].mean() > parts["index"][~truth].mean() + 0.5
    assert parts["myc"][truth].mean() < -0.2
    assert area(truth, parts["index"].to_numpy()) > 0.93


@pytest.mark.parametrize(("share", "changed"), [(0.5, 0.05), (0.25, 0.1)])
def test_index_does_not_follow_depth(stated, thinned, share, changed):
    shallow = thinned(stated, share)
    nk.tl.tumor_states(shallow, programs="low_myc_dormant_like")
    cells = tumor_cells(stated)
    before, after = (x.obsm["dormancy"]["index"][cells] for x in (stated, shallow))
    assert abs(after.median() - before.median()) < 0.1 * before.std()
    # The call, too, hardly changes.
    on = [low_myc(x)[1] >= 0.8 for x in (stated, shallow)]
    # Most of the change is from on to open; 5 % would be wanted at a quarter, too.
    assert (on[0] != on[1]).mean() < changed


def cycle_matched(adata):
    """The comparison that docs/dormancy.md offers."""
    cycling = adata.obsm["tumor_programs"]["cycling"]
    name = cycling.ge(0.5).map({True: "cycling", False: "resting"})
    adata.obs["cycle"] = name.where(cycling.notna())
    split = nk.tl.decompose_shift(adata, "index", "cycle", key="dormancy")
    sums = split[split["stratum"] == "all"].set_index(["component", "tumor"])["change"]
    return split, {name: sums[name] for name in ("total", "within_state")}


def test_dormancy_is_compared_within_the_same_state_of_the_cycle(stated):
    """A change of the share of cycling cells alone is no change within them, and the reverse."""
    adata = stated[tumor_cells(stated)].copy()
    rests = 1.0 - adata.obsm["tumor_programs"]["cycling"].ge(0.5)
    # Thin out resting co-cultured cells: the mean index falls, no cell has another one.
    treated = (adata.obs["condition"] == "coculture").to_numpy()
    adata = adata[~treated | (rests == 0).to_numpy() | (np.arange(adata.n_obs) % 2 == 0)].copy()
    rests = 1.0 - adata.obsm["tumor_programs"]["cycling"].ge(0.5)
    adata.obsm["dormancy"]["index"] = rests
    split, sums = cycle_matched(adata)
    assert (sums["total"] < -0.05).all()
    np.testing.assert_allclose(sums["within_state"], 0, atol=1e-12)
    # All co-cultured cells half a unit up, and nothing else.
    treated = (adata.obs["condition"] == "coculture").to_numpy()
    adata.obsm["dormancy"]["index"] = rests + 0.5 * treated
    split, sums = cycle_matched(adata)
    np.testing.assert_allclose(sums["within_state"], 0.5, atol=1e-12)
    each = split[(split["component"] == "within_state") & (split["stratum"] != "all")]
    np.testing.assert_allclose(each["mean_treated"] - each["mean_control"], 0.5, atol=1e-12)
    assert set(each["stratum"]) == {"cycling", "resting"}
    assert (each["n_samples_treated"] == 3).all()


def test_transcripts_of_nk_cells_are_in_no_inflammatory_program():
    programs = signatures.tumor_programs().set_index("program")
    nk_genes = {*signatures.nk_exclusive(), *signatures.get("NK_SHARED").up}
    for name in ("senescence_like", "nfkb", "type_i_ifn", "apoptosis"):
        members = set(nk.tl._states._tumor_states.PROGRAMS[name].members())
        assert members.isdisjoint(nk_genes)
        assert len(members) == programs.loc[name, "n_genes"]
    assert "TNF" in signatures.get("SENMAYO").up


def test_ambient_nk_transcripts_make_no_program(simulate):
    # A third of the RNA is ambient, half of that from NK cells; nothing answers them.
    adata = simulate(null=True, low_myc=0.0, ambient=0.3, doublets=0.0)
    programs = ["senescence_like", "nfkb", "ifn_gamma_response"]
    nk.tl.tumor_states(adata, programs=programs)
    # Lists of NK transcripts alone do not suffice at so much ambient RNA.
    assert (adata.obsm["tumor_programs"]["nfkb"] >= 0.8).mean() > 0.1
    nk.pp.ambient(adata)
    nk.tl.tumor_states(adata, programs=programs)
    assert (adata.obsm["tumor_programs"] >= 0.8).mean().max() < 0.01
    genes = adata.uns["nkscore"]["tl.tumor_states"]["genes"]
    n_genes = (genes["program"] == "nfkb").sum()
    assert n_genes > 0.5 * len(nk.tl._states._tumor_states.PROGRAMS["nfkb"].members())


def test_lines_without_a_monoculture_stay_open(experiment, caplog):
    adata = experiment[(experiment.obs["condition"] != "tumor_mono").to_numpy()].copy()
    with caplog.at_level(logging.WARNING, logger="nkscore"):
        nk.tl.tumor_states(adata, programs=["cycling", "ifn_gamma_response"])
    assert "reference cells of condition 'tumor_mono'" in caplog.text
    cells = tumor_cells(adata)
    assert (adata.obsm["tumor_programs"]["ifn_gamma_response"][cells] == 0.5).all()
    state = called_states(adata)
    assert set(state.unique()) == {"cycling", "unassigned"}


def test_groups_and_names_of_programs(stated):
    adata = stated.copy()
    nk.tl.tumor_states(adata, programs=["cycling", "ligands"])
    names = list(adata.obsm["tumor_programs"].columns)
    assert names[0] == "cycling"
    assert {"ligands_nkg2d_high", "ligands_nkg2d_low", "ligands_death_receptor_high"} < set(names)
    assert "dormancy" in adata.obsm  # of the run before
    np.testing.assert_allclose(
        adata.obsm["tumor_programs"]["cycling"],
        stated.obsm["tumor_programs"]["cycling"],
        rtol=0,
        atol=0.02,  # genes of the ligands no longer measure depth
    )


def test_errors_of_programs(experiment):
    adata = experiment.copy()
    with pytest.raises(
        MissingKeyError, match=r"no packaged tumor program 'cyclin'.*Nearest: cycling"
    ):
        nk.tl.tumor_states(adata, programs=["cyclin"])
    unknown = nk.tl.TumorProgram(genes=("HALLMARK_MYC",))
    with pytest.raises(MissingKeyError, match="no signature 'HALLMARK_MYC'"):
        nk.tl.tumor_states(adata, programs={"mine": unknown})
    absent = signatures.Signature("absent", ("NOGENE1", "NOGENE2"))
    with pytest.raises(GeneCoverageError, match=r"mine 0 of 2"):
        nk.tl.tumor_states(adata, programs={"mine": nk.tl.TumorProgram(genes=(absent,))})
    with pytest.raises(MissingKeyError, match="order names stress, but the programs called are"):
        nk.tl.tumor_states(adata, programs=["cycling"], order=["stress"])


def test_interferon_response_of_real_blood_cells(kang):
    adata = kang[kang.obs["cell_type"].isin(["B", "CD14 Mono", "CD4 Naive T", "CD8 T"])].copy()
    control = (adata.obs["condition"] == "ctrl").to_numpy()
    # Every other control cell is handed in as treated, in a line that is judged by the rest.
    held_out = control & (np.arange(adata.n_obs) % 2 == 0)
    adata.obs["tumor"] = adata.obs["cell_type"].astype(str)
    adata.obs["compartment"] = "tumor"
    adata.obs["condition"] = np.where(control & ~held_out, "tumor_mono", "coculture")
    nk.tl.tumor_states(adata, programs=["type_i_ifn"])
    on = adata.obsm["tumor_programs"]["type_i_ifn"] >= 0.8
    assert on[~control].mean() > 0.9
    assert on[held_out].mean() < 0.05


def test_interferon_alone_makes_no_cell_low_in_myc(kang):
    """MYC targets of all treated monocytes fall together; that is no second kind of cells."""
    adata = kang[kang.obs["cell_type"].isin(["B", "CD14 Mono", "CD4 Naive T", "CD8 T"])].copy()
    adata.obs["tumor"] = adata.obs["cell_type"].astype(str)
    adata.obs["compartment"] = "tumor"
    treated = (adata.obs["condition"] != "ctrl").to_numpy()
    adata.obs["condition"] = np.where(treated, "coculture", "tumor_mono")
    nk.tl.tumor_states(adata, programs=["low_myc_dormant_like"])
    monocytes = (adata.obs["tumor"] == "CD14 Mono").to_numpy()
    low = adata.obsm["tumor_programs"]["low_myc_dormant_like"] >= 0.8
    assert low[treated & monocytes].mean() < 0.05
    assert adata.obsm["tumor_program_scores"]["low_myc_dormant_like"].notna().all()


def test_a_dormancy_index_that_cannot_be_made_is_named(experiment):
    part = nk.signatures._programs.dormancy_components()["biosynthesis"]
    lost = list(part.up)[len(part.up) // 4 :]
    adata = experiment[:, ~experiment.var_names.isin(lost)].copy()
    with pytest.warns(NkscoreWarning, match=r"obsm\['dormancy'\] is not written.*biosynthesis"):
        nk.tl.tumor_states(adata)
    assert "dormancy" not in adata.obsm
    assert "low_myc_dormant_like" in adata.obsm["tumor_programs"]
