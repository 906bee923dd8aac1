"""What every function that annotates cells must keep to, whatever it computes.

One row of ``STEPS`` per function (and per registered scorer) runs all tests below. Functions that
summarize cells stand in ``SUMMARIES`` and write nothing.
"""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import nkscore as nk
from nkscore.errors import DesignError, GeneCoverageError, NkscoreWarning
from nkscore.scoring import scorers

if TYPE_CHECKING:
    from collections.abc import Callable

SETS = {"cytotoxic": ["PRF1", "GZMB", "NKG7", "CD3E-"], "cycle": ["MKI67", "TOP2A", "CDK1"]}


@dataclass(frozen=True)
class Step:
    """One function: how to run it, and what few cells lead to."""

    run: Callable[[Any], None]
    reads_counts: bool = True
    reads_genes: bool = True
    #: Error and text for one cell and for none; ``None`` where the function works.
    one_cell: tuple[type[Exception], str] | None = None
    no_cells: tuple[type[Exception], str] | None = None
    #: Fills slots that the experiment lacks, by the cells' names.
    prepare: Callable[[Any], None] | None = None
    #: Largest relative difference between number types of the same counts.
    tolerance: float = 0.0
    #: Beginning of the names of slots that the function writes for other options only.
    never: str | tuple[str, ...] = "<"
    #: Slots that it writes.
    writes: frozenset[str] = frozenset()


SLOTS = {slot.path: slot for slot in nk.schema.SLOTS}


def _declared(name, never="<"):
    """Slots that the table says a function writes; "<" begins names that only data can give."""
    function = name.partition(",")[0]
    return frozenset(
        path
        for path, slot in SLOTS.items()
        if function in slot.written_by and not slot.name.startswith(never)
    )


def _scoring(method):
    scorer = scorers()[method]
    return Step(
        run=lambda adata: nk.tl.score(adata, SETS, method=method),
        reads_counts=scorer.reads == "counts",
    )


def _numbered(adata):
    """Numbers from the cells' names, which stay with them in any order."""
    return np.array([sum(map(ord, name)) for name in adata.obs_names], dtype=int)


def _with_guides(adata):
    guides = ["JAK1g1", "JAK1g2", "NTg1", "NTg2"]
    counts = 40 * (_numbered(adata)[:, None] % 4 == np.arange(4)) + 1
    adata.obsm["guides"] = pd.DataFrame(counts, index=adata.obs_names, columns=guides)


def _with_genotypes(adata):
    kind = np.where(_numbered(adata) % 7 == 0, "doublet", "unassigned")
    adata.obs["genotype"] = pd.Categorical([None] * adata.n_obs)
    adata.obs["genotype_class"] = pd.Categorical(kind)
    adata.obs["genotype_confidence"] = np.where(kind == "doublet", 0.95, np.nan)


def _with_perturbations(adata):
    even = _numbered(adata) % 2 == 0
    adata.obs["guide"] = pd.Categorical(np.where(even, "JAK1g1", "NTg1"))
    adata.obs["perturbation"] = pd.Categorical(np.where(even, "JAK1", "non-targeting"))


@lru_cache
def _labelled_reference():
    adata = nk.datasets.simulate_coculture(
        tumors=["697"], n_donors=2, n_cells_per_sample=60, n_genes=4000, rng=5
    )
    nk.datasets.use_truth(adata)
    resting = adata.obs["truth_nk_state"] == "resting"
    adata.obs["label"] = np.where(resting, "resting", "other")
    adata.obs["growth"] = np.where(adata.obs["truth_phase"] == "G1", "resting", "growing")
    adata.obsm["X_umap"] = np.column_stack([resting, _numbered(adata)]).astype(float)
    return adata


