from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData, read_h5ad
from scipy import sparse

from nkscore import __version__, schema
from nkscore.errors import GeneCoverageError, MissingKeyError, WrongScaleError


@pytest.fixture
def adata():
    """Three cells × two genes at stage ``loaded``."""
    counts = sparse.csr_matrix(np.array([[1, 0], [2, 3], [0, 0]], dtype=np.int32))
    obs = pd.DataFrame({"lane": pd.Categorical(["L1"] * 3)}, index=["a", "b", "c"])
    return AnnData(obs=obs, var=pd.DataFrame(index=["NKG7", "CD34"]), layers={"counts": counts})


@pytest.fixture
def complete(adata):
    """The same with every slot of the chain."""
    adata.X = adata.layers["counts"].log1p()
    for slot in schema.SLOTS:
        if slot.stage and slot.place == "obs" and slot.name not in adata.obs:
            adata.obs[slot.name] = "x"
    return adata


def test_stages_in_the_order_of_the_chain():
    assert schema.STAGES == (
        "loaded",
        "qc",
        "demultiplexed",
        "compartments",
        "normalized",
        "nk_states",
        "tumor_states",
    )
    assert {slot.stage for slot in schema.SLOTS} == {"", *schema.STAGES}


@pytest.mark.parametrize("stage", schema.STAGES)
def test_a_complete_object_passes_every_stage(complete, stage):
    schema.validate(complete, stage=stage)


_MISSING = [
    ("qc", "qc_reason", "pp.qc"),
    ("demultiplexed", "tumor", "pp.demultiplex"),
    ("compartments", "compartment_confidence", "pp.compartments"),
    ("nk_states", "nk_state", "tl.nk_states"),
    ("tumor_states", "tumor_state_confidence", "tl.tumor_states"),
    # a stage includes the stages it builds on
    ("nk_states", "compartment", "pp.compartments"),
    ("compartments", "sample", "pp.demultiplex"),
    ("tumor_states", "lane", "io.read_coculture"),
]


@pytest.mark.parametrize(("stage", "key", "written_by"), _MISSING)
def test_a_missing_column_names_the_function_that_writes_it(complete, stage, key, written_by):
    del complete.obs[key]
    words = rf"adata\.obs has no '{key}' \(it holds: .*\)\. Run {written_by} first"
    with pytest.raises(MissingKeyError, match=words):
        schema.validate(complete, stage=stage)


def test_missing_counts(adata):
    del adata.layers["counts"]
    with pytest.raises(MissingKeyError, match=r"adata\.layers has no 'counts' \(it holds: nothing"):
        schema.validate(adata)


def test_long_lists_of_columns_are_cut(adata):
    for i in range(40):
        adata.obs[f"column_{i:02}"] = 1
    with pytest.raises(MissingKeyError, match=r"column_19, \.\.\.\)"):
        schema.require(adata, "obs", ["tumor"], "pp.demultiplex")


def test_unknown_stage(adata):
    with pytest.raises(ValueError, match=r"Unknown stage 'clustered'\. Known: loaded, qc,"):
        schema.validate(adata, stage="clustered")


def test_repeated_gene_names(adata):
    adata.var_names = ["NKG7", "NKG7"]
    with pytest.raises(GeneCoverageError, match=r"1 gene names occur more than once.*NKG7"):
        schema.validate(adata)


_AS = [np.asarray, sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array]


@pytest.mark.parametrize("as_type", _AS)
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (np.nan, "holds NaN"),
        (np.inf, "infinite values"),
        (-2.0, r"negative values \(minimum -2\)"),
        (0.5, r"fractions \(for example 0.5\).*They look like log-normalized values"),
        (250.25, r"fractions \(for example 250.25\).*They look corrected"),
    ],
)
def test_values_that_are_no_counts(as_type, value, words):
    values = np.array([[1.0, 3.0], [value, 0.0]])
    with pytest.raises(WrongScaleError, match=rf"layers\['counts'\] holds {words}|{words}"):
        schema.check_counts(as_type(values), "layers['counts']")


def test_a_fraction_far_behind():
    values = np.ones((3, 1 << 20))
    values[2, 7] = 1.5
    with pytest.raises(WrongScaleError, match=r"for example 1\.5"):
        schema.check_counts(values, "X")


@pytest.mark.parametrize("as_type", _AS)
@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int64, np.float32, np.float64])
def test_counts_of_any_number_type(as_type, dtype):
    schema.check_counts(as_type(np.array([[1, 0], [0, 1]]).astype(dtype)), "X")
    schema.check_counts(as_type(np.zeros((0, 4)).astype(dtype)), "X")


