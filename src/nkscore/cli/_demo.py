"""A simulated experiment, analyzed from its files and compared with the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nkscore import datasets, schema
from nkscore._report._caveats import absent
from nkscore._run import _steps as _workflow
from nkscore._run._job import job

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from anndata import AnnData

    from nkscore._report._results import Results

_OTHER = (
    "*Other, flagged* are simulated ambient transcripts that tl.flag_ambient marks. "
    "*Other, not flagged* are further ambient transcripts, cell-cycle and MYC genes lost "
    "with the killed cells, and false calls. *Found but flagged* are simulated response "
    "genes whose effect disappears once the expected ambient counts are subtracted."
)
_ACTIVE = ("activated", "type_i_ifn", "cytokine")


def demo(
    out: Path, *, n_cells_per_sample: int = 250, seed: int = 0, force: bool = False
) -> tuple[str, Results]:
    """Simulate six lines and three donors, write them as lanes, analyze the files, compare.

    Returns the comparison in a few lines and the results; ``out/summary.md`` has all of it.
    """
    with job(out, force=force, checkpoints=False) as running:
        truth = datasets.simulate_coculture(n_cells_per_sample=n_cells_per_sample, rng=seed)
        sheet = datasets.write_lanes(truth, running.results / "lanes")
        results = _workflow.analyze(sheet, running)
        text = summary(results, truth)
        (running.results / "summary.md").write_text(text, encoding="utf-8")
    return brief(results, truth), results


def brief(results: Results, truth: AnnData) -> str:
    """Compare in a few lines: what was planted, and how much of it was recovered."""
    cells = _cells(results, truth).set_index("")["recovered"]
    lines = [
        f"{results.kept.n_obs:,} of {truth.n_obs:,} droplets kept. Planted and recovered:",
        f"  cells assigned to their sample       {cells.iloc[0]}",
        f"  cells in their compartment           {cells.iloc[3]}",
        f"  called NK states that are correct    {cells.iloc[6]}",
    ]
    for table, words in (
        ("ambient", _brief_ambient),
        ("nk_state_fractions", _brief_activation),
        ("tumor_state_fractions", _brief_dormancy),
        ("tumor_response", _brief_response),
    ):
        if table in results.tables:
            lines.append(words(results, truth))
    return "\n".join([*lines, *absent(results)[:1]])


def _mean(both: pd.DataFrame) -> str:
    planted, recovered = both["planted"].mean(), both["recovered"].mean()
    return f"{planted:.1%} → {recovered:.1%}"


def _brief_ambient(results: Results, truth: AnnData) -> str:
    return f"  ambient RNA of tumor cells           {_mean(_ambient(results, truth))}"


def _brief_activation(results: Results, truth: AnnData) -> str:
    both = _activation(results, truth).dropna()
    first, last = (
        f"{name} {planted:.0%} → {recovered:.0%}"
        for name, planted, recovered in both.iloc[[-1, 0]].itertuples()
    )
    return f"  activated NK cells                   {last}, ..., {first}"


def _brief_dormancy(results: Results, truth: AnnData) -> str:
    both = _dormancy(results, truth)
    shown = ", ".join(
        f"{where} {_mean(both.filter(like=where).set_axis(['planted', 'recovered'], axis=1))}"
        for where in ("alone", "with NK")
    )
    return f"  dormant-like tumor cells             {shown}"


def _brief_response(results: Results, truth: AnnData) -> str:
    counts = _response(results, truth).drop(columns="line").sum()
    return (
        f"  strong response genes found          {counts.iloc[1]} of {counts.iloc[0]}, "
        f"{counts['wrong direction']} in the wrong direction"
    )


def summary(results: Results, truth: AnnData) -> str:
    """Compare the simulated effects with those that the main job recovered."""
    sections = [
        "# What was planted and what was recovered",
        _size(results, truth),
        "## Cells",
        _markdown(_cells(results, truth)),
    ]
    for table, title, part, shown in _PARTS:
        # Parts that so few cells or samples do not allow are named at the end.
        made = _markdown(shown(part(results, truth))) if table in results.tables else "Not made."
        sections += [f"## {title}", made]
    sections.append(_OTHER)
    sections += absent(results)
    return "\n\n".join(sections) + "\n"


def _size(results: Results, truth: AnnData) -> str:
    return (
        f"{truth.n_obs:,} droplets in {truth.obs[schema.LANE].nunique()} lanes, "
        f"{truth.obs[schema.TRUTH_SAMPLE].nunique()} samples; {results.kept.n_obs:,} cells kept. "
        "Every number is computed from this run."
    )


def _cells(results: Results, truth: AnnData) -> pd.DataFrame:
    found, planted = results.loaded.obs, truth.obs.loc[results.loaded.obs_names]
    singlet = planted[schema.TRUTH_HASHTAG_CLASS] == schema.SINGLET
    called = found[schema.HASHTAG_CLASS] == schema.SINGLET
    kept = results.kept.obs
    kept_truth = truth.obs.loc[kept.index]
    same_sample = found[schema.SAMPLE].astype(str) == planted[schema.TRUTH_SAMPLE].astype(str)
    compartment = planted[schema.TRUTH_COMPARTMENT].astype(str)
    mixed = (compartment == "mixed") & called & found[schema.QC_PASS]
    all_nk = kept[schema.COMPARTMENT] == schema.NK
    # Without enough NK cells there are no states.
    state = kept.get(schema.NK_STATE, pd.Series(schema.UNASSIGNED, kept.index))
    nk = all_nk & (state != schema.UNASSIGNED)
    right_state = state.astype(str) == kept_truth[schema.TRUTH_NK_STATE].astype(str)
    rows = [
        ("tagged singlets assigned to their sample", same_sample[singlet].mean()),
        ("calls of singlets that are correct", same_sample[called & singlet].mean()),
        (
            "doublets of two tags not called singlet",
            (~called[planted[schema.TRUTH_HASHTAG_CLASS] == "doublet"]).mean(),
        ),
        (
            "kept cells in their true compartment",
            (kept[schema.COMPARTMENT].astype(str) == kept_truth[schema.TRUTH_COMPARTMENT]).mean(),
        ),
        (
            "NK-tumor doublets of one tag not called NK or tumor",
            (~found.loc[mixed, schema.COMPARTMENT].isin(["nk", "tumor"])).mean(),
        ),
        ("NK cells with a called state", nk.sum() / max(int(all_nk.sum()), 1)),
        ("called states that are correct", right_state[nk].mean()),
    ]
    return pd.DataFrame([(name, f"{100 * share:.1f} %") for name, share in rows]).set_axis(
        ["", "recovered"], axis=1
    )


def _ambient(results: Results, truth: AnnData) -> pd.DataFrame:
    found = results.tables["ambient"].groupby("lane")["ambient_share"].mean()
    obs = truth.obs.assign(counts=np.asarray(truth.layers[schema.COUNTS].sum(axis=1)).ravel())
    tumor = (obs[schema.TRUTH_COMPARTMENT] == "tumor") & (
        obs[schema.TRUTH_CONDITION] == schema.COCULTURE
    )
    obs = obs[tumor].assign(floating=obs[schema.TRUTH_AMBIENT] * obs["counts"])
    sums = obs.groupby(schema.LANE, observed=True)[["floating", "counts"]].sum()
    both = pd.DataFrame({"planted": sums["floating"] / sums["counts"], "recovered": found})
    return both.rename_axis("lane")


def _activation(results: Results, truth: AnnData) -> pd.DataFrame:
    planted = truth.obs[truth.obs[schema.TRUTH_COMPARTMENT] == schema.NK]
    active = planted[schema.TRUTH_NK_STATE].isin(_ACTIVE)
    line = planted[schema.TRUTH_TUMOR].astype(object).fillna("NK alone")
    sample = planted[schema.TRUTH_SAMPLE].astype(str)
    true = active.groupby([line, sample]).mean().groupby(level=0).mean()
    table = results.tables["nk_state_fractions"]
    called = table[table["state"] != schema.UNASSIGNED]
    totals = called.groupby("sample")["n_cells"].sum()
    hits = called[called["state"].isin(_ACTIVE)].groupby("sample")["n_cells"].sum()
    lines = table.drop_duplicates("sample").set_index("sample")["tumor"]
    named = lines.astype(object).fillna("NK alone")
    found = (hits / totals).groupby(named.loc[totals.index].to_numpy()).mean()
    both = pd.DataFrame({"planted": true, "recovered": found}).sort_values("planted")
    return both.rename_axis("line")


def _dormancy(results: Results, truth: AnnData) -> pd.DataFrame:
    planted = truth.obs[truth.obs[schema.TRUTH_COMPARTMENT] == schema.TUMOR_CELLS]
    low = planted.assign(low=planted[schema.TRUTH_TUMOR_STATE] == "low_myc")
    true = low.pivot_table(
        "low", schema.TRUTH_TUMOR, schema.TRUTH_CONDITION, aggfunc="mean", observed=True
    )
    table = results.tables["tumor_state_fractions"]
    part = table[table["state"] == "low_myc_dormant_like"]
    found = part.pivot_table("fraction", "tumor", "condition", aggfunc="mean", observed=True)
    frames = {
        "planted, alone": true[schema.TUMOR_MONO],
        "recovered, alone": found[schema.TUMOR_MONO],
        "planted, with NK": true[schema.COCULTURE],
        "recovered, with NK": found[schema.COCULTURE],
    }
    return pd.DataFrame(frames).rename_axis("line")


def _percent(digits: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return how to write a table of shares."""
    return lambda both: both.map(lambda x: f"{100 * x:.{digits}f} %").reset_index()


