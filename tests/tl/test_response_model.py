"""Models by formula: equal to the model of two arms and to edgeR, and right on planted designs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

import nkscore as nk
from nkscore.errors import DesignError, MissingKeyError
from nkscore.stats import contrast_of, design_of_formula, fit_count_model, joint_test

GOLDEN = Path(__file__).parents[1] / "stats" / "golden_edger"
CO, MONO = {"condition": "coculture"}, {"condition": "tumor_mono"}


@pytest.fixture(scope="module")
def adata():
    found = nk.datasets.simulate_coculture(n_cells_per_sample=30, rng=0)
    nk.datasets.use_truth(found)
    return found


@pytest.fixture(scope="module")
def model(adata):
    return nk.tl.response_model(adata, "~ tumor * condition", by="tumor")


def _induced(model, line):
    return model.cond(tumor=line, **CO) - model.cond(tumor=line, **MONO)


def test_two_arms_equal_the_response(adata, model):
    response = nk.tl.interaction_response(adata, "tumor").set_index(["tumor", "gene"])
    table = nk.tl.contrast(model, treated=CO, control=MONO).set_index(["contrast", "gene"])
    assert len(table) == len(response)
    table = table.loc[response.index]
    for name in ("log2_fc", "se", "df_residual", "mean_log2_cpm"):
        np.testing.assert_allclose(table[name], response[name], rtol=1e-12, atol=1e-11)
    # Roots of small likelihood ratios and searched limits have fewer digits.
    for name in ("ci_low", "ci_high", "t", "p_value", "df_total"):
        np.testing.assert_allclose(table[name], response[name], rtol=1e-7, atol=1e-7)
    line = response.index[0][0]
    weights = nk.tl.contrast(model, {line: _induced(model, line)}).set_index("gene")
    one = response.loc[line].loc[weights.index]
    np.testing.assert_allclose(weights["t"], one["t"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(weights["log2_fc"], one["log2_fc"], rtol=1e-9, atol=1e-9)


def test_contrasts_equal_edger(monkeypatch):
    counts, design, golden = (
        pd.read_csv(GOLDEN / f"{name}.csv") for name in ("counts", "design", "contrast")
    )
    library = design.pop("library.size").to_numpy(float)
    monkeypatch.setattr("nkscore.stats.linear._count_model.common_dispersion", lambda *_: 0.1)
    line = np.where(design["linea"] == 1, "a", "b").astype(object)
    arm = (line + design[["linea:arm", "lineb:arm"]].sum(axis=1).astype(str)).to_numpy(object)
    known = design_of_formula(design.to_numpy(float), design.columns, line=line, arm=arm, sets=[])
    own = counts.to_numpy(float).T
    everything = np.ones(own.shape[1], dtype=bool)
    fit = fit_count_model(own, known, tested=dict.fromkeys("ab", everything), effective=library)
    columns = list(design)
    arms = np.array([[float(name == f"line{one}:arm") for name in columns] for one in "ab"])
    genes = np.flatnonzero(own.min(axis=0) >= 3)
    assert genes.size > 15
    apart = arms[0] - arms[1]
    found = contrast_of(fit, apart, genes).effect
    # Ours has reduced bias.
    np.testing.assert_allclose(found, golden["effect"][genes], rtol=0, atol=0.05)
    for vectors, name in ((apart[None], "LR"), (arms, "LR.both")):
        test = joint_test(fit, vectors, np.arange(own.shape[1]), ["a", "b"])
        variance = [fit.variance(one)[0] for one in "ab"]
        assert test.df_between == len(vectors)
        ratio = test.f * test.df_between
        low, high = np.min(variance, axis=0), np.max(variance, axis=0)
        expected = golden[name].to_numpy()[test.genes]
        assert (ratio * high[test.genes] >= expected - 1e-3).all()
        assert (ratio * low[test.genes] <= expected + 1e-3).all()
        if np.allclose(low, high):
            np.testing.assert_allclose(ratio * low[test.genes], expected, rtol=1e-4, atol=1e-3)


@pytest.fixture(scope="module")
def planted():
    """Counts of a drug × contact experiment of 4 patients, with some genes answering by design."""
    rng = np.random.default_rng(3)
    n_genes, cells = 400, 25
    rows = [
        {"sample": f"p{p}{d}{c}", "patient": f"p{p}", "drug": d, "contact": c, "dose": float(dose)}
        for p in range(4)
        for d, dose in (("none", 0), ("low", 1), ("high", 4))
        for c in ("no", "yes")
    ]
    table = pd.DataFrame(rows)
    rate = rng.lognormal(0, 1, n_genes)
    log2 = np.zeros((len(table), n_genes))
    log2[np.ix_(table["contact"] == "yes", range(20))] += 1.5
    both = (table["contact"] == "yes") & (table["drug"] == "high")
    log2[np.ix_(both, range(20, 40))] += 2.0
    log2[:, 40:60] += 0.5 * table["dose"].to_numpy()[:, None]
    patient = rng.normal(0, 0.5, (4, n_genes))[table["patient"].str[1].astype(int)]
    noise = rng.normal(0, 0.2, log2.shape)
    mean = np.repeat(rate * 2**log2 * np.exp(patient + noise), cells, axis=0)
    depth = np.repeat(np.where(table["contact"] == "yes", 0.4, 1.0), cells)[:, None]
    counts = rng.poisson(mean * depth)
    obs = table.loc[np.repeat(table.index, cells)].set_index(
        pd.Index([f"c{i}" for i in range(len(counts))])
    )
    obs["drug"] = pd.Categorical(obs["drug"], categories=["none", "low", "high"])
    genes = pd.DataFrame(index=[f"G{i}" for i in range(n_genes)])
    found = AnnData(counts.astype(np.float32), obs=obs, var=genes)
    found.layers["counts"] = found.X.copy()
    return found


def _called(table):
    return set(table.loc[table["q_value"] < 0.05, "gene"].str[1:].astype(int))


def test_interactions_doses_and_terms_are_found(planted):
    options = {"compartment": None, "replicate": "patient"}
    model = nk.tl.response_model(planted, "~ patient + drug * contact", **options)
    more = {
        drug: model.cond(drug=drug, contact="yes")
        - model.cond(drug=drug, contact="no")
        - model.cond(drug="none", contact="yes")
        + model.cond(drug="none", contact="no")
        for drug in ("low", "high")
    }
    high = nk.tl.contrast(model, {"high": more["high"]})
    called = _called(high)
    assert len(called & set(range(20, 40))) >= 18
    assert len(called - set(range(20, 40))) <= 2
    answering = high["gene"].isin([f"G{i}" for i in range(20, 40)])
    assert high.loc[answering, "log2_fc"].mean() == pytest.approx(2.0, abs=0.2)
    # The term of both interactions at once, in two ways, and its parts.
    term = nk.tl.contrast(model, term="drug:contact").set_index("gene")
    named = nk.tl.contrast(model, term=more).set_index("gene").loc[term.index]
    np.testing.assert_allclose(term["f"], named["f"], rtol=1e-6, atol=1e-8)
    assert len(_called(term.reset_index()) & set(range(20, 40))) >= 17
    # F of one contrast is the square of its t where counts are large.
    single = nk.tl.contrast(model, term={"high": more["high"]}).set_index("gene")["f"]
    t = high.set_index("gene").loc[single.index, "t"]
    large = high.set_index("gene").loc[single.index, "mean_log2_cpm"] > 11
    assert large.sum() > 50
    np.testing.assert_allclose(np.sqrt(single[large]), t[large].abs(), rtol=0.1, atol=0.1)
    slope = nk.tl.response_model(planted, "~ patient + contact + dose", **options)
    table = nk.tl.contrast(slope, "dose")
    answering = table["gene"].isin([f"G{i}" for i in range(40, 60)])
    assert table.loc[answering, "log2_fc"].mean() == pytest.approx(0.5, abs=0.06)
    # Depth differs 2.5-fold between the arms, and is no response.
    contact = nk.tl.contrast(model, treated={"contact": "yes"}, control={"contact": "no"})
    assert contact["log2_fc"].median() == pytest.approx(0, abs=0.08)


def test_replicates_with_gaps_are_compared_with_their_mean(adata):
    model = nk.tl.response_model(adata, "~ tumor * condition + nk_donor", by="tumor")
    shift = nk.tl.contrast(model, treated=CO, control=MONO)
    response = nk.tl.interaction_response(adata, "tumor")
    both = shift.merge(response, left_on=["contrast", "gene"], right_on=["tumor", "gene"])
    assert np.corrcoef(both["log2_fc_x"], both["log2_fc_y"])[0, 1] > 0.99
    assert not model.cond(**MONO).filter(like="nk_donor").any()
    donors = nk.tl.contrast(model, term="nk_donor")
    assert (donors["q_value"] < 0.05).mean() < 0.05


def test_splines_and_terms_that_overlap(planted):
    model = nk.tl.response_model(
        planted, "~ cr(dose, df=3) + contact", compartment=None, replicate="patient"
    )
    table = nk.tl.contrast(model, term="cr(dose, df=3)")
    assert (table["df_between"] == 2).all()
    assert len(_called(table) & set(range(40, 60))) >= 18
    twice = nk.tl.response_model(
        planted, "~ drug + C(dose) + contact", compartment=None, replicate="patient"
    )
    with pytest.raises(DesignError, match=r"'C\(dose\)' cannot be tested: the other terms"):
        nk.tl.contrast(twice, term="C(dose)")
    with pytest.raises(DesignError, match=r"cannot distinguish .*drug"):
        nk.tl.contrast(twice, "drug[T.low]")


@pytest.mark.parametrize(
    ("formula", "options", "error", "words"),
    [
        ("~ drugs", {}, MissingKeyError, "drugs"),
        ("y ~ drug", {}, ValueError, "left side"),
        ("~ drug +* contact", {}, ValueError, "is no formula"),
        ("~ nothing(dose)", {}, ValueError, "cannot be computed"),
        ("~ drug", {"by": "contact"}, ValueError, "no variable"),
        ("~ gap", {}, DesignError, "no value in 1 of 10 samples"),
        ("~ one", {}, DesignError, "one level"),
        ("~ sample", {}, DesignError, "no residual degree of freedom"),
        ("~ drug", {"normalization": "tmm"}, ValueError, "normalization"),
    ],
)
def test_formulas_that_cannot_be_fitted(planted, formula, options, error, words):
    own = planted.copy()
    own.obs["gap"] = own.obs["drug"].where(own.obs["patient"] != "p0")
    own.obs["one"] = "same"
    with pytest.raises(error, match=words):
        nk.tl.response_model(own, formula, None, replicate="patient", **options)


def test_contrasts_that_cannot_be_answered(adata, model):
    first, second = model.samples["tumor"].unique()[:2]
    apart = {"treated": {"tumor": first, **CO}, "control": {"tumor": second, **CO}}
    with pytest.raises(DesignError, match="normalization='joint'"):
        nk.tl.contrast(model, **apart)
    joint = nk.tl.response_model(adata, "~ tumor * condition", by="tumor", normalization="joint")
    assert len(nk.tl.contrast(joint, **apart))
    # A difference of changes within lines needs no common scale.
    assert len(nk.tl.contrast(model, _induced(model, first) - _induced(model, second)))
    for bad, error, words in (
        ({"contrasts": [1, 2]}, ValueError, "one per coefficient"),
        ({"contrasts": "nothing"}, ValueError, "No coefficient"),
        ({"contrasts": np.zeros(len(model.coefficients))}, ValueError, "not all zero"),
        ({"term": "nothing"}, ValueError, "no term"),
        ({}, ValueError, "Give one of"),
        ({"treated": CO, "control": CO}, DesignError, "with itself"),
        ({"treated": {"tumor": "x"}, "control": MONO}, ValueError, "no level"),
        ({"treated": {"x": 1}, "control": MONO}, ValueError, "no variable"),
        ({"treated": CO, "control": MONO, "confidence": 2}, ValueError, "confidence"),
    ):
        with pytest.raises(error, match=words):
            nk.tl.contrast(model, **bad)