def test_counts_that_are_text():
    with pytest.raises(WrongScaleError, match="X holds values of type object, not numbers"):
        schema.check_counts(np.array([["1", 2]], dtype=object), "X")


@pytest.mark.parametrize("as_type", _AS)
@pytest.mark.parametrize(
    "values", [[[0.0, 9.21]], [[0.0, 0.0]], [[np.log1p(1e4), 1.0]], np.zeros((0, 2))]
)
def test_log_values(as_type, values):
    schema.check_log_scale(as_type(np.asarray(values)))


@pytest.mark.parametrize("as_type", _AS)
@pytest.mark.parametrize("value", [-0.1, 9.3, 500.0, np.nan, np.inf])
def test_values_that_log_counts_cannot_have(as_type, value):
    with pytest.raises(WrongScaleError, match=r"adata\.X ranges from .* Run pp\.normalize"):
        schema.check_log_scale(as_type(np.array([[1.0, value]])))


def test_x_that_is_empty(complete):
    complete.X = None
    with pytest.raises(MissingKeyError, match=r"adata\.X is empty\. Run pp\.normalize"):
        schema.validate(complete, stage="normalized")


def test_checks_change_nothing(complete):
    counts = complete.layers["counts"]
    before = [part.tobytes() for part in (counts.data, counts.indices, counts.indptr)]
    schema.validate(complete, stage="normalized")
    assert [part.tobytes() for part in (counts.data, counts.indices, counts.indptr)] == before


_OPTIONS = {
    "none": None,
    "pair": (1, 2.5),
    "names": {"b", "a"},
    "deep": {"x/y": (None, np.int64(3))},
    "flag": True,
    "number": np.float32(0.5),
    "empty": {},
    "text": "α β",
    "nobody": set(),
}


def test_records_survive_h5ad(adata, tmp_path):
    table = pd.DataFrame({"gene": ["a", "b"], "n": [1, 2]})
    schema.record(adata, "pp.qc", function="pp.qc", options=_OPTIONS, cells=table)
    schema.record(adata, "scores", function="tl.score", options={})
    made = adata.uns["nkscore"]["pp.qc"]
    assert made["version"] == __version__
    assert made["options"] == {
        "none": "None",
        "pair": [1, 2.5],
        "names": ["a", "b"],
        "deep": {"x|y": ["None", 3]},
        "flag": True,
        "number": 0.5,
        "empty": {},
        "text": "α β",
        "nobody": "None",
    }
    adata.uns["nkscore"]["pp.qc"]["options"]["deep"] = {"x|y": "None"}
    adata.write_h5ad(tmp_path / "a.h5ad")
    again = read_h5ad(tmp_path / "a.h5ad").uns["nkscore"]
    assert set(again) == {"pp.qc", "scores"}
    assert list(again["pp.qc"]["options"]["names"]) == ["a", "b"]
    assert again["pp.qc"]["options"]["none"] == "None"
    assert again["pp.qc"]["cells"]["gene"].tolist() == ["a", "b"]
    assert again["pp.qc"]["options"]["text"] == "α β"


def test_records_of_a_copy_do_not_reach_the_original(adata):
    schema.record(adata, "first", function="f", options={})
    other = adata.copy()
    schema.record(other, "second", function="f", options={})
    shallow = AnnData(obs=adata.obs, uns=dict(adata.uns))
    schema.record(shallow, "third", function="f", options={})
    assert list(adata.uns["nkscore"]) == ["first"]


def test_recorded(adata):
    with pytest.raises(MissingKeyError, match=r"uns\['nkscore'\] has no 'pp.qc'\. Run pp\.qc"):
        schema.recorded(adata, "pp.qc", "pp.qc")
    schema.record(adata, "pp.qc", function="pp.qc", options={"a": 1})
    assert schema.recorded(adata, "pp.qc", "pp.qc")["options"] == {"a": 1}


def test_categories_keep_all_levels():
    values = schema.categorical(["nk", None, "nk"], schema.COMPARTMENTS)
    assert list(values.categories) == ["nk", "tumor", "other", "mixed", "unassigned"]
    assert not values.ordered
    assert values.codes.tolist() == [0, -1, 0]


def test_names_of_slots_are_distinct():
    names = [v for k, v in vars(schema).items() if k.isupper() and isinstance(v, str)]
    # "nk" and "tumor" are conditions of cells, "tumor" is a column as well.
    assert len(names) - len(set(names)) == 1
    assert set(schema.SAMPLE_COLUMNS) >= set(schema.NUMERIC_SAMPLE_COLUMNS)