def _response(results: Results, truth: AnnData) -> pd.DataFrame:
    planted = truth.uns[schema.TRUTH]["response"]
    merged = results.tables["tumor_response"].merge(
        planted.rename(columns={"log2_fc": "planted"}), on=["tumor", "gene"], how="left"
    )
    rows = {}
    for line, genes in merged.groupby("tumor"):
        strong = genes["planted"].abs() >= 0.5
        hit = genes["q_value"] < 0.05
        other = hit & genes["planted"].isna()
        same_sign = np.sign(genes["log2_fc"]) == np.sign(genes["planted"])
        rows[line] = {
            "planted, log2 fold change ≥ 0.5 or ≤ −0.5": int(strong.sum()),
            "of these found": int((strong & hit & same_sign).sum()),
            "planted, all found": int((genes["planted"].notna() & hit & same_sign).sum()),
            "found but flagged": int(
                (genes["planted"].notna() & hit & same_sign & genes["ambient_suspect"]).sum()
            ),
            "wrong direction": int((genes["planted"].notna() & hit & ~same_sign).sum()),
            "other, flagged": int((other & genes["ambient_suspect"]).sum()),
            "other, not flagged": int((other & ~genes["ambient_suspect"]).sum()),
        }
    return pd.DataFrame(rows).T.rename_axis("line").reset_index()


_PARTS: tuple[
    tuple[
        str,
        str,
        Callable[[Results, AnnData], pd.DataFrame],
        Callable[[pd.DataFrame], pd.DataFrame],
    ],
    ...,
] = (
    (
        "ambient",
        "Ambient RNA in tumor cells of co-cultures, mean of the samples of a lane",
        _ambient,
        _percent(1),
    ),
    (
        "nk_state_fractions",
        "NK states: share of activated, type I IFN and cytokine cells, mean of the donors",
        _activation,
        _percent(0),
    ),
    (
        "tumor_state_fractions",
        "Low-MYC dormant-like tumor cells (planted: killed less than others, not induced)",
        _dormancy,
        _percent(0),
    ),
    ("tumor_response", "Tumor response, genes at q < 0.05", _response, lambda counts: counts),
)


def _markdown(table: pd.DataFrame) -> str:
    lines = [
        "| " + " | ".join(map(str, table.columns)) + " |",
        "|" + " --- |" * table.shape[1],
    ]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.to_numpy()]
    return "\n".join(lines)