_NO_NK = (DesignError, r"NK cells passed QC; at least 20 are needed")
_NO_TUMOR_CELLS = (DesignError, r"tumor cells passed QC; at least 20 are needed")
_NO_TUMOR = (DesignError, r"No tumor has 20 tumor cells that passed QC")
_NO_MAP = (ValueError, r"cells cannot be mapped; at least 20 are needed")
_NO_CLUSTERS = (DesignError, r"cells? (that )?passed QC")
_NO_SAMPLES = (DesignError, r"[Nn]o (sample|cell)")
STEPS: dict[str, Step] = {
    "pp.qc": Step(
        run=nk.pp.qc,
    ),
    "pp.demultiplex": Step(
        run=nk.pp.demultiplex,
        reads_counts=False,
        reads_genes=False,
        never=("<", "sample_evidence"),
    ),
    "pp.demultiplex, with genotypes": Step(
        run=nk.pp.demultiplex,
        reads_counts=False,
        reads_genes=False,
        prepare=_with_genotypes,
    ),
    "pp.compartments": Step(
        run=nk.pp.compartments,
        one_cell=_NO_CLUSTERS,
        no_cells=_NO_CLUSTERS,
    ),
    "pp.compartments, by markers": Step(
        run=lambda adata: nk.pp.compartments(adata, evidence="markers"),
        one_cell=_NO_CLUSTERS,
        no_cells=_NO_CLUSTERS,
    ),
    "pp.assign_guides": Step(
        run=nk.pp.assign_guides,
        prepare=_with_guides,
    ),
    "pp.doublet_scores": Step(
        run=nk.pp.doublet_scores,
    ),
    "pp.ambient": Step(
        run=lambda adata: nk.pp.ambient(adata, min_cells=5),
        one_cell=_NO_SAMPLES,
        no_cells=_NO_SAMPLES,
    ),
    "pp.normalize": Step(
        run=nk.pp.normalize,
    ),
    **{f"tl.score, {method}": _scoring(method) for method in sorted(scorers())},
    "tl.score_null": Step(
        run=lambda adata: nk.tl.score_null(adata, SETS, n_sets=19),
    ),
    "tl.cell_cycle": Step(
        run=nk.tl.cell_cycle,
        reads_counts=False,
    ),
    "tl.nk_states": Step(
        run=nk.tl.nk_states,
        one_cell=_NO_NK,
        no_cells=_NO_NK,
    ),
    "tl.tumor_states": Step(
        run=nk.tl.tumor_states,
        one_cell=_NO_TUMOR,
        no_cells=_NO_TUMOR,
    ),
    "tl.map_reference": Step(
        run=lambda adata: nk.tl.map_reference(adata, _labelled_reference(), labels="label"),
        never="tumor_state",
        one_cell=_NO_NK,
        no_cells=_NO_NK,
    ),
    "tl.map_reference, tumor": Step(
        run=lambda adata: nk.tl.map_reference(
            adata, _labelled_reference(), labels="growth", compartment="tumor"
        ),
        never="nk_state",
        one_cell=_NO_TUMOR_CELLS,
        no_cells=_NO_TUMOR_CELLS,
    ),
    "tl.responders": Step(
        run=lambda adata: nk.tl.responders(adata, replicate=None),
        prepare=_with_perturbations,
        one_cell=(DesignError, "No cell with a guide|No cell has a guide"),
        no_cells=(DesignError, "No cell has a guide"),
    ),
    "tl.embed": Step(
        run=nk.tl.embed,
        reads_counts=False,
        one_cell=_NO_MAP,
        no_cells=_NO_MAP,
    ),
}
STEPS = {name: replace(s, writes=_declared(name, s.never)) for name, s in STEPS.items()}
BY_COUNTS = [name for name, step in STEPS.items() if step.reads_counts]
#: Graphs of neighbors depend on the order of their nodes.
GRAPHS = {"tl.embed", "pp.compartments, by markers", "pp.doublet_scores"}
SCORINGS = [f"tl.score, {method}" for method in sorted(scorers())]


# --- looking at an object


def _leaves(tree, path):
    """Paths and values of nested dictionaries."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from _leaves(value, f"{path}/{key}")
    else:
        yield path, tree


def _digest(value):
    """All bytes of a value, with its types."""
    if sparse.issparse(value):
        parts = [value.data, value.indices, value.indptr]
        return type(value).__name__, value.shape, [(p.dtype.str, p.tobytes()) for p in parts]
    if isinstance(value, pd.DataFrame):
        return [(column, _digest(value[column])) for column in value], list(value.index)
    if isinstance(value, pd.Series):
        if isinstance(value.dtype, pd.CategoricalDtype):
            return list(value.cat.categories), value.cat.ordered, list(value.cat.codes)
        return _digest(value.to_numpy())
    if isinstance(value, np.ndarray):
        content = repr(value.tolist()) if value.dtype == object else value.tobytes()
        return value.dtype.str, value.shape, content
    return repr(value)


def _slots(adata):
    """Path → value of everything that an AnnData holds."""
    found = {"obs_names": list(adata.obs_names), "var_names": list(adata.var_names)}
    if adata.X is not None:
        found["X"] = adata.X
    for frame in ("obs", "var"):
        found |= {f"{frame}/{c}": getattr(adata, frame)[c] for c in getattr(adata, frame)}
    for place in ("layers", "obsm", "varm", "obsp", "varp"):
        # anndata 0.13 lists X as the layer None.
        entries = ((k, v) for k, v in getattr(adata, place).items() if k is not None)
        found |= {f"{place}/{key}": value for key, value in entries}
    found |= dict(_leaves(dict(adata.uns), "uns"))
    return found


def _snapshot(adata):
    return {path: _digest(value) for path, value in _slots(adata).items()}


def _changed(before, after):
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _within(path, declared):
    return any(path == slot or path.startswith(f"{slot}/") for slot in declared)


def _assert_alike(found, expected, *, tolerance):
    """Compare values of two slots by what they mean, not by their number types."""
    if isinstance(expected, pd.DataFrame):
        assert list(found) == list(expected)
        for column in expected:
            _assert_alike(found[column], expected[column], tolerance=tolerance)
        return
    if isinstance(expected, pd.Series) and isinstance(expected.dtype, pd.CategoricalDtype):
        assert list(found.cat.categories) == list(expected.cat.categories)
        np.testing.assert_array_equal(found.cat.codes, expected.cat.codes)
        return
    if sparse.issparse(expected):
        found, expected = found.toarray(), expected.toarray()
    if isinstance(expected, (float, np.ndarray, pd.Series)):
        found, expected = np.asarray(found), np.asarray(expected)
        if expected.dtype.kind == "f":
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)
            return
    np.testing.assert_array_equal(found, expected)


def _assert_same_results(found, expected, step, *, tolerance=None):
    mine, theirs = _slots(found), _slots(expected)
    written = {path for path in theirs if _within(path, step.writes)}
    assert {path for path in mine if _within(path, step.writes)} == written
    for path in written:
        _assert_alike(
            mine[path], theirs[path], tolerance=step.tolerance if tolerance is None else tolerance
        )


# --- objects to run on


@pytest.fixture(scope="module")
def ready(small_coculture, call_cells):
    """The experiment after pp and before any tl; no test changes it."""
    adata = call_cells(small_coculture.copy())
    nk.pp.normalize(adata)
    return adata


def _remove(adata, path):
    place, _, key = path.partition("/")
    if place == "X":
        adata.X = None
    elif key.startswith("nkscore/"):
        adata.uns["nkscore"].pop(key.removeprefix("nkscore/").split("/")[0], None)
    elif key in getattr(adata, place):
        del getattr(adata, place)[key]


def _without_results(ready, step, raw):
    """Keep what was read and what other steps declare: nothing that this step may have left."""
    adata = ready.copy()
    others = set().union(*[s.writes for s in STEPS.values() if s.writes != step.writes])
    for path in set(_slots(adata)) - set(_slots(raw)):
        if _within(path, step.writes) or not _within(path, others):
            _remove(adata, path)
    if step.prepare is not None:
        step.prepare(adata)
    return adata


@pytest.fixture(scope="module")
def results(ready, small_coculture):
    """Step → the object after it; made once, not to be changed."""
    made = {}

    def result(name):
        if name not in made:
            made[name] = _without_results(ready, STEPS[name], small_coculture)
            STEPS[name].run(made[name])
        return made[name]

    return result


@pytest.fixture
def fresh(ready, small_coculture):
    """Step → an object that lacks only its results."""
    return lambda name: _without_results(ready, STEPS[name], small_coculture)


def _annotates(function):
    return inspect.isfunction(function) and function.__annotations__.get("return") == "None"


def test_the_table_is_complete():
    public = {
        f"{space.__name__.split('.')[1]}.{name}"
        for space in (nk.pp, nk.tl)
        for name in space.__all__
        if _annotates(getattr(space, name))
    }
    # It needs more pairs of cells than these lanes have.
    assert public == {name.partition(",")[0] for name in STEPS} | {"tl.pair_states"}


def test_the_steps_write_all_that_the_table_says():
    """No slot is left out of all runs of a function."""
    for name in {name.partition(",")[0] for name in STEPS}:
        runs = [step.writes for run, step in STEPS.items() if run.partition(",")[0] == name]
        declared = {path for path in _declared(name) if "<" not in path}
        assert frozenset().union(*runs) == declared


# --- what is written


@pytest.mark.parametrize("name", STEPS)
def test_returns_nothing_and_writes_the_declared_slots_only(fresh, name):
    adata, step = fresh(name), STEPS[name]
    before = _snapshot(adata)
    assert step.run(adata) is None
    changed = _changed(before, _snapshot(adata))
    assert {path for path in changed if not _within(path, step.writes)} == set()
    missing = {slot for slot in step.writes if not any(_within(path, {slot}) for path in changed)}
    assert missing == set()


@pytest.mark.parametrize("name", STEPS)
def test_twice_gives_the_same_bytes(results, name):
    first = results(name)
    again = first.copy()
    STEPS[name].run(again)
    assert _changed(_snapshot(first), _snapshot(again)) == set()


@pytest.mark.parametrize("name", STEPS)
def test_h5ad_round_trip(results, name, tmp_path):
    made = results(name)
    made.write_h5ad(tmp_path / "made.h5ad")
    again = anndata.read_h5ad(tmp_path / "made.h5ad")
    _assert_same_results(again, made, STEPS[name], tolerance=0.0)
    # What was read can be worked on: a second run gives the same.
    STEPS[name].run(again)
    _assert_same_results(again, made, STEPS[name], tolerance=0.0)


@pytest.mark.parametrize("name", STEPS)
def test_results_have_the_declared_types(results, is_of_type, name):
    slots = _slots(results(name))
    for path in STEPS[name].writes:
        if not path.startswith("uns/"):
            assert is_of_type(slots[path], SLOTS[path].dtype)
            n_first = {"cells": results(name).n_obs, "genes": results(name).n_vars}
            assert slots[path].shape[0] == n_first[SLOTS[path].axis.split()[0]]
        if isinstance(slots.get(path), pd.DataFrame) and path.startswith("obsm/"):
            assert list(slots[path].index) == slots["obs_names"]


#: What summarizes an AnnData → how to run it on one that has been through the chain.
SUMMARIES: dict[str, Callable[[Any], Any]] = {
    "pp.keep": nk.pp.keep,
    "tl.pseudobulk": nk.tl.pseudobulk,
    "tl.interaction_response": lambda adata: nk.tl.interaction_response(adata, min_cells=5),
    "tl.state_fractions": lambda adata: nk.tl.state_fractions(adata, min_cells=2),
    "tl.state_shift": lambda adata: nk.tl.state_shift(adata, "tumor_state", min_cells=2),
    "tl.nk_activation": lambda adata: nk.tl.nk_activation(adata, min_cells=2),
    "tl.response_score": lambda adata: nk.tl.response_score(adata, "cytotoxic", min_cells=5),
    "tl.decompose_shift": lambda adata: nk.tl.decompose_shift(
        adata, "cycle", strata="tumor_state", min_cells=5
    ),
    "tl.flag_ambient": lambda adata: nk.tl.flag_ambient(_changes(), adata=adata, min_cells=5),
    "tl.doublet_sensitivity": lambda adata: nk.tl.doublet_sensitivity(
        _changes(), adata, min_cells=5
    ),
    "tl.communication": lambda adata: nk.tl.communication(adata, min_cells=5),
    "tl.response_model": lambda adata: nk.tl.response_model(adata, "~ condition", min_cells=5),
    "tl.contacts": nk.tl.contacts,
    "tl.visibility": lambda adata: nk.tl.visibility(adata, min_cells=2),
    "tl.explain_state": lambda adata: nk.tl.explain_state(
        adata, adata.obs["nk_state"].notna().to_numpy()
    ),
    "tl.calibration": lambda adata: nk.tl.calibration(adata, "truth_nk_state"),
    "tl.depth_stability": lambda adata: nk.tl.depth_stability(
        adata, _call_by_counts, shares=(0.5,), repeats=1
    ),
    "tl.marker_table": lambda adata: nk.tl.marker_table(adata, ["NKG7", "GNLY"]),
    "tl.project_cohort": lambda adata: nk.tl.project_cohort(
        adata, gene_signatures=SETS, min_cells=5
    ),
    "tl.perturbation_response": nk.tl.perturbation_response,
    "tl.perturbation_scores": nk.tl.perturbation_scores,
    "tl.guide_abundance": nk.tl.guide_abundance,
}


def _changes():
    """A table of changes of both lines, as ``tl.interaction_response`` returns it."""
    lines, genes = ["697", "GDM1"], ["NKG7", "ACTB"]
    rows = [{"tumor": line, "gene": gene, "log2_fc": 1.0} for line in lines for gene in genes]
    return pd.DataFrame(rows).assign(se=0.5, p_value=0.05, q_value=0.1)


def _call_by_counts(adata):
    even = np.asarray(adata.layers["counts"].sum(axis=1)).ravel() % 2 == 0
    adata.obs["nk_state"] = pd.Categorical(np.where(even, "resting", "activated"))


def test_all_summaries_are_run():
    public = {
        f"{space.__name__.split('.')[1]}.{name}"
        for space in (nk.pp, nk.tl)
        for name in space.__all__
        if inspect.isfunction(function := getattr(space, name)) and not _annotates(function)
        if any("AnnData" in str(kind) for kind in _given(function))
    }
    # They need more pairs of cells than these lanes have, clones, or other cells.
    pairs = {"tl.contact_preferences", "tl.contact_response"}
    clones = {"tl.clone_expression", "tl.clone_fate"}
    others = {"tl.persistence", "tl.persisting_states", "tl.plan_experiment"}
    assert public == {*SUMMARIES, *pairs, *clones, *others}


def _given(function):
    return [p.annotation for p in inspect.signature(function).parameters.values()]


@pytest.fixture(scope="module")
def whole(ready, results):
    """The experiment after the chain, with guides; no test changes it."""
    adata = ready.copy()
    for name in ("pp.ambient", "tl.score, rank_auc", "tl.nk_states", "tl.tumor_states"):
        made = results(name)
        for path in _declared(name):
            place, _, key = path.partition("/")
            record = key.partition("/")[2]
            if record:
                adata.uns["nkscore"][record] = made.uns["nkscore"][record]
            else:
                getattr(adata, place)[key] = getattr(made, place)[key]
    # Guides of both kinds in each well of both arms.
    number = np.arange(adata.n_obs) % 4
    adata.obs["guide"] = pd.Categorical(np.array(["JAK1g1", "JAK1g2", "NTg1", "NTg2"])[number])
    adata.obs["perturbation"] = pd.Categorical(np.where(number < 2, "JAK1", "non-targeting"))
    return adata


@pytest.mark.parametrize("name", SUMMARIES)
def test_summaries_write_nothing(whole, name):
    adata = whole.copy()
    before = _snapshot(adata)
    assert SUMMARIES[name](adata) is not None
    assert _changed(before, _snapshot(adata)) == set()


# --- what it is computed from

DTYPES = (np.int32, np.int64, np.uint16, np.float32, np.float64)
CONTAINERS = {
    "csr": sparse.csr_matrix,
    "csc": sparse.csc_matrix,
    "dense": lambda m: m.toarray(),
    "csr_array": sparse.csr_array,
}


@pytest.mark.parametrize("name", BY_COUNTS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_array_and_number_types_of_counts(results, fresh, name, container):
    # These take a second: one type must do.
    one = name in GRAPHS or container == "csr_array"
    for dtype in (np.float64,) if one else DTYPES:
        adata = fresh(name)
        adata.layers["counts"] = CONTAINERS[container](adata.layers["counts"].astype(dtype))
        before = _digest(adata.layers["counts"])
        STEPS[name].run(adata)
        assert _digest(adata.layers["counts"]) == before
        _assert_same_results(adata, results(name), STEPS[name])


@pytest.mark.parametrize("container", ["csc", "dense", "csr_array"])
def test_array_types_of_x_in_means(results, fresh, container):
    name = "tl.score, weighted_mean"
    for dtype in (np.float32, np.float64):
        adata = fresh(name)
        adata.X = CONTAINERS[container](adata.X.astype(dtype))
        STEPS[name].run(adata)
        _assert_same_results(adata, results(name), STEPS[name])


@pytest.mark.parametrize("container", ["csc", "dense"])
def test_array_types_of_x_in_a_map(results, fresh, container):
    adata = fresh("tl.embed")
    adata.X = CONTAINERS[container](adata.X)
    nk.tl.embed(adata)
    expected = results("tl.embed")
    pd.testing.assert_series_equal(adata.var["highly_variable"], expected.var["highly_variable"])
    for j in range(5):
        pair = adata.obsm["X_pca"][:, j], expected.obsm["X_pca"][:, j]
        assert abs(np.corrcoef(*pair)[0, 1]) > 0.99


@pytest.mark.parametrize("name", BY_COUNTS)
def test_stored_zeros(results, fresh, name):
    adata = fresh(name)
    zeros = np.argwhere(adata.layers["counts"].toarray()[:, :200] == 0)[::3]
    counts = adata.layers["counts"].tocoo()
    adata.layers["counts"] = sparse.csr_matrix(
        (
            np.append(counts.data, np.zeros(len(zeros), counts.dtype)),
            (np.append(counts.row, zeros[:, 0]), np.append(counts.col, zeros[:, 1])),
        ),
        shape=counts.shape,
    )
    assert (adata.layers["counts"].data == 0).sum() > 1000
    before = _digest(adata.layers["counts"])
    STEPS[name].run(adata)
    assert _digest(adata.layers["counts"]) == before
    if name == "pp.normalize":
        adata.X.eliminate_zeros()
    _assert_same_results(adata, results(name), STEPS[name])


@pytest.mark.parametrize("name", BY_COUNTS)
def test_unsorted_and_repeated_entries(results, fresh, name):
    adata = fresh(name)
    counts = adata.layers["counts"]
    more = np.repeat(counts.data > 1, 1).astype(counts.dtype)
    # Genes of each cell in reverse, and counts above 1 in two entries.
    data = np.column_stack([counts.data - more, more]).ravel()[::-1]
    messy = sparse.csr_matrix(
        (data, np.repeat(counts.indices, 2)[::-1], 2 * (counts.nnz - counts.indptr[::-1]))
    )[::-1]
    messy = sparse.csr_matrix((messy.data, messy.indices, messy.indptr), shape=counts.shape)
    assert not messy.has_sorted_indices
    assert abs(messy - counts).max() == 0
    messy = sparse.csr_matrix((messy.data, messy.indices, messy.indptr), shape=counts.shape)
    adata.layers["counts"] = messy
    before = _digest(messy)
    STEPS[name].run(adata)
    assert _digest(adata.layers["counts"]) == before
    if name == "pp.normalize":
        adata.X.eliminate_zeros()
    _assert_same_results(adata, results(name), STEPS[name])


@pytest.mark.parametrize("name", STEPS)
def test_views_never_write_to_their_parent(ready, fresh, name):
    parent = fresh(name)
    before = _snapshot(parent)
    view = parent[::2]
    with warnings.catch_warnings():
        # anndata says that the view becomes an object of its own.
        warnings.simplefilter("ignore", anndata.ImplicitModificationWarning)
        STEPS[name].run(view)
    assert _changed(before, _snapshot(parent)) == set()
    copy = fresh(name)[::2].copy()
    STEPS[name].run(copy)
    _assert_same_results(view, copy, STEPS[name], tolerance=1e-12)


def _run_or_fail(step, adata, outcome):
    if outcome is None:
        step.run(adata)
        return adata
    error, words = outcome
    before = _snapshot(adata)
    with pytest.raises(error, match=words):
        step.run(adata)
    assert _changed(before, _snapshot(adata)) == set()
    return None


@pytest.mark.parametrize("name", STEPS)
def test_one_cell(fresh, name):
    step, adata = STEPS[name], fresh(name)[3:4].copy()
    made = _run_or_fail(step, adata, step.one_cell)
    if made is not None:
        assert {path for path in _slots(made) if _within(path, step.writes)}


@pytest.mark.parametrize("name", STEPS)
def test_no_cells(fresh, name):
    step, adata = STEPS[name], fresh(name)[:0].copy()
    made = _run_or_fail(step, adata, step.no_cells)
    if made is not None:
        slots = _slots(made)
        for path in step.writes:
            if not path.startswith("uns/"):
                assert slots[path].shape[0] == 0


@pytest.mark.parametrize("name", [name for name, step in STEPS.items() if step.reads_genes])
def test_repeated_gene_names(fresh, name):
    adata = fresh(name)
    names = adata.var_names.to_list()
    names[1] = names[0]
    adata.var_names = names
    before = _snapshot(adata)
    with pytest.raises(GeneCoverageError, match=r"more than once|repeated|occur"):
        STEPS[name].run(adata)
    assert _changed(before, _snapshot(adata)) == set()


@pytest.mark.parametrize("name", BY_COUNTS)
def test_values_that_are_no_counts(fresh, name):
    adata = fresh(name)
    adata.layers["counts"] = adata.layers["counts"].astype(np.float64)
    adata.layers["counts"].data[10] = -3
    before = _snapshot(adata)
    with pytest.raises(nk.errors.WrongScaleError, match="negative"):
        STEPS[name].run(adata)
    assert _changed(before, _snapshot(adata)) == set()


# --- scorers


@pytest.mark.parametrize("name", SCORINGS)
def test_repeated_genes_of_a_set_count_once(results, fresh, name):
    adata = fresh(name)
    method = name.partition(", ")[2]
    doubled = {set_name: [*genes, *genes[::-1]] for set_name, genes in SETS.items()}
    nk.tl.score(adata, doubled, method=method)
    pd.testing.assert_frame_equal(adata.obsm["scores"], results(name).obsm["scores"])


@pytest.mark.parametrize("name", SCORINGS)
def test_absent_genes_are_named_once_and_stored(fresh, name):
    adata = fresh(name)
    method = name.partition(", ")[2]
    sets = {
        "whole": ["PRF1", "GZMB"],
        "part": ["PRF1", "NOSUCHGENE1", "NKG7", "NOSUCHGENE2-", "CD3E-"],
    }
    with pytest.warns(NkscoreWarning) as caught:
        nk.tl.score(adata, sets, method=method)
    assert len(caught) == 1
    words = str(caught[0].message)
    assert "NOSUCHGENE1" in words
    assert "NOSUCHGENE2" in words
    assert "whole" not in words
    assert caught[0].filename == __file__
    coverage = adata.uns["nkscore"]["scores"]["coverage"].set_index("signature")
    assert coverage.loc["part", "missing"] == "NOSUCHGENE1,NOSUCHGENE2"
    assert coverage.loc["part", ["n_genes", "n_found"]].tolist() == [5, 3]
    assert coverage.loc["whole", "fraction"] == 1


CELL_WISE = [f"tl.score, {method}" for method, scorer in scorers().items() if scorer.cell_wise]


@pytest.mark.parametrize("name", CELL_WISE)
def test_other_cells_do_not_matter(results, fresh, name):
    few = fresh(name)[[5, 200, 17, 40]].copy()
    STEPS[name].run(few)
    expected = results(name).obsm["scores"].iloc[[5, 200, 17, 40]]
    pd.testing.assert_frame_equal(few.obsm["scores"], expected, check_exact=True)


@pytest.mark.parametrize("name", CELL_WISE)
def test_order_of_genes_does_not_matter(results, fresh, name):
    adata = fresh(name)
    order = np.random.default_rng(0).permutation(adata.n_vars)
    other = adata[:, order].copy()
    STEPS[name].run(other)
    expected = results(name).obsm["scores"]
    pd.testing.assert_frame_equal(other.obsm["scores"], expected, rtol=1e-13)


@pytest.mark.parametrize("name", SCORINGS)
def test_scores_lie_within_the_limits_of_the_record(results, name):
    low, high = scorers()[name.partition(", ")[2]].limits
    scores = results(name).obsm["scores"].to_numpy()
    assert scores.min() >= low
    assert scores.max() <= high
    assert (scores.std(axis=0) > 0).all()


@pytest.mark.parametrize("name", SCORINGS)
def test_scores_of_others_are_not_overwritten(fresh, name):
    adata = fresh(name)
    adata.obsm["scores"] = np.ones((adata.n_obs, 2))
    with pytest.raises(
        ValueError, match=r"obsm\['scores'\] exists and was not written by tl.score"
    ):
        STEPS[name].run(adata)


# --- order of cells


@pytest.mark.parametrize("name", [name for name in STEPS if name not in GRAPHS])
def test_order_of_cells_does_not_matter(results, fresh, name):
    adata, step = fresh(name), STEPS[name]
    order = np.random.default_rng(1).permutation(adata.n_obs)
    other = adata[order].copy()
    step.run(other)
    mine, expected, back = _slots(other), _slots(results(name)), np.argsort(order)
    for path in step.writes:
        if not path.startswith("uns/"):
            value = mine[path]
            if not path.startswith("var"):
                value = value.iloc[back] if hasattr(value, "iloc") else value[back]
            _assert_alike(value, expected[path], tolerance=1e-9)
